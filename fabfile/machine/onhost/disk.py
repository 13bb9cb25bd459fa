"""Disk space on the host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TypedDict

from ... import layout


class Usage(TypedDict):
    """In bytes. data: what the registry's storage takes up."""

    free: int
    total: int
    data: int


def usage(directory: str) -> Usage:
    """How much there is, and is left. Changes nothing."""
    space = os.statvfs(directory)
    return {
        "free": space.f_bavail * space.f_frsize,
        "total": space.f_blocks * space.f_frsize,
        "data": _size(Path(directory, layout.DATA)),
    }


def _size(path: Path) -> int:
    """By du, which follows no link and gets through whatever a container made. 0 where there is nothing.

    What is deleted while it looks is no reason to fail: then its exit status is 1, and the sum is right.
    """
    du = ["du", "-s", "-B1", "--", str(path.resolve())]
    done = subprocess.run(du, capture_output=True, text=True, check=False)
    number = done.stdout.partition("\t")[0]
    return int(number) if number.isdigit() else 0
