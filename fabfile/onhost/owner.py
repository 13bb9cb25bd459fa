"""Whose the files are that the registry's containers use: a user without any right elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

# `nobody` in Debian's and in Alpine's images: nginx's workers are the same one, so they reach the
# registry's socket and read its layers.
SERVICE = 65534


def give(path: Path, owner: Sequence[int] = (SERVICE, SERVICE)) -> None:
    """Let everything below a directory belong to that user and group, the directory itself last.

    So when the directory is theirs, the rest is too: a start that was cut off is gone through again.
    """
    for folder, directories, files in os.walk(path):
        for name in (*directories, *files):
            _give(Path(folder) / name, owner)
    _give(path, owner)


def belongs(path: Path) -> bool:
    """Whether a directory was given to the service."""
    return path.stat().st_uid == SERVICE


def _give(path: Path, owner: Sequence[int]) -> None:
    found = os.lstat(path)
    if (found.st_uid, found.st_gid) != tuple(owner):
        os.lchown(path, owner[0], owner[1])
