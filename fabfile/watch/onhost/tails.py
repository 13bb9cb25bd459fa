"""The end of a log that nginx writes: what is new since the last look, through all that cron puts aside meanwhile.

How much of each file is known is kept by its inode, as a rename does not change that. An old process of nginx may still
write into a file that was put aside, so each of them is looked at.
"""

from __future__ import annotations

from pathlib import Path

# So much of a file at once: the rest comes with the next look.
LARGEST = 8 << 20

# Inode (as text, for JSON) -> bytes that are known.
Known = dict[str, int]


def files(log: Path) -> list[Path]:
    """A log, and what was put aside of it before, the oldest first."""
    aside = sorted(log.parent.glob(f"{log.stem}-*{log.suffix}"))
    return [*aside, *([log] if log.is_file() else [])]


def ends(log: Path) -> Known:
    """What is known when all that is there counts as known."""
    return {str(found.st_ino): found.st_size for found in (path.stat() for path in files(log))}


def new(log: Path, known: Known, limit: int = LARGEST) -> tuple[list[str], Known]:
    """Whole lines that were not known, the oldest file first, and what is known with them. Changes nothing.

    A file that is smaller than what was known of it is another one. limit: bytes of each file.
    """
    lines: list[str] = []
    now: Known = {}
    for path in files(log):
        with path.open("rb") as file:
            inode, size = str(path.stat().st_ino), path.stat().st_size
            start = known.get(inode, 0)
            file.seek(start if start <= size else 0)
            block = file.read(limit)
            # A line of that length is none of ours.
            end = block.rfind(b"\n") + 1 or (len(block) if len(block) == limit else 0)
            now[inode] = file.seek(0, 1) - len(block) + end
        # What was counted and freed reads as zeros.
        lines += block[:end].replace(b"\0", b"").decode("utf-8", "replace").splitlines()
    return lines, now
