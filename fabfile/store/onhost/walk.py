"""What is in a store of the registry, read from its files: the same in 2.8 and 3.x, and where both have written.

distribution, registry/storage/paths.go, has the layout. What is known of each file is its name and its time; only
tags and manifests are read. Nothing is changed, no lock is taken, and a registry may be writing: what was there
throughout is found; what comes or goes meanwhile is found or not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from sys import intern

from . import handles
from .manifests import DIGEST, LARGEST, Manifest, UnreadableError, parse

PARTS = ("_layers", "_manifests", "_uploads")
# Of a repository's name (distribution, reference): so its parts are no more than half of that.
DEEPEST = 128
LINK_BYTES = 200
# The registry keeps content by this digest, whatever the client named it by (distribution, blobwriter.go: Commit); the
# link of another digest says this one.
CANONICAL = "sha256:"
# Version 2.8 writes a link in place, so it is empty for a moment.
AGAIN = (0.0, 0.02, 0.2)


@dataclass
class Repository:
    """One repository. Times are seconds since 1970.

    parts: the directories that it has; tags: name -> digest ('' for one that cannot be read) and time; revisions:
    digest -> time of its link; unlinked: digest -> time at which it was deleted; layers: digest -> time; uploads: name
    -> time and bytes; remains: of tags that are gone, and time; broken: what cannot be read, in words; signatures:
    blobs beside manifests of schema 1, as version 2 had them; aliases: a layer's other digest -> that of its content;
    restored: tag -> when `images --undo` brought it back; changed: when something came into it or went.
    """

    name: str
    parts: tuple[str, ...] = ()
    tags: dict[str, tuple[str, float]] = field(default_factory=dict)
    revisions: dict[str, float] = field(default_factory=dict)
    unlinked: dict[str, float] = field(default_factory=dict)
    layers: dict[str, float] = field(default_factory=dict)
    uploads: dict[str, tuple[float, int]] = field(default_factory=dict)
    remains: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    signatures: set[str] = field(default_factory=set)
    aliases: dict[str, str] = field(default_factory=dict)
    restored: dict[str, float] = field(default_factory=dict)
    changed: float = 0.0


@dataclass
class Store:
    """All of it. blobs: digest -> time, bytes. odd: why we do not know all that is needed. whole: or time was up."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, tuple[float, int]] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    whole: bool = True


def repositories(top: int, only: str = "", end: float = float("inf")) -> Store:
    """The repositories below a handle of `docker/registry/v2`; only: of this one alone; end: as time.monotonic."""
    store = Store()
    with _optional(top, "repositories", "", store.odd) as root:
        for name, parts, odd in _found(root, only, end) if root >= 0 else ():
            store.odd += [f"{name}: {what}" for what in odd]
            if parts:
                with _optional(root, name, "", store.odd) as handle:
                    if handle >= 0:
                        store.repositories[name] = _read(handle, parts, Repository(name, tuple(parts)), store.odd)
    store.whole = time.monotonic() < end
    return store


def blobs(top: int, store: Store) -> None:
    """Add what is in `blobs`, without reading any of it."""
    with _optional(top, "blobs", "", store.odd) as root:
        for algorithm in _names(root, "blobs", store.odd):
            with _optional(root, algorithm, "blobs", store.odd) as hashes:
                for prefix in _names(hashes, f"blobs/{algorithm}", store.odd):
                    with _optional(hashes, prefix, f"blobs/{algorithm}", store.odd) as handle:
                        _blobs(handle, f"{algorithm}:", prefix, store)


def _blobs(handle: int, algorithm: str, prefix: str, store: Store) -> None:
    for name in _names(handle, f"blobs/{algorithm}{prefix}", store.odd):
        digest = algorithm + name
        if not DIGEST.match(digest) or not name.startswith(prefix):
            continue
        data = handles.stat_of(handle, f"{name}/data")
        found = handles.stat_of(handle, name)
        if found:
            store.blobs[intern(digest)] = (handles.stored(data, found), data.st_size if data else 0)


def _found(root: int, only: str, end: float) -> Iterator[tuple[str, list[str], list[str]]]:
    """Every name that has parts of a repository, with these, and with what is odd there. Names nest."""
    todo = [only]
    while todo and time.monotonic() < end:
        name = todo.pop()
        try:
            with handles.directory(root, name) as handle:
                below, odd = handles.names(handle)
        except OSError as error:
            # A link, or it went away; the latter is no loss.
            if error.errno != errno.ENOENT:
                yield name or "repositories", [], [str(error.strerror)]
            continue
        if name.count("/") > DEEPEST:
            yield name[:80], [], ["deeper than a name can be"]
            continue
        parts = [part for part in below if part in PARTS]
        if parts or odd:
            yield (
                name or "repositories",
                parts if name else [],
                [f"{each} is neither file nor directory" for each in odd],
            )
        if not only:
            todo += [f"{name}/{each}" if name else each for each in below if not each.startswith("_")]


def _read(handle: int, parts: list[str], repository: Repository, odd: list[str]) -> Repository:
    times = [handles.stat_of(handle, part) for part in parts]
    repository.changed = max(map(handles.written, times))
    where = repository.name
    if "_layers" in parts:
        for digest, below, name in _digests(handle, "_layers", where, odd):
            link = handles.stat_of(below, f"{name}/link")
            repository.layers[digest] = handles.written(link or handles.stat_of(below, name))
            if link and not digest.startswith(CANONICAL):
                _read_alias(below, name, digest, repository)
    if "_manifests" in parts:
        for digest, below, name in _digests(handle, "_manifests/revisions", where, odd):
            if link := handles.stat_of(below, f"{name}/link"):
                repository.revisions[digest] = handles.written(link)
            elif found := handles.stat_of(below, name):
                repository.unlinked[digest] = handles.written(found)
            if handles.stat_of(below, f"{name}/signatures"):
                with _optional(below, name, where, odd) as beside:
                    repository.signatures |= {each for each, _, _ in _digests(beside, "signatures", where, odd)}
        with _optional(handle, "_manifests/tags", where, odd) as tags:
            for name in _names(tags, f"{where}/_manifests/tags", odd):
                _read_tag(tags, name, repository)
    if "_uploads" in parts:
        with _optional(handle, "_uploads", where, odd) as uploads:
            for name in _names(uploads, f"{where}/_uploads", odd):
                repository.uploads[name] = upload(uploads, name)
    return repository


def _read_tag(tags: int, name: str, repository: Repository) -> None:
    try:
        repository.tags[name] = _read_link(tags, (name, "current", "link"))
    except FileNotFoundError:
        # A tag that is being made or removed, or of which only old entries are left: no client sees one.
        repository.remains[name] = handles.written(handles.stat_of(tags, name))
        return
    # A push has the link written last.
    if (found := handles.written(handles.stat_of(tags, name))) > repository.tags[name][1] + 1:
        repository.restored[name] = found
    if not repository.tags[name][0]:
        repository.broken.append(f"tag {name}: its link cannot be read")


def _read_alias(layers: int, name: str, digest: str, repository: Repository) -> None:
    with contextlib.suppress(FileNotFoundError):
        if target := _read_link(layers, (name, "link"))[0]:
            repository.aliases[digest] = target
        else:
            repository.broken.append(f"layer {digest}: its link cannot be read")


def _read_link(handle: int, parts: tuple[str, ...]) -> tuple[str, float]:
    """The digest in a link, and its time; '' and 0 for none that can be read. Raises FileNotFoundError."""
    for pause in AGAIN:
        if pause:
            time.sleep(pause)
        try:
            content, found = handles.read(handle, parts, LINK_BYTES)
        except FileNotFoundError:
            raise
        except OSError:
            break
        digest = content.decode("ascii", "replace").strip()
        if DIGEST.match(digest):
            return intern(digest), handles.written(found)
    return "", 0.0


def upload(uploads: int, name: str) -> tuple[float, int]:
    """When something was last written, and how much is there."""
    found, size = [handles.stat_of(uploads, name)], 0
    try:
        with handles.directory(uploads, name) as handle, os.scandir(handle) as entries:
            for entry in entries:
                each = entry.stat(follow_symlinks=False)
                found.append(each)
                size += each.st_size
    except OSError:
        pass
    return handles.newest(*found), size


def _digests(handle: int, part: str, where: str, odd: list[str]) -> Iterator[tuple[str, int, str]]:
    """Each digest that a part has a directory of: digest, a handle of what is above, and its name there."""
    with _optional(handle, part, where, odd) as root:
        for algorithm in _names(root, f"{where}/{part}", odd):
            with _optional(root, algorithm, f"{where}/{part}", odd) as below:
                for name in _names(below, f"{where}/{part}", odd):
                    digest = f"{algorithm}:{name}"
                    if DIGEST.match(digest):
                        yield intern(digest), below, name


def _names(handle: int, where: str, odd: list[str]) -> list[str]:
    if handle < 0:
        return []
    below, strange = handles.names(handle)
    odd += [f"{where}/{each} is neither file nor directory" for each in strange]
    return below


class _optional:
    """A directory below another one for as long as the block runs; -1 where there is none, or a link in its place."""

    def __init__(self, handle: int, name: str, where: str, odd: list[str]) -> None:
        self.opened = -1
        if handle < 0:
            return
        try:
            self.opened = handles.open_below(handle, name.split("/"))
        except FileNotFoundError:
            pass
        except OSError as error:
            odd.append(f"{where}/{name}: {error.strerror}")

    def __enter__(self) -> int:
        return self.opened

    def __exit__(self, *_: object) -> None:
        if self.opened >= 0:
            os.close(self.opened)


class Manifests:
    """The manifests of a store, each read once. To be closed."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._hashes: dict[str, int] = {}
        self._known: dict[str, Manifest | str] = {}

    def __enter__(self) -> Manifests:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        for handle in self._hashes.values():
            os.close(handle)

    def get(self, digest: str) -> Manifest:
        """The manifest of that digest. Raises UnreadableError; FileNotFoundError where it is not in the store."""
        found = self._known.get(digest)
        if found is None:
            try:
                found = self._known[digest] = parse(digest, self.content(digest, LARGEST))
            except UnreadableError as error:
                found = self._known[digest] = str(error)
        if isinstance(found, str):
            raise UnreadableError(found)
        return found

    def content(self, digest: str, limit: int) -> bytes:
        """The content of a blob. Raises FileNotFoundError, and UnreadableError for what is no file."""
        algorithm, _, name = digest.partition(":")
        prefix = f"{algorithm}/{name[:2]}"
        try:
            if prefix not in self._hashes:
                self._hashes[prefix] = handles.open_below(self._top, ("blobs", algorithm, name[:2]))
            return handles.read(self._hashes[prefix], (name, "data"), limit)[0]
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UnreadableError(error.strerror or str(error)) from None

    def size(self, digest: str) -> int:
        """The bytes of a blob; 0 for one that is not in the store."""
        algorithm, _, name = digest.partition(":")
        found = handles.stat_of(self._top, f"blobs/{algorithm}/{name[:2]}/{name}/data")
        return found.st_size if found else 0
