"""What people are told of a copy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import StepError
from ..store.words import ago, size
from ..text import counted, one_line
from .place import Drill, Snapshot
from .taking import Taken

# How many digests, or tags, have a line of their own.
LINES = 20
HEADER = ("snapshot", "age", "tags", "size", "new", "verified", "drilled", "")


def taken(done: Taken) -> str:
    """A snapshot that is new, in one line."""
    found = done.snapshot
    words = (
        f"{done.path}: {counted(found['tags'], 'tag')}, {size(found['bytes'])}, {size(found['new_bytes'])} of it new"
    )
    return f"{words}, {size(done.sent)} sent"


def details(done: Taken) -> list[str]:
    """What else there is to say of it."""
    found = done.snapshot
    rows = [f"{'dropped':8} {one_line(each)}" for each in found["dropped"][:LINES]]
    rows += [f"{'mended':8} {digest} has rotted on the server; the copy has it whole" for digest in done.mended]
    return rows + [f"{'removed':8} {name}" for name in done.gone]


def require_whole(found: Snapshot, where: Path, mended: Sequence[str] = (), remedy: str = "") -> None:
    """Raise StepError for blobs that have rotted, or are not there, with the images that need them.

    remedy: where it is another one than for what has rotted on the server.
    """
    if mended or found["damaged"] or found["missing"]:
        rows = [f"{digest} has rotted: {_images(names)}" for digest, names in sorted(found["damaged"].items())]
        rows += [
            f"{digest} is not in the store: {_images(names)}" for digest, names in sorted(found["missing"].items())
        ]
        rows += [f"{digest} has rotted on the server, and is whole in the copy" for digest in mended]
        what = f"{where} is complete but for {len(rows)} blobs: {'; '.join(rows[:LINES])}"
        if mended and len(mended) == len(rows):
            what = f"{where} is complete, but on the server {rows[0]}"
        raise StepError(
            what,
            remedy
            or f"./fab -H … restore --from {where} --only REPOSITORY brings back what a copy has whole; "
            "push the others again",
        )


def _images(names: Sequence[str]) -> str:
    shown = ", ".join(map(one_line, names[:5]))
    return (shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")) or "no image that can be read"


def rows(every: Sequence[Snapshot], drill: Drill | None) -> list[tuple[str, ...]]:
    """The table of `backup --list`, the newest first."""
    found: list[tuple[str, ...]] = []
    for each in reversed(every):
        lost = len(each["damaged"]) + len(each["missing"])
        drilled = drill is not None and drill["snapshot"] == each["name"]
        found.append((
            each["name"], ago(each["when"]), str(each["tags"]), size(each["bytes"]), size(each["new_bytes"]),
            ago(each["verified"]), ago(drill["when"]) if drill and drilled else "-",
            f"warn {lost} blobs are missing" if lost else "",
        ))  # fmt: skip
    return found
