"""What the log of uses tells of pushes and deletes since it was read last."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from ...layout import USES, USES_LOG
from .lists import shown
from .manifests import DIGEST

# So many changes are told.
MOST = 50
# Of a part of the log that is read at once.
BLOCK = 1 << 24
# Of a line: nginx takes no header of more than 32 kB.
LONGEST = 1 << 16


class Event(TypedDict):
    """Somebody pushed or deleted something. tag: '' for a delete by digest; digest: '' where that was not told."""

    when: int
    account: str
    what: str
    repository: str
    tag: str
    digest: str


class News(TypedDict):
    """changed: repositories; used: repository -> digest -> last use."""

    changed: set[str]
    used: dict[str, dict[str, float]]
    events: list[Event]


class Line(TypedDict):
    """Of the log."""

    when: float
    account: str
    method: str
    repository: str
    reference: str
    digest: str


def identity(root: Path) -> tuple[int, int]:
    """Which log nginx writes now, and where its last whole line ends; zeros for none."""
    try:
        with (root / USES_LOG).open("rb") as file:
            found = os.fstat(file.fileno())
            begin = max(0, found.st_size - LONGEST)
            file.seek(begin)
            return found.st_ino, begin + file.read(LONGEST).rfind(b"\n") + 1
    except OSError:
        return 0, 0


def since(root: Path, offset: int, end: int, now: float) -> News:
    """What is between two places of the log. now: a time beyond it counts as now."""
    news: News = {"changed": set(), "used": {}, "events": []}
    for line in _lines(root / USES_LOG, offset, end):
        name, when = line["repository"], min(line["when"], now)
        if not shown(name):
            continue
        if line["digest"]:
            times = news["used"].setdefault(name, {})
            times[line["digest"]] = max(when, times.get(line["digest"], 0.0))
        if _changes(line):
            news["changed"].add(name)
            news["events"] += _event(line)
    return news


def first(root: Path, offset: int, end: int) -> float:
    """When something was first pushed or deleted there; 0 for never."""
    for line in _lines(root / USES_LOG, offset, end):
        if _changes(line) and shown(line["repository"]):
            return line["when"]
    return 0.0


def events(root: Path, now: float) -> list[Event]:
    """The last changes of all logs that are there."""
    found: deque[Event] = deque(maxlen=MOST)
    for path in (*sorted((root / USES).glob("uses-*.log")), root / USES_LOG):
        with contextlib.suppress(OSError):
            for line in _lines(path, 0, path.stat().st_size):
                if _changes(line) and shown(line["repository"]) and line["when"] <= now:
                    found.extend(_event(line))
    return list(found)


def _changes(line: Line) -> bool:
    """Of a manifest: what has no reference is a part of a layer's upload."""
    return line["method"] in ("PUT", "DELETE") and line["reference"] not in ("", "-")


def _event(line: Line) -> list[Event]:
    by_digest = bool(DIGEST.match(line["reference"]))
    if by_digest and line["method"] == "PUT":
        # A part of an image that is pushed under its tag.
        return []
    return [
        {
            "when": int(line["when"]),
            "account": line["account"],
            "what": "push" if line["method"] == "PUT" else "delete",
            "repository": line["repository"],
            "tag": "" if by_digest else line["reference"],
            "digest": line["reference"] if by_digest else line["digest"],
        }
    ]


def _lines(path: Path, offset: int, end: int) -> Iterator[Line]:
    """end: of a line. A file that is gone has none."""
    rest = b""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(offset)
        left = end - offset
        while left > 0 and (block := file.read(min(left, BLOCK))):
            left -= len(block)
            *whole, rest = (rest + block).split(b"\n")
            for text in whole:
                fields = text.decode("ascii", "replace").split("\t")
                with contextlib.suppress(ValueError, IndexError):
                    digest = fields[5] if DIGEST.match(fields[5]) else ""
                    yield {
                        "when": float(fields[0]), "account": fields[1], "method": fields[2], "repository": fields[3],
                        "reference": fields[4], "digest": digest,
                    }  # fmt: skip
