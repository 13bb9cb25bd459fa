"""Disk space that is kept for accounts and certificates: whoever may push can fill the rest of the disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ...layout import RESERVE

MB = 1 << 20
# An order with certbot's log, and a new configuration with its certificate, are a few megabytes.
KEPT, NEEDED = 64 * MB, 16 * MB


def keep(root: Path) -> None:
    """Take the space, where it is not taken yet and the disk has it."""
    file = root / RESERVE
    with contextlib.suppress(OSError):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(handle).st_size < KEPT:
                os.posix_fallocate(handle, 0, KEPT)
        except OSError:
            # All or nothing: half of it would fill the disk for nobody.
            os.ftruncate(handle, 0)
        finally:
            os.close(handle)


@contextlib.contextmanager
def given(root: Path) -> Iterator[None]:
    """On a full disk, give the space up for as long as the block runs; take it again once there is room."""
    file = root / RESERVE
    space = os.statvfs(root) if root.is_dir() else None
    full = space is not None and space.f_bavail * space.f_frsize < NEEDED and file.is_file()
    if full:
        os.truncate(file, 0)
    try:
        yield
    finally:
        if file.is_file():
            keep(root)
