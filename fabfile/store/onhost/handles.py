"""Directories in which the registry's container writes: opened part by part, and no link is followed.

As machine/onhost/beneath.py has it, but by handles alone, and quick: a store has a hundred thousand of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...layout import DATA, IN_DATA, KNOWN, STORE
from ...machine.onhost.atomic import RefusedError, disk_remedy
from . import known, where

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """What the operating system refuses, for example on a dying disk, as RefusedError."""
    try:
        yield
    except OSError as error:
        raise refusal(error) from None


def refusal(error: OSError) -> RefusedError:
    """The same, of one."""
    where = f": {error.filename}" if error.filename else ""
    return RefusedError(
        f"not all of the store can be read or changed{where}: {error.strerror or error}",
        disk_remedy(error.errno or 0) or "on the server: dmesg shows why; then run it again",
    )


def unmoved(what: str, error: OSError) -> RefusedError:
    """What could not be moved, as an error with a remedy."""
    if error.errno == errno.EXDEV:
        return RefusedError(f"{what}: {DATA} is not all on one disk", f"mount the disk at {DATA} as a whole")
    return RefusedError(
        f"{what}: {error.strerror}", disk_remedy(error.errno or 0) or "dmesg shows why; then run it again"
    )


def require_known(odd: list[str], so: str = "") -> None:
    """Raises RefusedError where not all of a store could be read. odd: its Store's; so: what that means."""
    if odd:
        raise RefusedError(
            f"{so}not all of the store can be read: {odd[0]}",
            f"look at it on the server, below {DATA}, and move it away",
        )


def open_below(handle: int, parts: Sequence[str]) -> int:
    """A handle of a directory below another one. The caller closes it. Raises OSError where a part is a link."""
    below = os.dup(handle)
    for part in parts:
        try:
            deeper = os.open(part, DIRECTORY, dir_fd=below)
        finally:
            os.close(below)
        below = deeper
    return below


@contextlib.contextmanager
def directory(handle: int, name: str = "") -> Iterator[int]:
    """A directory below another one, for as long as the block runs."""
    below = open_below(handle, [part for part in name.split("/") if part])
    try:
        yield below
    finally:
        os.close(below)


@contextlib.contextmanager
def top(path: str) -> Iterator[int]:
    """A directory that only root can have put there, and above it too."""
    handle = os.open(Path(path).resolve(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def data(root: Path) -> Iterator[int]:
    """`registry/data`, which may be a link or a mount of its own; of a bucket the tree of what is known of it."""
    bucket = where.bucket(root)
    if bucket:
        known.bring(root, bucket)
    with top(str(root / (KNOWN if bucket else DATA))) as handle:
        yield handle


def disk(root: Path) -> contextlib.AbstractContextManager[int]:
    """`registry/data` itself, wherever the images are."""
    (root / DATA).mkdir(mode=0o750, parents=True, exist_ok=True)
    return top(str(root / DATA))


@contextlib.contextmanager
def store(data: int) -> Iterator[int]:
    """What the registry has in there. Raises FileNotFoundError for nothing, RefusedError for a link on the way."""
    try:
        below = open_below(data, IN_DATA.split("/"))
    except FileNotFoundError:
        raise
    except OSError:
        raise RefusedError(
            f"a link, or a file, lies in the way to {STORE}", f"look at it on the server: ls -lR {DATA} | head"
        ) from None
    try:
        yield below
    finally:
        os.close(below)


def read(handle: int, parts: Sequence[str], limit: int) -> tuple[bytes, os.stat_result]:
    """The content of a small file below a directory, at most `limit` bytes and one more, and what it is.

    Raises OSError where a part is a link or the last one no file.
    """
    below = handle
    try:
        for part in parts[:-1]:
            above, below = below, os.open(part, DIRECTORY, dir_fd=below)
            if above != handle:
                os.close(above)
        file = os.open(parts[-1], FILE, dir_fd=below)
    finally:
        if below != handle:
            os.close(below)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{parts[-1]} is no file")
        content = os.read(file, limit + 1)
        while 0 < len(content) <= limit < found.st_size and (more := os.read(file, limit + 1 - len(content))):
            content += more
        return content, found
    finally:
        os.close(file)


def names(handle: int) -> tuple[list[str], list[str]]:
    """The directories in a directory, and what is a link or nothing that we know; files are in neither."""
    directories, odd = [], []
    with os.scandir(handle) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            elif not entry.is_file(follow_symlinks=False):
                odd.append(entry.name)
    return directories, odd


def stat_of(handle: int, name: str) -> os.stat_result | None:
    """What is of that name, itself and not what a link leads to; None for nothing."""
    try:
        return os.stat(name, dir_fd=handle, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def written(found: os.stat_result | None) -> float:
    """When its content was written, or something came into it; 0 for nothing."""
    return found.st_mtime if found else 0.0


def stored(data: os.stat_result | None, place: os.stat_result | None) -> float:
    """When a blob was last brought: its content was written, or came into its directory; or that was moved.

    A hard link, as a copy makes one, changes nothing but when the content's own entry was changed (ctime).
    """
    return max(written(data), newest(place))


def newest(*found: os.stat_result | None) -> float:
    """The time of the last change of these: of what is in them, of their owner, or of their name."""
    return max((max(each.st_mtime, each.st_ctime) for each in found if each), default=0.0)
