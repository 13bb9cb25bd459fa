"""What came from a copy goes into the store: verified first, then in the order in which the registry itself writes.

Blobs wait in `.copy/in`, on the same disk, so each goes to its place by one rename, once its digest is right. Then come
the links of layers, of manifests, and the tags. Nothing that is there is replaced, but a blob that has rotted. Killed
anywhere, what is there is whole, and the next run goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TypedDict

from ...layout import ACCOUNTS, COPY_IN, IN_DATA, RESTORING, STORE
from ...machine.onhost import store as disk
from ...machine.onhost.atomic import RefusedError, replace
from ...machine.onhost.owner import NGINX, REGISTRY
from ...store.onhost import handles, trash, walk, where
from ...store.onhost.manifests import DIGEST
from . import beside, inside, needed

# Who cleans up, or removes something, is done by then.
WAIT = 600.0
ORDER = ("/_layers/", "/_manifests/revisions/", "/_manifests/tags/")
# A path of a link below the store, what it says, and its time.
Link = tuple[str, str, float]


class There(TypedDict):
    """What is on the host. begun: the snapshot that an earlier run began to bring, '' for none."""

    repositories: int
    accounts: bool
    begun: str


class Put(TypedDict):
    """What was done. blobs, tags: how many came. bad: digests whose content is another one. kept: tags that were there
    and lead to something else.
    """

    blobs: int
    tags: int
    bad: list[str]
    kept: list[str]


def there(directory: str) -> There:
    """See There. Changes nothing."""
    root = Path(directory)
    disk.require(root)
    count = 0
    with (
        handles.refused(),
        contextlib.suppress(FileNotFoundError),
        handles.data(root) as data,
        handles.store(data) as top,
    ):
        count = len(walk.repositories(top).repositories)
    begun = ""
    with contextlib.suppress(OSError):
        begun = (root / RESTORING).read_text("utf-8", "replace").strip()
    return {"repositories": count, "accounts": (root / ACCOUNTS).is_file(), "begun": begun}


def begin(directory: str, name: str) -> None:
    """Write down that a whole one is being brought, so that a run that is cut off can be gone on with."""
    replace(Path(directory, RESTORING), f"{name}\n".encode(), 0o600)


def end(directory: str) -> None:
    """Forget it."""
    Path(directory, RESTORING).unlink(missing_ok=True)


def lacking(directory: str, digests: list[str], *, read: bool) -> list[str]:
    """Which of these blobs the store has not; read: or has with another content.

    Makes the place where they come, with what an earlier run brought.
    """
    root = Path(directory)
    _require_disk(root)
    with handles.refused(), inside.opened(root, COPY_IN), handles.data(root) as data:
        try:
            with handles.store(data) as top:
                return [digest for digest in digests if not _there(top, digest, read=read)]
        except FileNotFoundError:
            return digests


def _require_disk(root: Path) -> None:
    disk.require(root)
    if where.place(root):
        raise RefusedError(
            "nothing was changed: the images of this server are in a bucket; a copy is brought back to a disk alone",
            "./fab -H … move-to disk, then this again, then ./fab -H … move-to s3",
        )


def _there(top: int, digest: str, *, read: bool) -> bool:
    found = handles.stat_of(top, f"{trash.blob(digest)}/data")
    if found is None or not stat.S_ISREG(found.st_mode):
        return False
    return not read or _right(top, f"{trash.blob(digest)}/data", digest)


def _right(handle: int, path: str, digest: str) -> bool:
    """Whether a file has that digest. False for what is no file."""
    above, _, name = path.rpartition("/")
    try:
        with handles.directory(handle, above) as place:
            file = os.open(name, handles.FILE, dir_fd=place)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    with os.fdopen(file, "rb") as content:
        return stat.S_ISREG(os.fstat(file).st_mode) and needed.right(content, digest)


def put(directory: str, links: list[Link], digests: list[str], *, whole: bool, keep: bool = False) -> Put:
    """Put what came in its place. digests: blobs that were sent; whole: accounts and certificates, too; keep: what else
    came stays, for a later call.

    A link to something whose content is not in the store is left out. Raises RefusedError where the disk is full, or
    somebody cleans up for too long.
    """
    root = Path(directory)
    _require_disk(root)
    with handles.refused():
        with inside.opened(root, COPY_IN) as come, handles.data(root) as data:
            bad = [digest for digest in digests if not _right(come, f"{STORE}/{trash.blob(digest)}/data", digest)]
            owner = whose(data)
            os.close(made(data, IN_DATA, owner))
            with trash.opened(directory, WAIT), handles.store(data) as top:
                place = _Place(come, top, owner)
                for digest in digests:
                    if digest not in bad:
                        place.blob(digest)
                for kind in ORDER:
                    for link in links:
                        if kind in link[0]:
                            place.link(link)
            if whole:
                beside.bring(root, come)
        if not keep:
            inside.remove(root, COPY_IN)
    return {"blobs": len(digests) - len(bad), "tags": place.tags, "bad": bad, "kept": place.kept}


class _Place:
    """Handles of what came and of the store; owner: whose all in it must be."""

    def __init__(self, come: int, top: int, owner: tuple[int, int]) -> None:
        self.come, self.top, self.owner = come, top, owner
        self.tags = 0
        self.kept: list[str] = []

    def blob(self, digest: str) -> None:
        path = trash.blob(digest)
        with handles.directory(self.come, f"{STORE}/{path}") as source:
            own(os.open("data", handles.FILE, dir_fd=source), self.owner, 0o640)
            target = made(self.top, path, self.owner)
            try:
                os.rename("data", "data", src_dir_fd=source, dst_dir_fd=target)
                os.fsync(target)
            finally:
                os.close(target)

    def link(self, link: Link) -> None:
        path, digest, when = link
        above, _, name = path.rpartition("/")
        if not fits(path, digest) or not _there(self.top, digest, read=False):
            return
        if handles.stat_of(self.top, path) is not None:
            self._was_there(above, digest)
            return
        draft = ".link"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=self.come)
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640, dir_fd=self.come)
        os.write(file, digest.encode())
        os.utime(file, (when, when))
        own(file, self.owner, 0o640)
        target = made(self.top, above, self.owner)
        try:
            # Whatever came there meanwhile is newer, and stays.
            os.link(draft, name, src_dir_fd=self.come, dst_dir_fd=target)
            self.tags += path.endswith("/current/link")
        except FileExistsError:
            self._was_there(above, digest)
        finally:
            os.close(target)

    def _was_there(self, above: str, digest: str) -> None:
        """Say so of a tag that leads elsewhere."""
        if above.endswith("/current"):
            with contextlib.suppress(OSError):
                content, _ = handles.read(self.top, [*above.split("/"), "link"], walk.LINK_BYTES)
                if (now := content.decode("ascii", "replace").strip()) != digest:
                    name, _, tag = above.removeprefix("repositories/").removesuffix("/current").partition(ORDER[2])
                    self.kept.append(f"{name}:{tag} is {now[:100]}")


def fits(path: str, digest: str) -> bool:
    """Whether it is the path of a link, and that what a link says. The copy may be anybody's."""
    parts = path.split("/")
    plain = not {"", ".", ".."} & set(parts) and parts[0] == "repositories" and any(kind in path for kind in ORDER)
    return bool(plain and DIGEST.match(digest))


def whose(data: int) -> tuple[int, int]:
    """Whose the store is, or will be. data: a handle of `registry/data`."""
    found = os.fstat(data)
    return (found.st_uid, found.st_gid) if found.st_uid else (REGISTRY, NGINX)


def made(handle: int, path: str, owner: tuple[int, int]) -> int:
    """A handle of a directory below another one; what is missing of it is made, for that owner."""
    below = os.dup(handle)
    for part in path.split("/"):
        made = False
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, 0o750, dir_fd=below)
            made = True
        try:
            deeper = os.open(part, handles.DIRECTORY, dir_fd=below)
        finally:
            os.close(below)
        below = deeper
        if made:
            own(os.dup(below), owner, 0o750)
    return below


def own(handle: int, owner: tuple[int, int], mode: int) -> None:
    """Let it be theirs; closes the handle. A disk that takes no owner is as it is."""
    try:
        with contextlib.suppress(PermissionError):
            if os.geteuid() == 0:
                os.fchown(handle, *owner)
            os.fchmod(handle, mode)
    finally:
        os.close(handle)
