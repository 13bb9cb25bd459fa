"""Disk space on the host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TypedDict

from ... import layout
from . import store

# Files that an order of a certificate, a new configuration and a few pushes make.
INODES_NEEDED = 1000
LITTLE = 0.05


class Space(TypedDict):
    """Of a disk. free, total: in bytes. inodes, all_inodes: free and all, 0 where it has no number of them."""

    free: int
    total: int
    inodes: int
    all_inodes: int


class Usage(Space):
    """Of the disk of DEPLOY_DIR.

    data: bytes that the registry's storage takes up. images: of their disk, None where that is the same one.
    store: see store.problem.
    """

    data: int
    images: Space | None
    store: list[str]


def usage(directory: str) -> Usage:
    """How much there is, and is left. Changes nothing."""
    root = Path(directory)
    data = root / layout.DATA
    apart = data.is_dir() and data.stat().st_dev != root.stat().st_dev
    return {
        **space(root),
        "data": size(data),
        "images": space(data) if apart else None,
        "store": store.problem(root),
    }


def few_inodes(free: int, total: int) -> str:
    """What to say of a disk that has no room for more files, though maybe for larger ones; "" where it has."""
    return f"only {free} more files" if total and free < max(INODES_NEEDED, LITTLE * total) else ""


def space(path: Path) -> Space:
    """Of the disk of a directory. Changes nothing."""
    found = os.statvfs(path)
    return {
        "free": found.f_bavail * found.f_frsize,
        "total": found.f_blocks * found.f_frsize,
        "inodes": found.f_favail,
        "all_inodes": found.f_files,
    }


def size(path: Path) -> int:
    """Bytes that it takes up, 0 where there is nothing.

    By du, which follows no link and gets through whatever a container made. What is deleted while it looks is no
    reason to fail: then its exit status is 1, and the sum is right.
    """
    du = ["du", "-s", "-B1", "--", str(path.resolve())]
    done = subprocess.run(du, capture_output=True, text=True, check=False)
    number = done.stdout.partition("\t")[0]
    return int(number) if number.isdigit() else 0
