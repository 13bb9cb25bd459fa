"""The images of a bucket on the disk of a server, while people push: what `move-to disk` copies.

References are read first, as files of what is known of the bucket; then the blobs that they need and that are not here,
each against its digest; then the references are written. Run again it goes on.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...layout import DATA, IN_DATA
from ...machine.onhost.atomic import RefusedError
from ...store.onhost import handles, objects, where
from ...store.onhost.bucket import Bucket
from ...store.onhost.known import Known
from ...store.onhost.manifests import DIGEST
from ...store.onhost.objects import CURRENT
from . import putback, remote
from .across import NAMED, Passed
from .remote import LARGE, RottenError

# Beside the store, root's alone: what is on its way.
COMING = ".moving"


def to_disk(directory: str, *, compare: bool = False) -> Passed:
    """One pass to this server's disk. compare: look at both sides again afterwards.

    Raises RefusedError for what the store refuses, and for a full disk; what came so far stays.
    """
    begun, root = time.monotonic(), Path(directory)
    bucket = where.bucket(root)
    if bucket is None:
        raise RefusedError("the images of this server are on its disk", "./fab -H … status")
    (root / DATA).mkdir(mode=0o750, parents=True, exist_ok=True)
    with handles.refused(), handles.top(str(root / DATA)) as data, Known(root, bucket) as known:
        known.refresh()
        with handles.directory(putback.made(data, IN_DATA, putback.whose(data))) as top:
            done = _Down(bucket, known, data, top).run(compare=compare)
    return {**done, "seconds": time.monotonic() - begun}


class _Down:
    """One pass. data, top: handles of `registry/data`, and of the store in it."""

    def __init__(self, bucket: Bucket, known: Known, data: int, top: int) -> None:
        self.bucket, self.known, self.data, self.top = bucket, known, data, top
        self.owner = putback.whose(data)
        self.rotten: list[str] = []
        self.bytes = self.tags = 0

    def run(self, *, compare: bool) -> Passed:
        keys = [key[len(IN_DATA) + 1 :] for key in self.known.index if key.startswith(f"{IN_DATA}/")]
        blobs = [key for key in keys if key.endswith("/data") and key.startswith("blobs/")]
        links = {key: self._link(key) for key in keys if key.endswith("/link")}
        for key in [key for key in links if key.endswith(CURRENT)]:
            self.tags += 1
            digest = links[key][0].decode("ascii", "replace").strip()
            if DIGEST.match(digest):
                above = key.removesuffix(CURRENT)
                links[f"{above}/index/{digest.replace(':', '/')}/link"] = links[key]
        wanted = [key for key in blobs if not self._there(key)]
        with contextlib.suppress(FileExistsError):
            os.mkdir(COMING, 0o700, dir_fd=self.data)
        with ThreadPoolExecutor(LARGE) as pool:
            sent = sum(pool.map(self._blob, wanted))
        changed = [key for key, (content, _) in links.items() if not self._same(key, content)]
        for key in changed:
            self._write(key, *links[key])
        for key in [key for key in links if key.endswith(CURRENT)]:
            self._date(key, links[key][1])
        gone = self._sweep({*blobs, *links})
        with contextlib.suppress(OSError):
            os.rmdir(COMING, dir_fd=self.data)
        lacking = [key for key in blobs if not self._there(key)]
        lacking += [key for key, (content, _) in links.items() if not self._same(key, content)]
        return {
            "blobs": sent, "bytes": self.bytes, "links": len(changed), "gone": gone, "tags": self.tags,
            "all_blobs": len(blobs), "rotten": {digest: [] for digest in self.rotten}, "dropped": [],
            "different": lacking[:NAMED] if compare else [], "seconds": 0.0,
        }  # fmt: skip

    def _link(self, key: str) -> tuple[bytes, float]:
        path = self.known.top / IN_DATA / key
        return path.read_bytes(), path.stat().st_mtime

    def _there(self, key: str) -> bool:
        found = handles.stat_of(self.top, key)
        seen = self.known.index[f"{IN_DATA}/{key}"]
        return found is not None and stat.S_ISREG(found.st_mode) and found.st_size == seen.size

    def _same(self, key: str, content: bytes) -> bool:
        try:
            return handles.read(self.top, key.split("/"), len(content))[0] == content
        except OSError:
            return False

    def _blob(self, key: str) -> bool:
        digest = objects.digest_of(key)
        seen = self.known.index[f"{IN_DATA}/{key}"]
        name = digest.replace(":", "-")
        try:
            with handles.directory(self.data, COMING) as coming:
                file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640, dir_fd=coming)
                try:
                    with os.fdopen(os.dup(file), "wb") as out:
                        remote.fetch(self.bucket, f"{IN_DATA}/{key}", seen.size, digest, out.write)
                    os.utime(file, (seen.when, seen.when))
                    os.fsync(file)
                finally:
                    putback.own(file, self.owner, 0o640)
                target = putback.made(self.top, key.rpartition("/")[0], self.owner)
                try:
                    os.rename(name, "data", src_dir_fd=coming, dst_dir_fd=target)
                    os.fsync(target)
                finally:
                    os.close(target)
        except RottenError:
            self.rotten.append(digest)
            with handles.directory(self.data, COMING) as coming:
                os.unlink(name, dir_fd=coming)
            return False
        except RefusedError as error:
            if error.reason == "NoSuchKey":
                return False
            raise
        self.bytes += seen.size
        return True

    def _write(self, key: str, content: bytes, when: float) -> None:
        above, _, name = key.rpartition("/")
        with handles.directory(self.data, COMING) as coming:
            file = os.open("link", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640, dir_fd=coming)
            try:
                os.write(file, content)
                os.utime(file, (when, when))
            finally:
                putback.own(file, self.owner, 0o640)
            target = putback.made(self.top, above, self.owner)
            try:
                os.rename("link", name, src_dir_fd=coming, dst_dir_fd=target)
            finally:
                os.close(target)

    def _date(self, key: str, when: float) -> None:
        """The tag's own time tells whether it was brought back: see walk.py."""
        path = key.removesuffix(CURRENT)
        told = (self.known.top / IN_DATA / path).stat().st_mtime
        above, _, name = path.rpartition("/")
        with handles.directory(self.top, above) as handle:
            os.utime(name, (max(told, when), max(told, when)), dir_fd=handle, follow_symlinks=False)
            os.utime(f"{name}/current/link", (when, when), dir_fd=handle, follow_symlinks=False)

    def _sweep(self, wanted: set[str]) -> int:
        """Remove what is not in the bucket, of an earlier time. Returns how many files went."""
        gone = 0
        for part in ("repositories", "blobs"):
            if handles.stat_of(self.top, part) is None:
                continue
            for path, _, files, handle in os.fwalk(part, topdown=False, dir_fd=self.top, follow_symlinks=False):
                for name in files:
                    if f"{path}/{name}" not in wanted:
                        os.unlink(name, dir_fd=handle)
                        gone += 1
            for path, _, _, _ in [*os.fwalk(part, topdown=False, dir_fd=self.top, follow_symlinks=False)]:
                with contextlib.suppress(OSError):
                    os.rmdir(path, dir_fd=self.top) if "/" in path else None
        return gone
