"""On what kind of disk the images are: for `doctor`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

from ...layout import DATA

MOUNTS = "/proc/self/mountinfo"


class Mount(TypedDict):
    """kind: of the file system, '' for unknown. place: where it is mounted. read_only: whether nobody can write."""

    kind: str
    place: str
    read_only: bool


def mount(directory: str) -> Mount:
    """Of the images. Changes nothing."""
    try:
        return found(Path(MOUNTS).read_text("utf-8", "replace"), os.path.realpath(Path(directory, DATA)))
    except OSError:
        return {"kind": "", "place": "", "read_only": False}


def found(mounts: str, path: str) -> Mount:
    """Of a path. mounts: what proc(5) calls mountinfo; the last one at a place counts."""
    best: Mount = {"kind": "", "place": "", "read_only": False}
    for line in mounts.splitlines():
        fields, _, more = line.partition(" - ")
        words, kind = fields.split(), more.split()
        if len(words) < 6 or len(kind) < 3:
            continue
        place = words[4].replace("\\040", " ")
        inside = place in ("/", path) or path.startswith(f"{place}/")
        if inside and len(place) >= len(best["place"]):
            options = {*words[5].split(","), *kind[2].split(",")}
            best = {"kind": kind[0], "place": place, "read_only": "ro" in options}
    return best
