"""Disk space on the host."""

from __future__ import annotations

import os
from pathlib import Path


def usage(directory: str) -> dict[str, int]:
    """{"free", "total", "data"} in bytes; data: what the registry's storage takes up."""
    space = os.statvfs(directory)
    data = Path(directory, "registry/data")
    # A layer that is deleted while this runs is no reason to fail.
    size = sum(
        path.stat().st_blocks * 512
        for path in data.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
    return {
        "free": space.f_bavail * space.f_frsize,
        "total": space.f_blocks * space.f_frsize,
        "data": size,
    }
