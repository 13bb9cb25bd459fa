"""What the images take up: by repository, in all, and in the trash."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TypedDict

from ...layout import DATA, TRASH
from ...machine.onhost.atomic import RefusedError
from ...store.onhost import handles, quota, walk

# More would be as many series in Prometheus; the rest are one.
MOST = 200
REST = "(others)"
# A look may take a hundredth of the time, and none is older than that.
PART, OLDEST = 100, 86400.0


class Storage(TypedDict):
    """Bytes. when: of the look, in seconds since 1970; took: seconds. count: of repositories; repositories: each with
    all that it needs, so a layer of two counts twice; blobs, trash: on the disk.
    """

    when: float
    took: float
    count: int
    repositories: dict[str, int]
    blobs: int
    trash: int


def due(last: Storage | None, now: float, *, changed: bool) -> bool:
    """Whether it is time to look again. changed: whether something came or went since."""
    if last is None or not 0 <= now - last["when"] <= OLDEST:
        return True
    return changed and now - last["when"] > PART * last["took"]


def look(root: Path, now: float) -> Storage | None:
    """All of it; None where the store cannot be read now. Changes nothing."""
    begun = time.monotonic()
    try:
        with handles.refused(), handles.data(root) as data:
            trash = _trash(root)
            try:
                with handles.store(data) as top, walk.Manifests(top) as manifests:
                    found = walk.repositories(top)
                    walk.blobs(top, found)
                    sizes = {
                        each.name: sum(map(manifests.size, quota.needed(each, manifests, now)))
                        for each in found.repositories.values()
                    }
            except FileNotFoundError:
                found, sizes = walk.Store(), {}
    except RefusedError:
        return None
    return {
        "when": now, "took": time.monotonic() - begun, "count": len(sizes), "repositories": bounded(sizes),
        "blobs": sum(size for _, size in found.blobs.values()), "trash": trash,
    }  # fmt: skip


def bounded(sizes: dict[str, int]) -> dict[str, int]:
    """The largest by themselves, the others as one."""
    largest = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    kept = largest[:MOST]
    rest = sum(size for _, size in largest[MOST:])
    return dict(sorted(kept)) | ({REST: rest} if largest[MOST:] else {})


def _trash(root: Path) -> int:
    """By du, which follows no link. What is purged while it looks is no reason to fail."""
    place = (root / DATA).resolve() / TRASH
    if not place.is_dir():
        return 0
    done = subprocess.run(["du", "-s", "-B1", "--", str(place)], capture_output=True, text=True, check=False)
    number = done.stdout.partition("\t")[0]
    return int(number) if number.isdigit() else 0
