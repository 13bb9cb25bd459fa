"""The files of what is known of a bucket (known.py), and the index of what was seen there."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import NamedTuple, TypeVar

from ...layout import IN_DATA, KNOWN, KNOWN_LOCK, TRASH
from ...machine.onhost.atomic import RefusedError, locked, replace
from .answers import Entry
from .bucket import Bucket
from .manifests import DIGEST, LARGEST
from .objects import CURRENT, REVISION, etag
from .times import Times

WAIT = 600.0
# A manifest, or an image's configuration as images.py reads it.
SMALL = LARGEST
INDEX = ".index"
# Whoever changes much lets others have it after so many seconds, for so many.
HELD, PAUSE = 20.0, 0.2
T = TypeVar("T", bound="Tree")
BOOT = Path("/proc/sys/kernel/random/boot_id")


class Seen(NamedTuple):
    """An object as it was mirrored. whole: its content is here; etag: '' where nobody knows."""

    etag: str
    when: float
    size: int
    whole: bool


class Tree:
    """The tree, for whoever has its lock. root: DEPLOY_DIR."""

    def __init__(self, root: Path, bucket: Bucket) -> None:
        self.root, self.bucket, self.top = root, bucket, root / KNOWN
        self.index: dict[str, Seen] = {}
        self.stamp = ""
        self.changed = False
        self.lock = contextlib.ExitStack()
        self.since = 0.0
        # Content that is wanted: of manifests.
        self.wanted: set[str] = set()

    def __enter__(self: T) -> T:
        """With the lock."""
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        """Without it. After an error too: what was done so far is so."""
        self.release()
        self.bucket.close()

    def acquire(self) -> None:
        """Have the lock; others had it at least once a few seconds."""
        if self.since and time.monotonic() < self.since + HELD:
            return
        if self.since:
            self.release()
            time.sleep(PAUSE)
        self.top.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.lock.enter_context(locked(self.root / KNOWN_LOCK, WAIT))
        self.since = time.monotonic()
        if not self.stamp or self.stamp != self._stamp():
            self.index = self._read()
            self.times = Times(self.top, self.bucket)

    def release(self) -> None:
        """Write down what is known, and give the lock away."""
        if self.since:
            self.since = 0.0
            with self.lock:
                self.save()
                self.stamp = self._stamp()

    def _stamp(self) -> str:
        try:
            found = (self.top / INDEX).stat()
        except OSError:
            return ""
        return f"{found.st_ino} {found.st_mtime_ns}"

    def here(self, entry: Entry) -> bytes | None:
        """What the file has, where the ETag says that this is the content."""
        with contextlib.suppress(OSError):
            content = (self.top / entry.key).read_bytes()
            if len(content) == entry.size and etag(content) == entry.etag:
                return content
        return None

    def put(self, entry: Entry, content: bytes | None) -> None:
        """Write a file, in one rename. content: None for one of that size without any."""
        path = self.top / entry.key
        self._dirty()
        when = self.times.of(entry) if content is not None and entry.key.endswith(CURRENT) else (entry.when, 0.0)
        in_trash = entry.key.startswith(f"{TRASH}/")
        if in_trash:
            when = (self.times.in_trash(entry, path), 0.0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if self._same(entry, path, content):
                # A new file would be a new lease.
                os.utime(path, (when[0], when[0]))
            else:
                draft = self.top / ".new"
                with draft.open("wb") as file:
                    file.write(content) if content is not None else file.truncate(entry.size)
                os.utime(draft, (when[0], when[0]))
                draft.replace(path)
        except (NotADirectoryError, IsADirectoryError, FileExistsError):
            raise RefusedError(
                f"the bucket has something below {entry.key}, and that itself", "remove what does not belong there"
            ) from None
        self._date(entry.key, path, when)
        if content is not None and entry.key.endswith("/link"):
            self._links(entry.key, content)
        self.index[entry.key] = Seen(entry.etag, entry.when, entry.size, content is not None)

    def _same(self, entry: Entry, path: Path, content: bytes | None) -> bool:
        if not path.is_file() or path.stat().st_size != entry.size:
            return False
        return content is None or path.read_bytes() == content

    def _date(self, key: str, path: Path, when: tuple[float, float]) -> None:
        if key.endswith(CURRENT):
            # walk.py takes a tag whose directory is newer than its link for one that was brought back.
            above = path.parent.parent
            os.utime(above, (when[1] or when[0], when[1] or when[0]))
        elif "/_uploads/" in key:
            upload = self.top.joinpath(*Path(key).parts[: Path(key).parts.index("_uploads") + 2])
            os.utime(upload)

    def remove(self, key: str) -> None:
        """What is empty then goes too; but the place of a manifest tells gc when it was deleted."""
        self._dirty()
        path = self.top / key
        path.unlink(missing_ok=True)
        self.index.pop(key, None)
        stop = {self.top / IN_DATA / "repositories", self.top / IN_DATA / "blobs", self.top / TRASH, self.top}
        kept = path.parent if REVISION.search(key) and not key.startswith(TRASH) else None
        for above in path.parents:
            if above in stop or above == kept:
                return
            try:
                above.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return

    def _dirty(self) -> None:
        """From now on the index is behind the tree."""
        if not self.changed:
            self.changed = True
            (self.top / INDEX).unlink(missing_ok=True)

    def save(self) -> None:
        """Write the index, so that the next one need not look at each file."""
        self.times.save()
        if self.changed or not (self.top / INDEX).is_file():
            found = {"boot": BOOT.read_text() if BOOT.exists() else "", "keys": self.index}
            replace(self.top / INDEX, json.dumps(found, separators=(",", ":")).encode(), 0o600)
            self.changed = False

    def _read(self) -> dict[str, Seen]:
        """Where it is not of this tree, what is in the tree, of which nobody knows whether it is right."""
        try:
            found = json.loads((self.top / INDEX).read_bytes())
            if found["boot"] == (BOOT.read_text() if BOOT.exists() else ""):
                return {key: Seen(*seen) for key, seen in found["keys"].items()}
        except (OSError, ValueError, LookupError, TypeError):
            pass
        keys = (
            os.path.relpath(os.path.join(above, name), self.top)  # noqa: PTH118 - a hundred thousand of them
            for part in (IN_DATA, TRASH)
            for above, _, names in os.walk(self.top / part)
            for name in names
        )
        return {key: Seen("", 0.0, 0, whole=False) for key in keys}

    def _links(self, key: str, content: bytes) -> None:
        digest = content.decode("ascii", "replace").strip()
        if (key.endswith(CURRENT) or REVISION.search(key)) and DIGEST.match(digest):
            self.wanted.add(digest)
