"""The audit log on the host, read."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict


class Last(TypedDict):
    """A line. when: as lock.sh writes it."""

    when: str
    who: str
    outcome: str


def last(log: str, task: str) -> Last | None:
    """The last line about a task; None when there is none."""
    path = Path(log)
    lines = path.read_text("utf-8", "replace").splitlines() if path.is_file() else []
    for line in reversed(lines):
        when, who, name, outcome = [*line.split("\t"), "", "", ""][:4]
        if name == task:
            return {"when": when, "who": who, "outcome": outcome}
    return None
