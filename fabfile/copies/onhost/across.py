"""The images between the disk of a server and a bucket, while people push: blobs first, references after, and again.

The keys in the bucket are the paths below `registry/data`. What is there already is not sent again, each blob is read
against its digest, and what is gone here goes there. Run again it goes on: an object is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from ...layout import COPY_OUT, IN_DATA, STORE
from ...machine.onhost.atomic import RefusedError
from ...store.onhost import handles, objects, times, trash, walk
from ...store.onhost.answers import Entry
from ...store.onhost.bucket import Bucket
from ...store.onhost.objects import CURRENT
from ...store.onhost.wire import Place, read_keys
from . import inside, stage
from .remote import LARGE, RottenError, verified

# In a bucket to which images are on their way: of which registry.
BEGUN = ".moving"
# Links at once.
SMALL = 16
NAMED = 20


class Passed(TypedDict):
    """What a pass brought.

    blobs, bytes, links: how much was sent; gone: files that went; tags, all_blobs: how much there is. rotten: blobs
    that are missing, or whose content has another digest, and that did not come, with images that need them. dropped:
    as in stage.Staged. different: what is not the same on both sides after it, [] where nobody asked.
    """

    blobs: int
    bytes: int
    links: int
    gone: int
    tags: int
    all_blobs: int
    rotten: dict[str, list[str]]
    dropped: list[str]
    different: list[str]
    seconds: float


def bucket_of(place: Mapping[str, Any], keys: str) -> Bucket:
    """place: as wire.Place; keys: the text of the file of keys."""
    return Bucket(Place(**place), read_keys(keys))


def begin(place: Mapping[str, Any], keys: str, domain: str) -> None:
    """Let the bucket be that of this registry. Raises RefusedError where something else is there already."""
    bucket = bucket_of(place, keys)
    found = bucket.head(BEGUN)
    if found and bucket.get(BEGUN).decode("utf-8", "replace") != domain:
        raise RefusedError(
            "nothing was changed: another registry is on its way to this bucket", "another S3_BUCKET, or S3_PREFIX"
        )
    if not found and bucket.page(f"{IN_DATA}/", limit=1).entries:
        raise RefusedError(
            "nothing was changed: this bucket has images of a registry already",
            "another S3_BUCKET, or S3_PREFIX; or, where nothing there is needed: remove what is below docker/",
        )
    bucket.put(BEGUN, domain.encode())


def end(place: Mapping[str, Any], keys: str) -> None:
    """All is there."""
    bucket_of(place, keys).delete(BEGUN)


def to_bucket(directory: str, place: Mapping[str, Any], keys: str, *, compare: bool = False) -> Passed:
    """One pass from this server's disk. compare: look at both sides again afterwards.

    Raises RefusedError as stage.stage, and for what the store refuses; what came so far stays.
    """
    begun = time.monotonic()
    staged = stage.stage(directory)
    try:
        with inside.opened(Path(directory), COPY_OUT) as out:
            done = _Up(bucket_of(place, keys), inside.path(out) / STORE, _restored(directory)).run(compare=compare)
    finally:
        stage.drop(directory)
    missing: dict[str, list[str]] = {digest: [] for digest in done["rotten"]}
    done["rotten"] = {**missing, **staged["missing"]}
    done["tags"], done["all_blobs"], done["dropped"] = staged["tags"], staged["blobs"], staged["dropped"]
    return {**done, "seconds": time.monotonic() - begun}


class _Up:
    """One pass. top: of a consistent copy, which nobody changes; back: see _restored."""

    def __init__(self, bucket: Bucket, top: Path, back: dict[str, float]) -> None:
        self.bucket, self.top, self.back = bucket, top, back
        self.rotten: list[str] = []
        self.bytes = 0

    def run(self, *, compare: bool) -> Passed:
        there = {each.key: each for each in self.bucket.listed(f"{IN_DATA}/")}
        here = {f"{IN_DATA}/{each.relative_to(self.top)}": each for each in self.top.rglob("*") if each.is_file()}
        blobs = [key for key in here if key.endswith("/data")]
        links = sorted((key for key in here if key.endswith("/link")), key=_order)
        wanted = [key for key in blobs if key not in there or there[key].size != here[key].stat().st_size]
        with ThreadPoolExecutor(LARGE) as pool:
            sent = sum(pool.map(lambda key: self._blob(key, here[key]), wanted))
        changed = [key for key in links if not _same(there.get(key), here[key].read_bytes())]
        with ThreadPoolExecutor(SMALL) as pool:
            # In their order: what leads to something after that.
            for kind in range(4):
                some = [key for key in changed if _order(key)[0] == kind]
                list(pool.map(lambda key: self.bucket.put(key, here[key].read_bytes()), some))
        gone = [key for key in there if key not in here]
        self.bucket.delete_many(sorted(gone, key=_order, reverse=True))
        self._times({key: here[key] for key in links if key.endswith(CURRENT)})
        return {
            "blobs": sent, "bytes": self.bytes, "links": len(changed), "gone": len(gone),
            "rotten": {digest: [] for digest in self.rotten}, "tags": 0, "all_blobs": 0, "dropped": [],
            "different": self.different(here) if compare else [], "seconds": 0.0,
        }  # fmt: skip

    def _blob(self, key: str, path: Path) -> bool:
        digest = objects.digest_of(key)
        size = path.stat().st_size
        try:
            self.bucket.write(key, size, lambda part: checked(path, digest, part))
        except RottenError:
            self.rotten.append(digest)
            return False
        self.bytes += size
        return True

    def _times(self, links: dict[str, Path]) -> None:
        """When each tag was pushed: the store has the time of the move."""
        lines = {
            key: (objects.etag(path.read_bytes()), 0.0, path.stat().st_mtime, self.back.get(key, 0.0))
            for key, path in links.items()
        }  # fmt: skip
        self.bucket.put(times.KEY, json.dumps(lines, separators=(",", ":")).encode())

    def different(self, here: dict[str, Path]) -> list[str]:
        """What is not the same on both sides."""
        there = {each.key: each for each in self.bucket.listed(f"{IN_DATA}/")}
        found = [key for key in there if key not in here]
        for key, path in here.items():
            entry = there.get(key)
            if key.endswith("/link"):
                content = path.read_bytes()
                if not _same(entry, content) and (entry is None or self.bucket.get(key) != content):
                    found.append(key)
            elif entry is None or entry.size != path.stat().st_size:
                found.append(key)
        return found[:NAMED]


def _order(key: str) -> tuple[int, str]:
    """Blobs, links, what a tag was, what it is."""
    if key.endswith("/data"):
        return 0, key
    if "/_manifests/tags/" in key:
        return (3 if key.endswith(CURRENT) else 2), key
    return 1, key


def _same(entry: Entry | None, content: bytes) -> bool:
    return entry is not None and entry.size == len(content) and entry.etag == objects.etag(content)


def _restored(directory: str) -> dict[str, float]:
    """The links of tags that `images --undo` brought back, and when: a copy does not have that."""
    with contextlib.suppress(FileNotFoundError), handles.data(Path(directory)) as data, handles.store(data) as top:
        return {
            f"{IN_DATA}/{trash.tag(name, tag)}{CURRENT}": when
            for name, repository in walk.repositories(top).repositories.items()
            for tag, when in repository.restored.items()
        }
    return {}


def checked(path: Path, digest: str, part: int) -> Iterator[bytes]:
    """The content, in parts. Raises RottenError behind the last where it has another digest: so nothing is there."""
    with path.open("rb") as file:
        yield from verified(iter(partial(file.read, part), b""), digest)
