"""Bring a snapshot, or some of its images, back to a host."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import StepError, UsageError
from ..layout import COPY_IN, STORE
from ..machine.host import Host
from ..settings import Settings
from ..store.onhost import handles, marks, trash, walk
from ..store.onhost.manifests import DIGEST
from ..text import counted
from . import checked, rsync
from .onhost import beside, putback
from .onhost.beside import stays_below
from .place import Snapshot

Link = putback.Link


@dataclass
class Chosen:
    """What shall come. absent: digests that the snapshot itself has not."""

    links: list[Link] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


@dataclass
class Brought:
    """What came. mended: blobs that had rotted on the host, or were missing there, of what was asked for."""

    blobs: int
    tags: int
    sent: int
    absent: list[str]
    bad: list[str]
    kept: list[str]


def chosen(path: Path, only: Sequence[str] = ()) -> Chosen:
    """All of a snapshot, or the repositories and tags that are named, with all that they need.

    Raises UsageError for a name that is not in it, StepError for a link or a device in it where a file must be.
    """
    every = checked.references(path)
    if only:
        every = _only(path, only, every)
    found = Chosen([(name, digest, (path / STORE / name).lstat().st_mtime) for name, digest in every])
    there = {digest for digest, _, _ in checked.blobs(path)}
    wanted = {digest for _, digest in every if DIGEST.match(digest)}
    found.digests, found.absent = sorted(wanted & there), sorted(wanted - there)
    return found


def _only(path: Path, only: Sequence[str], every: list[tuple[str, str]]) -> list[tuple[str, str]]:
    wanted: set[str] = set()
    with handles.top(str(path / STORE)) as top, walk.Manifests(top) as manifests:
        store = walk.repositories(top)
        for text in only:
            name, _, tag = text.partition(":")
            repository = store.repositories.get(name)
            if repository is None or (tag and tag not in repository.tags):
                near = ", ".join(sorted(repository.tags)[:10] if repository else sorted(store.repositories)[:10])
                raise UsageError(f"--only {text}: that is not in {path}", f"there is: {near or 'nothing'}")
            if not tag:
                wanted |= {each for each, _ in every if each.startswith(_prefixes(name))}
                continue
            needed: set[str] = set()
            marks.needs(repository.tags[tag][0], manifests, needed)
            needed |= {repository.aliases[each] for each in needed & repository.aliases.keys()}
            places = [f"{trash.tag(name, tag)}/"]
            places += [f"{trash.layer(name, each)}/" for each in needed]
            places += [f"{trash.revision(name, each)}/" for each in needed]
            wanted |= {each for each, _ in every if each.startswith(tuple(places))}
    return [each for each in every if each[0] in wanted]


def _prefixes(name: str) -> tuple[str, ...]:
    """Of this repository, and of none whose name goes on."""
    return tuple(f"repositories/{name}/{part}/" for part in walk.PARTS)


def bring(host: Host, settings: Settings, path: Path, only: Sequence[str] = (), *, whole: bool = False) -> Brought:
    """Bring it: only blobs that the host lacks are sent, each is verified there before anybody sees it.

    only: REPOSITORY or REPOSITORY:TAG; what has rotted of these on the host is replaced. whole: accounts and
    certificates, too. Nothing else that is there is replaced. Only for whoever is `alone`.
    """
    found = chosen(path, only)
    beside = list(_files_beside(path)) if whole else []
    lacking = host.call(putback.lacking, settings.deploy_dir, found.digests, read=bool(only))
    files = [*beside, *(f"{STORE}/{trash.blob(digest)}/data" for digest in lacking)]
    sent = rsync.send(host, settings, COPY_IN, path, files) if files else 0
    done = host.call(putback.put, settings.deploy_dir, found.links, lacking, whole=whole)
    return Brought(done["blobs"], done["tags"], sent, found.absent, done["bad"], done["kept"])


def _files_beside(path: Path) -> list[str]:
    """The files beside the images. Raises StepError for a link that leads out."""
    found = []
    for name in beside.BROUGHT:
        top = path / name
        every = [top] if top.is_file() else sorted(top.rglob("*"))
        for each in every:
            kind = each.lstat().st_mode
            safe = stat.S_ISLNK(kind) and stays_below(str(each.relative_to(top)), str(each.readlink()))
            if safe or stat.S_ISREG(kind):
                found.append(str(each.relative_to(path)))
            elif not stat.S_ISDIR(kind):
                raise checked.odd(each)
    return found


def images_of(path: Path, digests: Sequence[str]) -> dict[str, list[str]]:
    """Which images of a snapshot need these."""
    found: dict[str, list[str]] = {digest: [] for digest in digests}
    if digests:
        checked.name_images(path, found)
    return found


def require(there: putback.There, snapshot: Snapshot, settings: Settings) -> None:
    """Raise StepError where a whole one must not come: over something, or of another registry."""
    if snapshot["domain"] not in settings.names:
        raise StepError(
            f"the copy is of {snapshot['domain']}, and the settings are for {settings.registry_domain}",
            f"REGISTRY_DOMAIN={snapshot['domain']} in .env; or bootstrap, then restore --merge, which brings images",
        )
    if there["begun"] == snapshot["name"]:
        return
    if there["repositories"] or there["accounts"]:
        what = counted(there["repositories"], "repository") if there["repositories"] else "accounts"
        raise StepError(
            f"the server is not empty: it has {what}; nothing was changed",
            "restore --merge adds what it has not, and replaces nothing; restore --only NAME brings one repository",
        )
