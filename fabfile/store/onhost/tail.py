"""The end of the uses log, read while it grows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

DIGEST = re.compile(r"sha(?:256|384|512):[0-9a-f]{64,128}")


class Tail:
    """What was written since it was opened. digests: those that it names."""

    def __init__(self, path: Path) -> None:
        self.digests: set[str] = set()
        self._begun = b""
        self._file: BinaryIO | None = None
        try:
            self._file = path.open("rb")
            self._file.seek(0, 2)
        except OSError:
            self._file = None

    def read(self) -> None:
        """Look for more."""
        if self._file and (more := self._file.read()):
            more = self._begun + more
            self.digests.update(DIGEST.findall(more.decode("ascii", "replace")))
            # What nginx is writing just now can be there in part.
            self._begun = more[more.rfind(b"\n") + 1 :]

    def __enter__(self) -> Tail:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        if self._file:
            self._file.close()
