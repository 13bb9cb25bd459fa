"""The seconds in which the images change their place, from the disk to a bucket or back: nobody may push meanwhile.

registry/.switching   lies there from the moment in which both places have the same until the registry looks in the new
                      one; whatever is killed meanwhile, cron lets nobody push (relay.py), and the same command goes on
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from ...layout import COPY, DATA, FULL, FULL_MOVING, IN_DATA, S3_PLACE, SWITCHING, TRASH
from ...machine.onhost.atomic import RefusedError, replace
from ...stack.onhost import relay
from ...store.onhost import barrier, handles, marks, trash, walk
from ...store.onhost import where as places
from ...store.onhost.bucket import Bucket
from ...store.onhost.far import Far
from ...store.onhost.times import KEY
from . import across, ashore, inside, remote

S3, DISK = "s3", "disk"


class Where(TypedDict):
    """storage: S3 or DISK, where the images are; switching: where to, '' for no switch that was cut off."""

    storage: str
    switching: str


def where(directory: str) -> Where:
    """See Where. Changes nothing."""
    root = Path(directory)
    begun = _begun(root)
    return {"storage": S3 if (root / S3_PLACE).is_file() else DISK, "switching": begun["to"] if begun else ""}


class Begun(TypedDict):
    """Of a switch. when: since when nobody pushes, in seconds since 1970."""

    to: str
    when: float


def _begun(root: Path) -> Begun | None:
    try:
        found: Begun = json.loads((root / SWITCHING).read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        raise RefusedError(
            f"{root / SWITCHING} cannot be read", "it says where the images were on their way to"
        ) from None
    return found


def begin(directory: str, to: str, place: Mapping[str, Any], keys: str, quiet: float) -> across.Passed:
    """From now on nobody may push; the last of it comes, and both places are compared.

    quiet: seconds for pushes that are at it to end. Raises RefusedError where not all is the same; then people push
    again, and nothing has changed.
    """
    when = time.time()
    try:
        relay.freeze(directory)
        barrier.passed(quiet)
        if to == S3:
            found = across.to_bucket(directory, place, keys, compare=True)
        else:
            found = ashore.to_disk(directory, compare=True)
        _require_same(found)
        _require_frozen(Path(directory))
        replace(Path(directory, SWITCHING), json.dumps({"to": to, "when": when}).encode(), 0o600)
    except BaseException:
        relay.thaw(directory)
        raise
    return found


def _require_same(found: across.Passed) -> None:
    if bad := [*found["different"], *found["rotten"]]:
        raise RefusedError(
            f"nothing was changed: {len(bad)} parts are not the same on both sides: {bad[0]}",
            "./fab -H … doctor names what is broken; images --delete removes it; then run it again",
        )


def _require_frozen(root: Path) -> None:
    try:
        os.utime(root / FULL / f"{FULL_MOVING}.json")
    except FileNotFoundError:
        raise RefusedError(
            "nothing was changed: it took too long, and pushes were let in again meanwhile", "run it again"
        ) from None


def end(directory: str, late: float) -> int:
    """The registry looks in the new place: people push again. Returns how many tags came late, of slow pushes.

    late: seconds to wait for these.
    """
    root = Path(directory)
    begun = _begun(root)
    barrier.passed(late)
    count = _bring_late(root, begun["when"]) if begun and begun["to"] == S3 else 0
    (root / SWITCHING).unlink(missing_ok=True)
    relay.thaw(directory)
    return count


def _bring_late(root: Path, since: float) -> int:
    """Tags that the old registry acknowledged while the last pass was made are added; nothing else is changed."""
    bucket = places.bucket(root)
    count = 0
    with handles.refused(), handles.top(str(root / DATA)) as data, handles.store(data) as top:
        store = walk.repositories(top)
        late = [
            (name, tag, digest)
            for name, repository in store.repositories.items()
            for tag, (digest, when) in repository.tags.items()
            if when >= since and digest
        ]
        if not late or bucket is None:
            return 0
        with Far(root, bucket) as far:
            for name, tag, digest in late:
                count += _bring(far, top, store.repositories[name], (tag, digest))
    return count


def _bring(far: Far, top: int, repository: walk.Repository, image: tuple[str, str]) -> bool:
    tag, digest = image
    name, bucket = repository.name, far.bucket
    path = f"{IN_DATA}/{trash.tag(name, tag)}/current/link"
    if bucket.head(path) is not None and bucket.get(path) == digest.encode():
        return False
    wanted: set[str] = set()
    with walk.Manifests(top) as manifests:
        marks.needs(digest, manifests, wanted)
    for each in sorted(wanted):
        _bring_blob(bucket, top, each)
        for place, known in ((trash.layer, repository.layers), (trash.revision, repository.revisions)):
            if each in known:
                far.write_new(f"{IN_DATA}/{place(name, each)}/link", each.encode())
    bucket.put(f"{IN_DATA}/{trash.tag(name, tag)}/index/{digest.replace(':', '/')}/link", digest.encode())
    bucket.put(path, digest.encode())
    return True


def _bring_blob(bucket: Bucket, top: int, digest: str) -> None:
    if bucket.head(remote.path_of(digest)) is None:
        with contextlib.suppress(FileNotFoundError), handles.directory(top, trash.blob(digest)) as place:
            found = handles.stat_of(place, "data")
            if found and stat.S_ISREG(found.st_mode):
                path = inside.path(place) / "data"
                bucket.write(remote.path_of(digest), found.st_size, lambda part: across.checked(path, digest, part))


def drop(directory: str, place: Mapping[str, Any], keys: str) -> int:
    """Remove the images where they were before. place, keys: of the bucket, where that is it. Returns how many files.

    Raises RefusedError where a switch is under way, or the registry looks there.
    """
    root = Path(directory)
    if _begun(root):
        raise RefusedError("nothing was removed: a move-to was cut off", "./fab -H … move-to s3 (or disk) goes on")
    if places.place(root) is None:
        bucket = across.bucket_of(place, keys)
        # What leads to the rest first: killed between, there is nothing that looks whole.
        parts = (f"{IN_DATA}/repositories/", f"{IN_DATA}/", f"{TRASH}/")
        gone = [each.key for part in parts for each in bucket.listed(part)]
        bucket.delete_many(dict.fromkeys([*gone, KEY, across.BEGUN]))
        return len({*gone})
    count = 0
    with handles.refused(), handles.top(str(root / DATA)) as data:
        for name in (IN_DATA.partition("/")[0], TRASH, COPY):
            if handles.stat_of(data, name) is not None:
                with handles.directory(data, name) as below:
                    count += sum(len(files) for _, _, files, _ in os.fwalk(".", dir_fd=below, follow_symlinks=False))
                run = ["rm", "-rf", "--one-file-system", "--", name]
                subprocess.run(run, cwd=f"/proc/{os.getpid()}/fd/{data}", check=True)
    return count
