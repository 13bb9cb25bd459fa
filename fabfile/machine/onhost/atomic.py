"""Files that are replaced whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict


class Refusal(TypedDict):
    """A RefusedError on its way to whoever asked."""

    what: str
    remedies: list[str]
    reason: str


FULL = "on the server: df -h and df -i show which disk is full; docs/care.md, When the disk is full"
READ_ONLY = "on the server: mount shows what is mounted ro; dmesg says why, when it was not always so"
# The reason of a refusal: another process has the lock.
HELD = "held"
NUMBERS = {os.strerror(number).lower(): number for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)}
DISK = re.compile("|".join(NUMBERS), re.I)


def disk_remedy(number: int) -> str:
    """What to do about an error of the operating system; "" where it is not about a disk's room. number: of errno."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return FULL
    return READ_ONLY if number == errno.EROFS else ""


def told_remedy(text: str) -> str:
    """The same for what a program says."""
    found = DISK.search(text)
    return disk_remedy(NUMBERS[found[0].lower()]) if found else ""


class RefusedError(Exception):
    """The host's answer is no: why, in one line, and what to do. As errors.ExpectedError, which becomes of it."""

    def __init__(self, what: str, *remedies: str, reason: str = "") -> None:
        self.what = what
        self.remedies = tuple(filter(None, remedies))
        self.reason = reason
        super().__init__(what, *self.remedies)

    def add(self, more: str) -> None:
        """Say more in the line for the user, what came of it for example."""
        self.what = f"{self.what}; {more}"

    def refusal(self) -> Refusal:
        """All of it as JSON can carry it."""
        return {"what": self.what, "remedies": list(self.remedies), "reason": self.reason}

    def __str__(self) -> str:
        """The line for the user, and below it a line for each remedy."""
        return "\n  -> ".join((self.what, *self.remedies))


def replace(path: Path, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Write a file so that a reader sees the old content or the new, after a crash too.

    owner: user and group, when it is not ours; only root can give it away. The time stamp always moves
    forward: the registry notices a changed accounts file by that alone
    (distribution, registry/auth/htpasswd/access.go).
    """
    draft = path.with_name(f".{path.name}.new")
    with open(draft, "wb", opener=_private) as file:
        file.write(content)
        file.flush()
        if owner and os.geteuid() == 0:
            os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    if path.exists() and draft.stat().st_mtime_ns <= path.stat().st_mtime_ns:
        later = path.stat().st_mtime_ns + 1_000_000
        os.utime(draft, ns=(later, later))
    draft.replace(path)
    sync_directory(path.parent)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW, 0o600)


def exists(path: str) -> bool:
    """Whether there is a file of that name."""
    return Path(path).is_file()


def sync_directory(path: Path) -> None:
    """Make renames in a directory survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path, seconds: float = 30) -> Iterator[None]:
    """Hold an exclusive lock on a file (made when missing); the kernel frees it with the process.

    Raises RefusedError when another process keeps it longer than `seconds`.
    """
    with open(path, "ab", opener=_private) as file:
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise RefusedError(
                        f"{path} is locked by another command",
                        "wait for it to end, then run this again",
                        reason=HELD,
                    ) from None
                time.sleep(0.05)
        yield
