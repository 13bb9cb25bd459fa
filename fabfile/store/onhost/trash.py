"""What was removed, until it is purged: in `registry/data/.trash`, a directory a run, at the paths that it had.

Each removal is one rename on one file system, and so is the way back: there is no moment at which a kill loses
anything, and what is where tells all that there is to know. The registry does not look there, as it is beside its
`docker`. The directory is root's; whoever is the registry can take it away as a whole, as all the rest.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from ...layout import DATA, IN_DATA, KNOWN, STORE_LOCK, TRASH
from ...machine.onhost import store
from ...machine.onhost.atomic import HELD, RefusedError, locked
from ...machine.onhost.reserve import given
from . import handles, walk, where
from .far import Far
from .runs import NAME

# Of a rename: it went away, or a link is in the way; something is there already.
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
THERE = (errno.EEXIST, errno.ENOTEMPTY)


class Bin:
    """The store and its trash, as handles. owner: whose what is put back must be.

    far: of a bucket, whose tree this is: each move is made there first.
    """

    def __init__(self, data: int, top: int, trash: int, far: Far | None = None) -> None:
        self.top, self.trash, self.far = top, trash, far
        found = os.fstat(data)
        self.owner = (found.st_uid, found.st_gid)

    def refresh(self, *paths: str) -> None:
        """Before a look: of a bucket, have these paths be as they are there by now; without any, all of it."""
        if self.far:
            self.far.refresh(*paths)

    def rest(self) -> None:
        """Let others look while nothing is done here."""
        if self.far:
            self.far.rest()

    def runs(self) -> list[str]:
        """The runs that are not purged, the oldest first."""
        return sorted(name for name in handles.names(self.trash)[0] if name[:1].isdigit())

    def begin(self, kind: str, now: float) -> str:
        """Make a directory for a run; returns its name."""
        if self.far:
            self.far.require_alone()
        base = f"{time.strftime(NAME, time.gmtime(now))}.{int(now % 1 * 1000):03}Z-{kind}"
        for number in range(1, 1000):
            name = base if number == 1 else f"{base}-{number}"
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self.trash)
                os.utime(name, (now, now), dir_fd=self.trash)
                return name
        raise RefusedError(f"{base} is there a thousand times", "./fab -H … gc")

    def taken(self, run: str) -> float:
        """When something was last taken in that run."""
        return handles.written(handles.stat_of(self.trash, run))

    def take(self, run: str, path: str, now: float) -> bool:
        """Move what is at a path of the store into the trash. False where it went meanwhile, or lies behind a link.

        Raises RefusedError where that cannot be done at all.
        """
        if self.far and not self.far.take(run, path):
            return False
        above, _, name = path.rpartition("/")
        try:
            with handles.directory(self.top, above) as source, self._made(f"{run}/{above}") as target:
                os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
                os.utime(run, (now, now), dir_fd=self.trash)
        except OSError as error:
            if error.errno in GONE or error.errno in THERE:
                return bool(self.far)
            raise handles.unmoved(f"{path} cannot be moved into the trash", error) from None
        return True

    def touch(self, path: str, now: float) -> None:
        """Date what is at a path of the store anew."""
        if self.far:
            self.far.touch(path, now)
        above, _, name = path.rpartition("/")
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), handles.directory(self.top, above) as handle:
            os.utime(name, (now, now), dir_fd=handle, follow_symlinks=False)

    def clear(self, path: str) -> bool:
        """Remove a directory of the store that has nothing but directories in it. False where it has."""
        self.refresh(path)
        above, _, name = path.rpartition("/")
        with contextlib.suppress(OSError), handles.directory(self.top, above) as handle:
            _clear(handle, name, 4)
        return self.gone(path)

    def gone(self, path: str) -> bool:
        """Whether nothing is at that path of the store."""
        return handles.stat_of(self.top, path) is None

    def put_back(self, run: str, path: str) -> bool:
        """Move it where it was. False where something is there again, which is newer and stays, or it is not here.

        Raises RefusedError where it should be there and cannot: then nothing may be purged.
        """
        if self.far:
            return self.far.put_back(run, path)
        above, _, name = path.rpartition("/")
        try:
            with handles.directory(self.trash, f"{run}/{above}") as source, self._parents(above) as target:
                if stat.S_ISDIR(os.stat(name, dir_fd=source, follow_symlinks=False).st_mode):
                    # Onto one that is empty it is moved, onto any other one it is not (rename(2)).
                    os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
                else:
                    os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
                    os.unlink(name, dir_fd=source)
                os.fsync(target)
        except OSError as error:
            if error.errno in (errno.ENOENT, *THERE):
                return False
            raise handles.unmoved(f"{path} is needed and cannot be put back", error) from None
        return True

    def put_back_revision(self, run: str, name: str, digest: str) -> bool:
        """A manifest's link, and the signatures that version 2 had beside it. Its directory may have stayed."""
        path = revision(name, digest)
        done = self.put_back(run, f"{path}/link")
        self.put_back(run, f"{path}/signatures")
        return done

    def purge(self, run: str) -> str:
        """Remove a run for good. rm follows no link, and gets through whatever a container made.

        Returns '' once it is gone, else why it is not.
        """
        if self.far and self.far.purged(run):
            return ""
        for name, repository in self.read(run).repositories.items():
            for upload in repository.uploads:
                with contextlib.suppress(OSError):
                    self._empty(f"{run}/repositories/{name}/_uploads/{upload}")
        done = subprocess.run(
            ["rm", "-rf", "--one-file-system", "--", run],
            cwd=f"/proc/{os.getpid()}/fd/{self.trash}",
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if handles.stat_of(self.trash, run) is None:
            return ""
        return f"{DATA}/{TRASH}/{run} cannot be removed: {' '.join(done.stderr.split())[:200]}"

    def _empty(self, upload: str) -> None:
        """The registry keeps one open that broke off on a full disk: without this its room would stay taken."""
        with handles.directory(self.trash, upload) as handle:
            file = os.open("data", os.O_WRONLY | handles.FILE, dir_fd=handle)
            try:
                found = os.fstat(file)
                # One that has another name too may be a layer by now.
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                    os.ftruncate(file, 0)
            finally:
                os.close(file)

    def read(self, run: str) -> walk.Store:
        """What is in a run."""
        with handles.directory(self.trash, run) as top:
            found = walk.repositories(top)
            walk.blobs(top, found)
            return found

    def size(self, run: str) -> int:
        """The bytes of layers, manifests and uploads in a run."""
        found = self.read(run)
        uploads = (size for each in found.repositories.values() for _, size in each.uploads.values())
        return sum(size for _, size in found.blobs.values()) + sum(uploads)

    @contextlib.contextmanager
    def _made(self, name: str) -> Iterator[int]:
        """A directory in the trash, and all above it."""
        below = os.dup(self.trash)
        try:
            for part in name.split("/"):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=below)
                above, below = below, os.open(part, handles.DIRECTORY, dir_fd=below)
                os.close(above)
            yield below
        finally:
            os.close(below)

    @contextlib.contextmanager
    def _parents(self, name: str) -> Iterator[int]:
        """A directory in the store; what is missing of it is made as the registry makes it."""
        below = os.dup(self.top)
        try:
            for part in name.split("/"):
                made = False
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=below)
                    made = True
                above, below = below, os.open(part, handles.DIRECTORY, dir_fd=below)
                os.close(above)
                if made and os.geteuid() == 0:
                    with contextlib.suppress(PermissionError):
                        os.fchown(below, *self.owner)
            yield below
        finally:
            os.close(below)


@contextlib.contextmanager
def opened(directory: str, seconds: float = 0) -> Iterator[Bin | None]:
    """The store of a deployed registry and its trash, while nobody else cleans it. None: nothing was ever pushed.

    seconds: how long to wait for another one who does. Raises RefusedError then, and where the store's disk is away.
    """
    with handles.refused():
        yield from _opened(directory, seconds)


def _opened(directory: str, seconds: float) -> Iterator[Bin | None]:
    root = Path(directory)
    bucket = where.bucket(root)
    data = root / (KNOWN if bucket else DATA)
    store.require(root)
    if not bucket and not (data / IN_DATA).is_dir():
        yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(root / STORE_LOCK, seconds))
        except RefusedError:
            raise RefusedError(
                "the store is being cleaned up, or something is removed from it, by another command",
                "wait for it to end, then run this again",
                reason=HELD,
            ) from None
        # Of a full disk, too, something can be moved: that takes a directory here and there.
        stack.enter_context(given(root))
        far = stack.enter_context(Far(root, bucket)) if bucket else None
        if far:
            far.refresh()
            if not (data / IN_DATA).is_dir():
                yield None
                return
        base = stack.enter_context(handles.top(str(data)))
        top = stack.enter_context(handles.store(base))
        with contextlib.suppress(FileExistsError):
            os.mkdir(TRASH, 0o700, dir_fd=base)
        trash = stack.enter_context(handles.directory(base, TRASH))
        # A disk that takes no owner is as it is.
        with contextlib.suppress(PermissionError):
            if os.geteuid() == 0:
                os.fchown(trash, 0, 0)
            os.fchmod(trash, 0o700)
        yield Bin(base, top, trash, far)


def _clear(handle: int, name: str, deep: int) -> None:
    """Only what is empty goes (rmdir(2)), so nothing that comes in the meantime can be lost."""
    with handles.directory(handle, name) as below:
        for each in handles.names(below)[0] if deep else ():
            with contextlib.suppress(OSError):
                _clear(below, each, deep - 1)
    os.rmdir(name, dir_fd=handle)


def blob(digest: str) -> str:
    """The path of a blob's directory."""
    algorithm, _, name = digest.partition(":")
    return f"blobs/{algorithm}/{name[:2]}/{name}"


def layer(repository: str, digest: str) -> str:
    """The path of the directory that says that a repository has a layer."""
    return f"repositories/{repository}/_layers/{digest.replace(':', '/')}"


def revision(repository: str, digest: str) -> str:
    """The path of the directory that says that a repository has a manifest."""
    return f"repositories/{repository}/_manifests/revisions/{digest.replace(':', '/')}"


def tag(repository: str, name: str) -> str:
    """The path of a tag's directory."""
    return f"repositories/{repository}/_manifests/tags/{name}"
