"""What takes up a disk that is nearly full: for `doctor`. Changes nothing."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path
from typing import TypedDict

from ...layout import DATA, TRASH
from ...machine.onhost import disk
from ...machine.onhost.atomic import RefusedError
from ...stack.onhost.containers import run
from . import handles, marks, uses, walk

UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
SIZE = re.compile(r"([\d.]+)([kMGT]?B)")


class Eaters(TypedDict):
    """In bytes. waiting: in the trash. unused: layers that no image needs. uploads: that were not ended. docker: what
    Docker could do without: images, containers, build cache.
    """

    waiting: int
    unused: int
    uploads: int
    docker: int


def eaters(root: Path) -> Eaters:
    """See Eaters. root: DEPLOY_DIR."""
    found: Eaters = {"waiting": disk.size(root / DATA / TRASH), "unused": 0, "uploads": 0, "docker": 0}
    with contextlib.suppress(RefusedError):
        argv = ["docker", "system", "df", "--format", "{{json .}}"]
        found["docker"] = reclaimable(run(argv, "docker system df", "").stdout)
    with contextlib.suppress(OSError, RefusedError), handles.data(root) as data, handles.store(data) as top:
        store = walk.repositories(top)
        walk.blobs(top, store)
        now = time.time()
        with walk.Manifests(top) as manifests:
            needed = marks.marked(store, manifests, set(), now - marks.GRACE).needed
        times = marks.Times.of(store, uses.last(str(root), now))
        free = [size for digest, (_, size) in store.blobs.items()
                if digest not in needed and times.newest[digest] < now - marks.GRACE]  # fmt: skip
        found["unused"] = sum(free)
        found["uploads"] = sum(size for each in store.repositories.values() for _, size in each.uploads.values())
    return found


def reclaimable(text: str) -> int:
    """Bytes. text: what `docker system df` prints, one object a line. Of volumes nothing counts: they are data."""
    total = 0.0
    for line in text.splitlines():
        row = json.loads(line)
        if row.get("Type") != "Local Volumes" and (size := SIZE.match(str(row.get("Reclaimable")))):
            total += float(size[1]) * UNITS[size[2]]
    return int(total)
