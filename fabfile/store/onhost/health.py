"""Whether each image of the store is whole: links, manifests, layers, owners. For `doctor`; changes nothing.

Layers are not read, so this takes as long as `images` does; what reads them is in copies/onhost/rot.py.
"""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import TypedDict

from ...layout import DATA, IN_DATA
from ...machine.onhost import disk
from ...machine.onhost import store as place
from ...machine.onhost.atomic import RefusedError
from ...machine.onhost.owner import NGINX, REGISTRY
from . import handles, marks, trash, walk, where
from .eaters import Eaters, eaters
from .manifests import LARGEST, Manifest, UnreadableError, parse
from .platforms import Misfit, misfits

# `doctor` takes no longer than a person waits.
SECONDS = 3.0
GB, LITTLE = 1e9, 0.1
# Of each kind, so many are named.
MOST = 20
# Whose layers nobody has to have (image-spec, layer.md: non-distributable).
FOREIGN = ("foreign", "nondistributable")


class Lost(TypedDict):
    """Something that images need. what: `missing`, or how it is. images: REPOSITORY:TAG, or by digest."""

    digest: str
    what: str
    images: list[str]


class Health(TypedDict):
    """What is known. problem: why nothing is, or ''. whole: whether there was time for all.

    torn: links and manifests that cannot be read, in words. lost: layers and configurations; children: parts of an
    index. owners: what the registry may not use, in words. emptied: repositories without an image for a day. odd: what
    is no file and no directory. links: how many files are links. space: of the images' disk. eaters: what takes it
    up, where it is nearly full. misfits: who pulled what does not run there. place:
    of all of it.
    """

    problem: str
    whole: bool
    torn: list[str]
    lost: list[Lost]
    children: list[Lost]
    owners: list[str]
    emptied: list[str]
    odd: list[str]
    links: int
    space: disk.Space
    eaters: Eaters | None
    misfits: list[Misfit]
    place: str


def health(directory: str, seconds: float = SECONDS) -> Health:
    """See Health. directory: DEPLOY_DIR; seconds: how long to look at most. Changes nothing."""
    root, end = Path(directory), time.monotonic() + seconds
    nothing: disk.Space = {"free": 0, "total": 0, "inodes": 0, "all_inodes": 0}
    found: Health = {
        "problem": "", "whole": True, "torn": [], "lost": [], "children": [], "owners": [], "emptied": [], "odd": [],
        "links": 0, "space": nothing, "eaters": None, "misfits": [],
        "place": f"{root}/{DATA}/{IN_DATA.partition('/')[0]}",
    }  # fmt: skip
    # That is a row of `status`, and a symptom of its own.
    if place.problem(root):
        return found
    try:
        with handles.data(root) as data:
            bucket = where.place(root) is not None
            found["space"] = disk.space(Path(f"/proc/self/fd/{data}"))
            if little(found["space"]):
                found["eaters"] = eaters(root)
            _use(found, ".", os.fstat(data), directory=True)
            with handles.store(data) as top, walk.Manifests(top) as manifests:
                _look(_Look(found, root, top, manifests, end))
            if bucket:
                # These files are ours alone, and the registry reads others.
                found["owners"] = []
    except FileNotFoundError:
        # Nothing was ever pushed.
        pass
    except (OSError, RefusedError) as error:
        found["problem"] = error.what if isinstance(error, RefusedError) else str(error)
    return found


def little(space: disk.Space) -> bool:
    """Whether a disk is nearly full, as `status` warns of it."""
    return space["free"] < max(GB, LITTLE * space["total"]) or bool(
        disk.few_inodes(space["inodes"], space["all_inodes"])
    )


class _Look:
    def __init__(self, found: Health, root: Path, top: int, manifests: walk.Manifests, end: float) -> None:
        self.found, self.root, self.top, self.manifests, self.end = found, root, top, manifests, end
        # Digest -> what is wrong with its content, '' for nothing.
        self.known: dict[str, str] = {}

    def content(self, digest: str, size: int) -> str:
        """What is wrong with a layer, as far as that is seen without reading it."""
        if digest not in self.known:
            stored = handles.stat_of(self.top, f"{trash.blob(digest)}/data")
            self.known[digest] = _wrong(stored, size)
            if stored:
                _use(self.found, f"{trash.blob(digest)}/data", stored, directory=False)
        return self.known[digest]

    def manifest(self, digest: str) -> Manifest:
        """Raises UnreadableError, FileNotFoundError."""
        try:
            return self.manifests.get(digest)
        except UnreadableError:
            # Version 2.8 writes it in place.
            time.sleep(walk.AGAIN[-1])
            return parse(digest, self.manifests.content(digest, LARGEST))


def _wrong(stored: os.stat_result | None, size: int) -> str:
    if stored is None or not stat.S_ISREG(stored.st_mode):
        return "missing"
    # A manifest of schema 1 does not say how large they are.
    return f"{stored.st_size} bytes instead of {size}" if size and stored.st_size != size else ""


def _look(look: _Look) -> None:
    store = walk.repositories(look.top, end=look.end)
    found = look.found
    found["odd"] = store.odd[:MOST]
    for path in ("", "repositories", "blobs"):
        if there := handles.stat_of(look.top, path or "."):
            _use(found, path or IN_DATA, there, directory=True)
    for name, repository in store.repositories.items():
        if time.monotonic() > look.end:
            store.whole = False
            break
        _owners(look, name, repository)
        _images(look, name, repository)
        found["links"] += len(repository.layers) + len(repository.revisions) + 2 * len(repository.tags)
        if _emptied(repository):
            found["emptied"].append(name)
    revisions = {digest for each in store.repositories.values() for digest in each.revisions}
    found["misfits"] = misfits(look.root, look.manifests, revisions)[:MOST]
    found["whole"] = store.whole
    found["torn"], found["owners"] = found["torn"][:MOST], found["owners"][:MOST]


def _emptied(repository: walk.Repository) -> bool:
    filled = repository.tags or repository.revisions or repository.uploads
    return not filled and repository.changed < time.time() - marks.GRACE


def _images(look: _Look, name: str, repository: walk.Repository) -> None:
    look.found["torn"] += [f"{name}: {what}" for what in repository.broken]
    tagged: dict[str, list[str]] = {}
    for tag, (digest, _) in repository.tags.items():
        tagged.setdefault(digest, []).append(f"{name}:{tag}")
    known: dict[str, Manifest] = {}
    for digest in {*repository.revisions, *tagged} - {""}:
        try:
            known[digest] = look.manifest(digest)
        except UnreadableError as error:
            look.found["torn"].append(f"{_named(name, digest, tagged)}: manifest {digest}: {error}")
        except FileNotFoundError:
            look.found["torn"].append(f"{_named(name, digest, tagged)}: manifest {digest} is missing")
    # What an index contains is known by the tags of the index.
    for digest, manifest in known.items():
        for child in manifest.children:
            tagged.setdefault(child.digest, []).extend(tagged.get(digest, ()))
    for digest, manifest in known.items():
        for child in manifest.children:
            if child.digest not in repository.revisions:
                platform = f", {child.platform}" if child.platform else ""
                _lose(look.found["children"], child.digest, f"missing{platform}", _named(name, digest, tagged))
        for blob, size in manifest.blobs:
            content = repository.aliases.get(blob, blob)
            if (what := look.content(content, size)) and not _foreign(look.manifests, digest, blob):
                _lose(look.found["lost"], blob, what, _named(name, digest, tagged))


def _named(name: str, digest: str, tagged: dict[str, list[str]]) -> str:
    return ", ".join(sorted(set(tagged.get(digest, ())))) or f"{name}@{digest}"


def _lose(lost: list[Lost], digest: str, what: str, image: str) -> None:
    for each in lost:
        if each["digest"] == digest:
            if image not in each["images"]:
                each["images"].append(image)
            return
    lost.append({"digest": digest, "what": what, "images": [image]})


def _foreign(manifests: walk.Manifests, digest: str, blob: str) -> bool:
    """Whether a layer of a manifest comes from elsewhere, as those of Windows do."""
    layers = json.loads(manifests.content(digest, LARGEST)).get("layers") or []
    mine = [each for each in layers if each.get("digest") == blob]
    return any(each.get("urls") or any(word in str(each.get("mediaType")) for word in FOREIGN) for each in mine)


def _owners(look: _Look, name: str, repository: walk.Repository) -> None:
    tags = [f"_manifests/tags/{tag}" for tag in list(repository.tags)[:MOST]]
    files = [f"{tag}/current/link" for tag in tags]
    names: list[tuple[list[str], bool]] = [(["", *repository.parts, "_manifests/tags", *tags], True), (files, False)]
    for paths, directory in names:
        for path in paths:
            if there := handles.stat_of(look.top, f"repositories/{name}/{path}"):
                _use(look.found, f"repositories/{name}/{path}", there, directory=directory)


def _use(found: Health, path: str, there: os.stat_result, *, directory: bool) -> None:
    """Note what the registry cannot write (a directory), or it and nginx not read (a file)."""
    needed = 7 if directory else 4
    shift = 6 if there.st_uid == REGISTRY else 3 if there.st_gid == NGINX else 0
    if (there.st_mode >> shift) & needed != needed and len(found["owners"]) < MOST:
        mode = stat.filemode(there.st_mode)
        found["owners"].append(f"{path.rstrip('/')}: {mode} of {there.st_uid}:{there.st_gid}")
