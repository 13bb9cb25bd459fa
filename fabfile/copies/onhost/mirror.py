"""A standby's images become those of a copy: new blobs first, then all references at once, then what nobody needs goes.

The new references are a tree of their own; what has not changed in it is a hard link. It takes the place of the old one
by one exchange (renameat2(2)), so a pull sees all of the old copy or all of the new one; killed anywhere, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from pathlib import Path

from ...layout import COPY_NEXT, IN_DATA
from ...machine.onhost import store as disk
from ...machine.onhost.owner import NGINX, REGISTRY
from ...store.onhost import handles, trash, walk
from . import inside, putback

REFERENCES = "repositories"
EXCHANGE = 2
# Times in seconds lose their last digits on the way.
MOMENT = 1e-5
# The kernel, or the file system, does not know it.
UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def swap(directory: str, links: list[putback.Link]) -> int:
    """Let these be the references, and no others; remove the blobs that none of them names. All others must be there.

    Returns how many blobs went. Raises RefusedError where the disk is full, or somebody cleans up for too long.
    """
    root = Path(directory)
    disk.require(root)
    with handles.refused():
        inside.remove(root, COPY_NEXT)
        with inside.opened(root, COPY_NEXT) as new, handles.data(root) as data:
            owner = (os.fstat(data).st_uid, os.fstat(data).st_gid)
            owner = owner if owner[0] else (REGISTRY, NGINX)
            os.close(putback.made(data, IN_DATA, owner))
            with trash.opened(directory, putback.WAIT), handles.store(data) as top:
                os.close(putback.made(new, REFERENCES, owner))
                for path, digest, when in links:
                    _link(top, new, path, digest, when, owner)
                # A directory that is renamed is not waited for.
                os.sync()
                _exchange(new, top)
                os.fsync(top)
                gone = _drop(top, {digest for _, digest, _ in links})
        inside.remove(root, COPY_NEXT)
    return gone


def _link(top: int, new: int, path: str, digest: str, when: float, owner: tuple[int, int]) -> None:  # noqa: PLR0913, PLR0917
    above, _, name = path.rpartition("/")
    if not putback.fits(path, digest):
        return
    target = putback.made(new, above, owner)
    try:
        with contextlib.suppress(OSError):
            content, found = handles.read(top, path.split("/"), walk.LINK_BYTES)
            if content == digest.encode() and abs(found.st_mtime - when) < MOMENT:
                os.link(path, name, src_dir_fd=top, dst_dir_fd=target, follow_symlinks=False)
                return
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640, dir_fd=target)
        os.write(file, digest.encode())
        os.utime(file, (when, when))
        putback.own(file, owner, 0o640)
    finally:
        os.close(target)


def _exchange(new: int, top: int) -> None:
    name = REFERENCES.encode()
    if handles.stat_of(top, REFERENCES) is None:
        os.rename(REFERENCES, REFERENCES, src_dir_fd=new, dst_dir_fd=top)
        return
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        if renameat2(new, name, top, name, EXCHANGE) == 0:
            return
        if ctypes.get_errno() not in UNKNOWN:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), REFERENCES)
    # For a moment there is neither; killed in it, the next run puts the new ones there.
    os.rename(REFERENCES, "old", src_dir_fd=top, dst_dir_fd=new)
    os.rename(REFERENCES, REFERENCES, src_dir_fd=new, dst_dir_fd=top)


def _drop(top: int, wanted: set[str]) -> int:
    gone = 0
    store = walk.Store()
    if handles.stat_of(top, "blobs") is not None:
        walk.blobs(top, store)
    for digest in store.blobs:
        if digest in wanted:
            continue
        above, _, name = trash.blob(digest).rpartition("/")
        with contextlib.suppress(FileNotFoundError), handles.directory(top, above) as place:
            with handles.directory(place, name) as blob:
                os.unlink("data", dir_fd=blob)
            os.rmdir(name, dir_fd=place)
            gone += 1
    return gone
