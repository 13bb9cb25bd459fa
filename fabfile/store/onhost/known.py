"""What is in the bucket, as files at the same paths: so all that reads a store of a registry reads this one too.

registry/known/docker   links and manifests as they are, layers as files of their size without content
registry/known/.trash   the trash of the bucket (far.py), alike
registry/known/.index   what was seen: key -> ETag, time, size, and whether the content is here

Times are the store's LastModified. It is brought up to date from the store's own listing, a thousand names a request;
what did not change is not fetched, and of links nothing is: the ETag says what is in them. All of it can be made again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...layout import IN_DATA, KNOWN, TRASH, USES_LOG
from ...machine.onhost.atomic import RefusedError, replace
from .answers import Entry
from .bucket import Bucket
from .manifests import UnreadableError, parse
from .objects import BLOB, REVISION, digest_of, guessed, mirrored, sums
from .tree import SMALL, Tree

# Requests at once.
AT_ONCE = 16
# Of several servers the log of this one does not tell of all pushes: so it is looked again after so many seconds.
OLDEST = 600.0
SEEN = ".seen"


class Known(Tree):
    """The tree, to be changed by whoever has its lock: see `opened`. root: DEPLOY_DIR."""

    def refresh(self) -> None:
        """Bring all of it up to date: what leads to something first, as a push writes that last."""
        self._follow([f"{TRASH}/", f"{IN_DATA}/repositories/"], self.index)
        self._follow([f"{IN_DATA}/blobs/sha256/{first:x}" for first in range(16)], self.index)
        self.wanted |= {f"{m[1]}:{m[2]}" for key in self.index if (m := REVISION.search(key))}
        self._want()
        self.save()

    def look(self, *paths: str) -> None:
        """The same for directories below docker/registry/v2, or files there."""
        for path in paths:
            key = f"{IN_DATA}/{path}"
            there = [str(each.relative_to(self.top)) for each in (self.top / key).rglob("*") if each.is_file()]
            if path.endswith(("/link", "/data")):
                found = self.bucket.page(key, limit=1).entries
                listed = {each.key: each for each in found if each.key == key}
                there = [key] if (self.top / key).is_file() else []
            else:
                listed = {each.key: each for each in self.bucket.listed(f"{key}/")}
            self._apply(listed, there)
        self._want()

    def _follow(self, prefixes: list[str], index: Iterable[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            listed = {each.key: each for found in pool.map(self._listed, prefixes) for each in found}
        # Not among blobs whose algorithm the registry does not use.
        self._apply(listed, [key for key in index if key.startswith(tuple(prefixes))])

    def _listed(self, prefix: str) -> list[Entry]:
        return [*self.bucket.listed(prefix)]

    def _apply(self, listed: dict[str, Entry], there: Iterable[str]) -> None:
        listed = {key: entry for key, entry in listed.items() if mirrored(key)}
        for key in [key for key in there if key not in listed]:
            self.remove(key)
        digests: dict[str, str] = {}
        fetched: list[Entry] = []
        for key, entry in listed.items():
            seen = self.index.get(key)
            if seen and (seen.etag, seen.when, seen.size) == (entry.etag, entry.when, entry.size):
                continue
            if BLOB.search(key):
                self._blob(entry)
            elif entry.size > SMALL or not key.endswith("/link"):
                self.put(entry, None)
            else:
                digests = digests or sums(listed)
                content = guessed(entry, digests) or self.here(entry)
                fetched += [] if content is not None else [entry]
                if content is not None:
                    self.put(entry, content)
        for entry, content in self._fetch(fetched):
            self.put(entry, content)

    def _blob(self, entry: Entry) -> None:
        """Its content only if it is here already, and the same."""
        content = self.here(entry) if entry.size <= SMALL else None
        self.put(entry, content)

    def _fetch(self, entries: list[Entry]) -> Iterator[tuple[Entry, bytes]]:
        """What went away meanwhile is left out."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for entry, content in zip(entries, pool.map(self._got, entries), strict=True):
                if content is not None:
                    yield entry, content

    def _got(self, entry: Entry) -> bytes | None:
        try:
            return self.bucket.get(entry.key)
        except RefusedError as error:
            if error.reason == "NoSuchKey":
                return None
            raise

    def _want(self) -> None:
        """Fetch the manifests that are wanted, and what these name, as long as there is more."""
        done: set[str] = set()
        while todo := self.wanted - done:
            done |= todo
            self.wanted = set()
            for entry, content in self._fetch(self._entries(todo)):
                self.put(entry, content)
                self._wants(entry.key, content)
        self.wanted = set()

    def _entries(self, digests: set[str]) -> list[Entry]:
        """Blobs whose content is not here, and may be what is wanted."""
        found = []
        for digest in digests:
            algorithm, _, name = digest.partition(":")
            key = f"{IN_DATA}/blobs/{algorithm}/{name[:2]}/{name}/data"
            if key not in self.index:
                # Pushed since the blobs were listed, or only some of it is looked at.
                self._apply({each.key: each for each in self.bucket.page(key, limit=1).entries if each.key == key}, [])
            seen = self.index.get(key)
            if seen and not seen.whole and seen.size <= SMALL:
                found.append(Entry(key, seen.size, seen.when, seen.etag))
        return found

    def _wants(self, key: str, content: bytes) -> None:
        digest = digest_of(key)
        try:
            manifest = parse(digest, content) if digest else None
        except UnreadableError:
            return
        if manifest:
            self.wanted |= {child.digest for child in manifest.children} | ({manifest.config} - {""})


def bring(root: Path, bucket: Bucket) -> None:
    """Have the tree be as the bucket is now. Nothing is asked where nobody asked this registry since the last time."""
    if not _current(root):
        with Known(root, bucket) as known:
            begun = _asked(root)
            known.refresh()
            replace(root / KNOWN / SEEN, begun.encode(), 0o600)


def forget(root: Path) -> None:
    """Remove the tree."""
    shutil.rmtree(root / KNOWN, ignore_errors=True)


def _current(root: Path) -> bool:
    try:
        seen = root / KNOWN / SEEN
        return seen.read_text() == _asked(root) and 0 <= time.time() - seen.stat().st_mtime < OLDEST
    except OSError:
        return False


def _asked(root: Path) -> str:
    """When the log of uses was written last."""
    log = root / USES_LOG
    return str(log.stat().st_mtime_ns) if log.exists() else "never"
