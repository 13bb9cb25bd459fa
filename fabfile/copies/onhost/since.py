"""What was changed since a copy was begun: by the logs alone, so that a server at rest has next to nothing to do.

A token stands for a moment: the inode and the size of the log of uses, and the size of the audit log, in which is who
changes something past nginx. nginx writes a line when a push is through, so what it has told was written before.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...layout import AUDIT_LOG, USES_LOG

TOKEN = re.compile(r"(\d+)-(\d+)-(\d+)\Z")
WRITES = (b"POST", b"PUT", b"DELETE")


def token(root: Path) -> str:
    """Of now."""
    inode, size = _size(root / USES_LOG)
    return f"{inode}-{size}-{_size(root / AUDIT_LOG)[1]}"


def written(root: Path, known: str) -> tuple[int, int] | None:
    """How many writes came since that token, and how many of them were images by a tag.

    None where that cannot be told: the log is another one by now, or somebody was at work past nginx.
    """
    found = TOKEN.match(known)
    inode, size = _size(root / USES_LOG)
    if not found or int(found[1]) != inode or int(found[2]) > size or int(found[3]) != _size(root / AUDIT_LOG)[1]:
        return None
    writes = images = 0
    try:
        with (root / USES_LOG).open("rb") as log:
            log.seek(int(found[2]))
            for line in log:
                fields = line.split(b"\t")
                if len(fields) > 4 and fields[2] in WRITES:
                    writes += 1
                    # Of an upload there is no reference.
                    images += fields[2] == b"PUT" and fields[4].strip() not in (b"", b"-") and b":" not in fields[4]
    except OSError:
        return None
    return writes, images


def _size(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_ino, found.st_size
