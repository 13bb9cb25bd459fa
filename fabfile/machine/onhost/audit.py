"""The audit log on the host, read."""

from __future__ import annotations

import calendar
import time
from pathlib import Path
from typing import TypedDict

WHEN = "%Y-%m-%dT%H:%M:%SZ"  # of lock.sh


class Last(TypedDict):
    """A line. when: as lock.sh writes it."""

    when: str
    who: str
    outcome: str


class Line(Last):
    """The same, with the task and its words."""

    task: str


def seconds(when: str) -> float:
    """A time of the log, in seconds since 1970; 0 for none."""
    try:
        return calendar.timegm(time.strptime(when, WHEN))
    except ValueError:
        return 0.0


def lines(log: str) -> list[Line]:
    """All of it, the oldest first."""
    path = Path(log)
    return [parsed(line) for line in path.read_text("utf-8", "replace").splitlines()] if path.is_file() else []


def parsed(line: str) -> Line:
    """One of its lines."""
    when, who, task, outcome = [*line.split("\t"), "", "", ""][:4]
    return {"when": when, "who": who, "task": task, "outcome": outcome}


def last(log: str, task: str) -> Last | None:
    """The last line about a task; None when there is none."""
    for line in reversed(lines(log)):
        if line["task"] == task:
            return {"when": line["when"], "who": line["who"], "outcome": line["outcome"]}
    return None
