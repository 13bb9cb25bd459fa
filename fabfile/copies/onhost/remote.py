"""Blobs of a bucket, fetched and compared with their digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from ...layout import IN_DATA, KNOWN, LEAST_FREE, STORE
from ...machine.onhost.atomic import RefusedError
from ...store.onhost import trash
from ...store.onhost.bucket import Bucket

# Layers at once.
LARGE = 4


class RottenError(Exception):
    """The content of a blob has another digest."""


class Brought(NamedTuple):
    """bytes: of all blobs; left: how many have to wait, as there is no room; missing: digests."""

    bytes: int
    left: int
    missing: list[str]


class Remote:
    """The blobs of a bucket on their way into a copy. have: see stage.stage."""

    def __init__(self, bucket: Bucket, root: Path, have: Mapping[str, int]) -> None:
        self.bucket, self.known, self.have = bucket, root / KNOWN / IN_DATA, have

    def bring(self, digests: list[str], out: Path) -> Brought:
        """Bring those that nobody has, as long as there is room. out: of the copy. Raises RefusedError for no room."""
        sizes, missing = {}, []
        for digest in digests:
            try:
                sizes[digest] = (self.known / trash.blob(digest) / "data").stat().st_size
            except FileNotFoundError:
                missing.append(digest)
        room = os.statvfs(out)
        budget = room.f_bavail * room.f_frsize - LEAST_FREE
        chosen: list[str] = []
        wanted = [digest for digest in sizes if digest not in self.have]
        for digest in wanted:
            if sizes[digest] <= budget:
                budget -= sizes[digest]
                chosen.append(digest)
        if wanted and not chosen:
            raise RefusedError(
                "nothing was copied: this server's disk has no room for one layer on its way from the bucket",
                "make room: ./fab -H … doctor says what takes it up",
            )
        for digest in sizes.keys() & self.have.keys():
            self._empty(digest, sizes[digest], out)
        with ThreadPoolExecutor(LARGE) as pool:
            done = list(pool.map(lambda digest: self._fetch(digest, sizes[digest], out), chosen))
        missing += [digest for digest, came in zip(chosen, done, strict=True) if not came]
        here = sum(size for digest, size in sizes.items() if digest not in missing)
        return Brought(here, len(wanted) - len(chosen), missing)

    def _file(self, digest: str, out: Path) -> Path:
        path = out / STORE / trash.blob(digest) / "data"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def _empty(self, digest: str, size: int, out: Path) -> None:
        """rsync takes it for the one that is there, by its size and time, and reads neither."""
        path = self._file(digest, out)
        with open(path, "xb", opener=_private) as file:
            file.truncate(size)
        os.utime(path, ns=(self.have[digest], self.have[digest]))

    def _fetch(self, digest: str, size: int, out: Path) -> bool:
        path = self._file(digest, out)
        when = (self.known / trash.blob(digest) / "data").stat().st_mtime_ns
        try:
            with open(path, "xb", opener=_private) as file:
                fetch(self.bucket, path_of(digest), size, digest, file.write)
        except RottenError:
            path.unlink()
            return False
        except RefusedError as error:
            path.unlink()
            if error.reason == "NoSuchKey":
                return False
            raise
        os.utime(path, ns=(when, when))
        return True


def _private(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW, 0o600)


def fetch(bucket: Bucket, key: str, size: int, digest: str, write: Callable[[bytes], object]) -> None:
    """Read an object block by block. Raises RottenError behind the last where it has another digest."""
    for block in verified(bucket.blocks(key, size), digest):
        write(block)


def verified(blocks: Iterable[bytes], digest: str) -> Iterator[bytes]:
    """The same blocks. Raises RottenError behind the last where their content has another digest."""
    algorithm = digest.partition(":")[0]
    found = hashlib.new(algorithm)
    for block in blocks:
        found.update(block)
        yield block
    if f"{algorithm}:{found.hexdigest()}" != digest:
        raise RottenError(digest)


def path_of(digest: str) -> str:
    """The key of a blob."""
    return f"{IN_DATA}/{trash.blob(digest)}/data"
