"""Files for the page: each is replaced whole, and only where its content is another one."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

# Below that a packed one is no smaller in packets.
LEAST = 1000


class Writer:
    """Into one directory. written: file -> what stands for its content, which is kept up to date. now: in seconds.

    Nothing is synced to the disk: all of it can be made again.
    """

    def __init__(self, top: Path, written: dict[str, str], now: int) -> None:
        self._top, self._written, self._now = top, written, now
        self.count = 0
        # Files that were put, or found to be the same; and the repositories among them.
        self.touched: set[str] = set()
        self.repositories: set[str] = set()
        self._kept: set[str] = set()

    def put(self, name: str, content: dict[str, Any]) -> None:
        """As JSON, with the time at which it was made. The packed one lies beside it for nginx (gzip_static)."""
        self.touched.add(name)
        plain = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
        digest = hashlib.sha256(plain).hexdigest()[:16]
        path = self._top / name
        if self._written.get(name) == digest and path.is_file():
            return
        data = f'{{"made":{self._now}'.encode() + (b"," if content else b"") + plain[1:]
        self._make(path.parent)
        packed = path.with_name(f"{path.name}.gz")
        # nginx tells one version from another by its time, in seconds, and its size.
        when = max(self._now, int(path.stat().st_mtime) + 1 if path.is_file() else 0)
        if len(data) >= LEAST:
            _replace(packed, gzip.compress(data, 6, mtime=0), when)
        else:
            packed.unlink(missing_ok=True)
        _replace(path, data, when)
        self._written[name] = digest
        self.count += 1

    def _make(self, directory: Path) -> None:
        """Whatever the umask is, nginx enters it."""
        if directory != self._top and not directory.is_dir():
            self._make(directory.parent)
            directory.mkdir()
            directory.chmod(0o755)

    def read(self, name: str) -> dict[str, Any]:
        """What was put there; {} where that cannot be read."""
        try:
            found = json.loads((self._top / name).read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def keep(self, names: set[str]) -> None:
        """Let these stay, whatever was put."""
        self._kept |= names

    def prune(self, *, whole: bool) -> None:
        """Remove what is neither put nor kept, and directories that are empty then.

        whole: also what nobody remembers to have put there.
        """
        stay = self._kept | self.touched
        there = (
            {str(path.relative_to(self._top)) for path in self._top.glob("*/**/*.json") if path.is_file()}
            if whole
            else set()
        )
        for name in (self._written.keys() | there) - stay:
            path = self._top / name
            for each in (path, path.with_name(f"{path.name}.gz")):
                each.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                for above in Path(name).parents:
                    (self._top / above).rmdir()
            self._written.pop(name, None)


def quietly(path: Path, content: bytes) -> None:
    """Replace a file that is not sent."""
    _replace(path, content, int(time.time()), 0o600)


def _replace(path: Path, content: bytes, when: int, mode: int = 0o644) -> None:
    draft = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    os.utime(draft, (when, when))
    draft.replace(path)
