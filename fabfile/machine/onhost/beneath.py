"""Files below a directory in which somebody else may write: a container, or the user that it runs as.

Root follows no link out of there. A path is opened part by part, each relative to the one before (openat(2)),
so whatever is renamed or linked in the meantime leads nowhere else. What is opened is never waited for, as
a fifo would be, and no more is read than such a file can hold.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .atomic import RefusedError

# Of certificates, their settings and challenges; a log is larger, and of that the end counts.
LIMIT = 1 << 20
# As certbot has them: live/NAME/cert.pem -> ../../archive/NAME/cert1.pem
MOST_LINKS = 4
OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read(top: Path, name: str, limit: int = LIMIT) -> bytes:
    """The content of a file, the last `limit` bytes of a larger one. Links count as long as they stay below `top`.

    Raises FileNotFoundError, and RefusedError for what is no file or lies elsewhere.
    """
    with opened(top, name) as handle:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise _refused(top, name, "is no file")
        os.lseek(handle, max(0, os.fstat(handle).st_size - limit), os.SEEK_SET)
        found = b""
        while len(found) < limit and (block := os.read(handle, limit - len(found))):
            found += block
        return found


def require_below(name: str) -> None:
    """Raise RefusedError for a name that does not stay below the directory that it is joined to."""
    if name.startswith("/") or ".." in name.split("/"):
        raise RefusedError(f"{name!r} is no path below it", "who wrote that? nothing was done")


def text(top: Path, name: str, limit: int = LIMIT) -> str:
    """`read`, as text."""
    return read(top, name, limit).decode("utf-8", "replace")


def there(top: Path, name: str) -> os.stat_result | None:
    """What is of that name, links followed as in `read`; None where there is nothing, or a link to nothing."""
    try:
        with opened(top, name) as handle:
            return os.fstat(handle)
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_link(top: Path, name: str) -> bool:
    """Whether it is a link, and one to something below `top`."""
    parent, _, last = name.rpartition("/")
    try:
        with directory(top, parent) as handle:
            found = os.stat(last, dir_fd=handle, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISLNK(found.st_mode) and there(top, name) is not None


@contextlib.contextmanager
def directory(top: Path, name: str = "", make: int | None = None) -> Iterator[int]:
    """A directory to be used with `dir_fd`. make: what is missing of it is made, with that mode.

    Raises FileNotFoundError, and RefusedError where a part of it is a link or no directory.
    """
    handle = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in filter(None, name.split("/")):
            if make is not None:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, make, dir_fd=handle)
            try:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | OPEN, dir_fd=handle)
            except NotADirectoryError:
                raise _refused(top, name, "is no directory") from None
            os.close(handle)
            handle = below
            if make is not None:
                os.fchmod(handle, make)
        yield handle
    finally:
        os.close(handle)


def write_new(handle: int, name: str, content: bytes, mode: int) -> None:
    """Make a file that was not there, in a directory of `directory`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN
    file = os.open(name, flags, mode, dir_fd=handle)
    try:
        os.fchmod(file, mode)
        os.write(file, content)
    finally:
        os.close(file)


@contextlib.contextmanager
def opened(top: Path, name: str) -> Iterator[int]:
    """A handle of what is of that name, for reading. Raises as `read`."""
    handle = _opened(top, name)
    try:
        yield handle
    finally:
        os.close(handle)


def _opened(top: Path, name: str) -> int:
    """Links below `top` are followed, as by RESOLVE_BENEATH of openat2(2), which Python does not have."""
    handles = [os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
    parts = list(reversed(name.split("/")))
    links = 0
    try:
        while parts:
            part = parts.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if len(handles) == 1:
                    raise _refused(top, name, "is a link that leads out of it")
                os.close(handles.pop())
                continue
            target = _link(part, handles[-1])
            if target is None:
                handles.append(os.open(part, os.O_RDONLY | OPEN, dir_fd=handles[-1]))
                continue
            links += 1
            if target.startswith("/") or links > MOST_LINKS:
                raise _refused(top, name, "is a link that leads out of it")
            parts += reversed(target.split("/"))
        return os.dup(handles[-1])
    except OSError as error:
        # A socket, or a name that is too long for a name.
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise
        raise _refused(top, name, f"cannot be opened ({error.strerror})") from None
    finally:
        for handle in handles:
            os.close(handle)


def _link(name: str, handle: int) -> str | None:
    """Where a link points; None for what is none."""
    try:
        return os.readlink(name, dir_fd=handle)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        return None


def _refused(top: Path, name: str, what: str) -> RefusedError:
    return RefusedError(
        f"{top}/{name} {what}; it is left alone",
        "was the container that writes there taken over? ls -l there shows it",
    )
