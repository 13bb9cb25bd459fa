"""The names of what is in the trash: a directory a run, named after the time at which it began, and what made it."""

from __future__ import annotations

import calendar
import time

NAME = "%Y%m%dT%H%M%S"


def kind(run: str) -> str:
    """What made it: gc, delete, retention."""
    return run.partition("Z-")[2].partition("-")[0]


def begun(run: str) -> float:
    """When a run began, as its name says; 0 for a name that says nothing."""
    day, _, rest = run.partition(".")
    try:
        return calendar.timegm(time.strptime(day, NAME)) + int(rest[:3]) / 1000
    except ValueError:
        return 0.0
