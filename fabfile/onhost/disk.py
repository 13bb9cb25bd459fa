"""Disk space on the host."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def usage(directory: str) -> dict[str, int]:
    """{"free", "total", "data"} in bytes; data: what the registry's storage takes up."""
    space = os.statvfs(directory)
    size = 0
    for parent, _, names in os.walk(Path(directory, "registry/data")):
        for name in names:
            # One that is deleted while this runs is no reason to fail.
            with contextlib.suppress(FileNotFoundError):
                size += os.lstat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH118
    return {
        "free": space.f_bavail * space.f_frsize,
        "total": space.f_blocks * space.f_frsize,
        "data": size,
    }
