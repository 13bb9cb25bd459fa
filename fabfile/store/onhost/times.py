"""When a tag was pushed, where the store would say something else: a copy in it has the time of the copy.

An object `.times` beside the registry's own has a line for each tag that was moved into the bucket, or brought back
from the trash: its link's ETag, the time that the store says of it, when it was pushed, and when it was brought back.
It counts for as long as both are what the store says: a push in the meantime is newer.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from ...layout import TRASH
from ...machine.onhost.atomic import RefusedError, replace
from .answers import Entry
from .bucket import Bucket
from .runs import begun

KEY = ".times"
# ETag, time that the store says (0: whatever it says next), time of the push, time at which it was brought back or 0.
Line = tuple[str, float, float, float]


class Times:
    """The lines, here and in the bucket. top: of the known tree."""

    def __init__(self, top: Path, bucket: Bucket) -> None:
        self._file, self._bucket = top / KEY, bucket
        self.lines: dict[str, Line] = {}
        self.changed = False
        content = b""
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            try:
                content = bucket.get(KEY)
            except RefusedError as error:
                if error.reason != "NoSuchKey":
                    raise
        with contextlib.suppress(ValueError, TypeError):
            self.lines = {key: tuple(line) for key, line in json.loads(content or b"{}").items()}

    def of(self, entry: Entry) -> tuple[float, float]:
        """When the tag of that link was pushed, and brought back or 0."""
        line = self.lines.get(entry.key)
        if not line:
            return entry.when, 0.0
        etag, said, when, back = line
        if etag != entry.etag or said not in (0.0, entry.when):
            del self.lines[entry.key]
            self.changed = True
            return entry.when, 0.0
        if not said:
            self.lines[entry.key] = (etag, entry.when, when, back)
            self.changed = True
        return when, back

    def in_trash(self, entry: Entry, path: Path) -> float:
        """Of what was taken: as it was, or before the run where nobody knows any more: nobody writes there."""
        if path.is_file():
            return path.stat().st_mtime
        return begun(entry.key.removeprefix(f"{TRASH}/").partition("/")[0]) - 1

    def keep(self, key: str, etag: str, when: float, back: float = 0.0) -> None:
        """Remember when a tag was pushed whose link is being written now."""
        self.lines[key] = (etag, 0.0, when, back)
        self.changed = True

    def back(self, key: str, now: float) -> None:
        """Remember that a tag was brought back just now."""
        if line := self.lines.get(key):
            self.lines[key] = (*line[:3], now)
            self.changed = True

    def save(self) -> None:
        """Into the bucket first: what is here can be lost."""
        if self.changed or not self._file.is_file():
            content = json.dumps(self.lines, separators=(",", ":")).encode()
            if self.changed:
                self._bucket.put(KEY, content)
            replace(self._file, content, 0o600)
            self.changed = False
