"""A consistent copy of a running registry, beside its images, in seconds: references first, blobs second.

The registry writes a blob, then the link of the layer, then the manifest and its link, then the tag (distribution,
registry/storage). It is read the other way round, so whatever a reference needs was written before. Nothing is taken
away meanwhile: `gc` and its like wait for the store's lock. Blobs are immutable, so each is a hard link; what is
copied is small. Once that is done nobody has to wait: it can be sent for hours.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from ...layout import COPY, COPY_IN, COPY_LOCK, COPY_OUT, DATA, RECORD, STORE
from ...machine.onhost import store as disk
from ...machine.onhost.atomic import RefusedError, locked
from ...store.onhost import handles, marks, trash, walk, where
from . import beside, inside, needed, remote

# Who cleans up, or removes something, is done by then.
WAIT = 600.0
# How long what came in stays for a run that goes on with it.
KEPT_SECONDS = 7 * 86400
NAME = "%Y%m%dT%H%M%SZ"
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)


class Staged(TypedDict):
    """A copy that waits to be fetched.

    name: of its time; when: in seconds since 1970. version: of the tool that deployed the server. bytes: of all blobs.
    references: a digest of all links, path and content. dropped: what is not in it, and why. missing: blobs that are
    not in the store -> the images that need them. left: blobs of a bucket for which there was no room; what is here is
    fetched first, and the next copy has more of them.
    """

    name: str
    when: float
    version: str
    repositories: int
    tags: int
    blobs: int
    bytes: int
    references: str
    dropped: list[str]
    missing: dict[str, list[str]]
    left: int


def stage(directory: str, wait: float = WAIT, place: str = COPY_OUT, have: Mapping[str, int] | None = None) -> Staged:
    """Make the copy, in the place of one that an earlier run left. Nobody is refused; `gc` waits for some seconds.

    wait: seconds for another one who is cleaning up; place: the directory below `.copy`. have: of a bucket, the blobs
    that whoever fetches it has already, and the time of their files in ns: these come as files without content. Without
    it images in a bucket are refused: nothing need be copied where only the server changes. Raises RefusedError where
    that one goes on, where the disk of the images is away, full, or knows no hard links, or where not all of the store
    can be read.
    """
    root = Path(directory)
    disk.require(root)
    bucket = where.bucket(root)
    if bucket and have is None:
        raise RefusedError(
            "the images are in a bucket, not on this server: they need not be copied to another one",
            "bootstrap the other server with the same settings; or ./fab -H … move-to disk first",
        )
    with handles.refused():
        inside.remove(root, place)
        try:
            with (
                handles.top(directory) as whole,
                trash.opened(directory, wait) as bin_,
                inside.opened(root, place) as out,
            ):
                far = remote.Remote(bucket, root, have or {}) if bucket else None
                return _Stage(whole, bin_, out, far).made()
        except BaseException:
            with contextlib.suppress(OSError, RefusedError):
                inside.remove(root, place)
            raise


def drop(directory: str, place: str = COPY_OUT) -> None:
    """Remove the copy."""
    with handles.refused():
        inside.remove(Path(directory), place)


def forget(directory: str) -> None:
    """Remove a copy that a run left which was killed: what it links could not be freed. Not while one is sent."""
    root = Path(directory)
    if not (root / DATA / COPY).is_dir():
        return
    with contextlib.suppress(RefusedError), locked(Path(COPY_LOCK), 0), handles.refused():
        inside.remove(root, COPY_OUT)
        with inside.opened(root, COPY_IN) as handle:
            old = time.time() - os.fstat(handle).st_mtime > KEPT_SECONDS
        # With it a restore that was cut off goes on.
        if old:
            inside.remove(root, COPY_IN)


class _Stage:
    """One run. Handles, of DEPLOY_DIR, and of where the copy comes; bin_: None for no store; far: of a bucket."""

    def __init__(self, root: int, bin_: trash.Bin | None, out: int, far: remote.Remote | None) -> None:
        self.root, self.bin, self.out, self.far = root, bin_, inside.path(out), far
        self.top = bin_.top if bin_ else -1
        self.now = time.time()
        self.dropped: list[str] = []
        self.missing: dict[str, list[str]] = {}
        self.lines: list[str] = []
        self.made_there: set[Path] = set()
        self.bytes = self.tags = 0

    def made(self) -> Staged:
        # Accounts and certificates have nothing to do with the order of the rest.
        for name in beside.KEPT:
            self.dropped += beside.keep(self.root, name, self._write, self.out)
        blobs: set[str] = set()
        store = walk.Store()
        if self.top >= 0:
            store = walk.repositories(self.top)
            handles.require_known(store.odd, "nothing was copied, as ")
            with walk.Manifests(self.top) as manifests:
                found = marks.marked(store, manifests, set(), self.now)
                for repository in store.repositories.values():
                    blobs |= self._repository(repository, found, manifests)
        left = 0
        if self.far and self.bin:
            # Others may look meanwhile; nobody removes anything.
            self.bin.rest()
            found_there = self.far.bring(sorted(blobs), self.out)
            self.bytes, left = found_there.bytes, found_there.left
            self.missing |= {digest: [] for digest in found_there.missing}
        for digest in sorted(blobs) if not self.far else ():
            self._blob(digest)
        self._name_missing(store)
        version = ""
        with contextlib.suppress(OSError):
            version = (self.out / RECORD).read_text("utf-8", "replace").partition("\n")[0]
        return {
            "name": time.strftime(NAME, time.gmtime(self.now)), "when": self.now, "version": version,
            "repositories": len(store.repositories), "tags": self.tags,
            "blobs": len(blobs) - len(self.missing), "bytes": self.bytes,
            "references": needed.digest_of(self.lines), "dropped": self.dropped, "missing": self.missing,
            "left": left,
        }  # fmt: skip

    def _repository(self, repository: walk.Repository, found: marks.Marks, manifests: walk.Manifests) -> set[str]:
        """The links of a repository, as they are now; the blobs that these need."""
        name = repository.name
        wanted: set[str] = set()
        for digest in {*repository.revisions, *(each for each, _ in repository.tags.values() if each)}:
            if handles.stat_of(self.top, f"{trash.revision(name, digest)}/link") is not None:
                # It may be younger than what was marked.
                marks.needs(digest, manifests, wanted)
        kept: dict[str, float] = {}
        # With what an index has in it, which may be younger than the list of revisions.
        for digest in sorted(wanted | repository.revisions.keys()):
            place = f"{trash.revision(name, digest)}/link"
            if (link := handles.stat_of(self.top, place)) is not None:
                kept[digest] = link.st_mtime
                self._link(place, digest, link.st_mtime)
        linked: set[str] = set()
        for digest in sorted(wanted | found.layers.get(name, set())):
            link = handles.stat_of(self.top, f"{trash.layer(name, digest)}/link")
            if link is not None:
                linked.add(digest)
                # A layer's other digest leads to that of its content.
                self._link(f"{trash.layer(name, digest)}/link", repository.aliases.get(digest, digest), link.st_mtime)
        for digest in repository.signatures:
            self._signature(name, digest, kept)
        for tag, (digest, when) in repository.tags.items():
            # Version 2.1 of the registry had manifests among the layers.
            self._tag(name, tag, digest, when, kept.keys() | linked)
        if name in found.left:
            self.dropped += [f"{name}: {why}; copied as it is" for why in found.left[name]]
        return {*kept, *(repository.aliases.get(each, each) for each in linked), *repository.signatures}

    def _tag(self, name: str, tag: str, digest: str, when: float, known: set[str]) -> None:
        place = trash.tag(name, tag)
        if not digest or digest not in known:
            why = f"{digest} was deleted meanwhile" if digest else "its link cannot be read"
            self.dropped.append(f"{name}:{tag}: {why}")
            return
        self.tags += 1
        self._link(f"{place}/index/{digest.replace(':', '/')}/link", digest, when)
        self._link(f"{place}/current/link", digest, when)

    def _signature(self, name: str, digest: str, kept: dict[str, float]) -> None:
        """Of schema 1: beside the manifests' links."""
        for revision in kept:
            path = f"{trash.revision(name, revision)}/signatures/{digest.replace(':', '/')}/link"
            if (link := handles.stat_of(self.top, path)) is not None:
                self._link(path, digest, link.st_mtime)

    def _link(self, path: str, digest: str, when: float) -> None:
        self._write(f"{STORE}/{path}", digest.encode(), 0o600, when)
        self.lines.append(f"{path} {digest}")

    def _write(self, name: str, content: bytes, mode: int, when: float) -> None:
        target = self.out / name
        self._above(target)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            os.write(handle, content)
            os.utime(handle, (when, when))
        finally:
            os.close(handle)

    def _above(self, target: Path) -> None:
        if target.parent not in self.made_there:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.made_there.add(target.parent)

    def _blob(self, digest: str) -> None:
        path = trash.blob(digest)
        try:
            with handles.directory(self.top, path) as source:
                found = os.stat("data", dir_fd=source, follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode):
                    self.missing[digest] = []
                    return
                target = self.out / STORE / path / "data"
                self._above(target)
                os.link("data", target, src_dir_fd=source, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            self.missing[digest] = []
            return
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise RefusedError(
                    f"nothing was copied: {DATA} is not all on one disk", f"mount the disk at {DATA} as a whole"
                ) from None
            if error.errno in NO_LINKS:
                raise RefusedError(
                    f"nothing was copied: the disk of {DATA} knows no hard links ({error.strerror})",
                    "a file system of Linux's own has them (ext4, XFS); on NFS root must be root",
                ) from None
            raise
        self.bytes += found.st_size

    def _name_missing(self, store: walk.Store) -> None:
        """Whose images need what is not there. A layer that lies elsewhere, as Windows has them, has no link here."""
        if not self.missing:
            return
        with walk.Manifests(self.top) as manifests:
            for digest, image in needed.images(store, manifests, set(self.missing)):
                self.missing[digest].append(image)
