"""The few files of ours that lie outside DEPLOY_DIR, as that may be away: its disk is mounted late, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from ...layout import OUTSIDE
from .atomic import replace


def differs(path: Path, content: bytes, mode: int) -> bool:
    """Whether `put` would change something. Bytes are compared: somebody may have put there what is no text."""
    return not path.is_file() or path.read_bytes() != content or path.stat().st_mode & 0o777 != mode


def put(path: Path, content: bytes, mode: int) -> None:
    """Write the file where it differs."""
    if differs(path, content, mode):
        path.parent.mkdir(exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            # Docker makes one of what it cannot find.
            path.rmdir()
        replace(path, content, mode)


def remove() -> None:
    """Take all of it away."""
    shutil.rmtree(OUTSIDE, ignore_errors=True)
