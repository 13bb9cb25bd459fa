"""The POSIX shell scripts of `onhost/`, as text for a machine that may have nothing but a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..layout import CRON_FILE, PROJECT

_PLACE = Path(__file__).parent / "onhost"
# How to find out whether cron runs, for every script and every function that asks.
CRON = _PLACE / "cron_runs.sh"
AWAY = "away.sh"
# What that one must know besides the directory.
AWAY_KNOWS = (CRON_FILE, PROJECT)


def script(name: str) -> str:
    """The text of a script. It knows what CRON tells it, and AWAY as a function: `away DIRECTORY`."""
    body = (_PLACE / AWAY).read_text("utf-8")
    away = f'away() (\nset -- "$1" {shlex.join(AWAY_KNOWS)}\n{body}\n)\n'
    return CRON.read_text("utf-8") + away + (_PLACE / name).read_text("utf-8")
