"""Remove a tag or an image, by renames: what goes can come back until it is purged."""

from __future__ import annotations

import time
from typing import TypedDict

from ...machine.onhost.atomic import RefusedError
from . import handles, runs, tags, trash, uses, walk
from .images import Graph, natural
from .manifests import DIGEST, UnreadableError, followed
from .settle import settle

# A push that slips in between is seen by then, and has what it needs again.
PAUSE = 1.0
WAIT = 30.0


class Look(TypedDict):
    """What a delete would do.

    pushed: time of the tag, 0 for a digest. tags: those that go. shared: other tags of the same image. indexes: those
    that contain it and stay. manifests: digests that go, itself first. frees: bytes.
    """

    digest: str
    pushed: float
    used: float
    tags: list[str]
    shared: list[str]
    indexes: list[str]
    manifests: list[str]
    frees: int


class Removed(Look):
    """What it did. run: its name in the trash. newer: tags that somebody pushed in between, and that stay."""

    run: str
    newer: list[str]


class Undone(TypedDict):
    """restored: names of tags and manifests. newer: tags that are there again, and stay as they are. incomplete: tags
    of which something is gone for good.
    """

    run: str
    restored: list[str]
    newer: list[str]
    incomplete: list[str]


def look(directory: str, name: str, reference: str, *, whole: bool) -> Look:
    """What a delete would do. Changes nothing.

    reference: a tag or a digest; whole: the image with all its tags, as a digest always is.
    Raises RefusedError where there is no such image.
    """
    with trash.opened(directory, WAIT) as bin_:
        if bin_ is None:
            raise RefusedError("there are no images", "./fab -H … images")
        with walk.Manifests(bin_.top) as manifests:
            return _looked(Graph(walk.repositories(bin_.top), manifests), directory, name, reference, whole=whole)


def _looked(graph: Graph, directory: str, name: str, reference: str, *, whole: bool) -> Look:
    repository = graph.store.repositories.get(name)
    by_digest = bool(DIGEST.match(reference))
    there = repository and (reference in repository.revisions if by_digest else reference in repository.tags)
    if repository is None or not there:
        handles.require_known(graph.store.odd)
        raise RefusedError(f"there is no {name}{'@' if by_digest else ':'}{reference}", f"./fab -H … images {name}")
    digest, pushed = (reference, 0.0) if by_digest else repository.tags[reference]
    if not digest:
        raise RefusedError(
            f"the tag {name}:{reference} cannot be read, so who knows what goes with it", "look at it there"
        )
    same = sorted((tag for tag, (each, _) in repository.tags.items() if each == digest), key=natural)
    going = same if whole or by_digest else [reference]
    shared = [tag for tag in same if tag not in going]
    indexes = graph.parents[name].get(digest, [])
    manifests: list[str] = []
    if not shared and not indexes:
        kept: set[str] = set()
        for head in graph.images(name):
            kept |= set() if head == digest else graph.closure(name, head).keys()
        for tag, (each, _) in repository.tags.items():
            if tag not in going and not followed(tag, each):
                kept |= graph.closure(name, each).keys() if each else set()
        manifests = [each for each in graph.closure(name, digest) if graph.knows(name, each) and each not in kept]
        going += [tag for tag, (each, _) in repository.tags.items() if each in manifests and tag not in going]
    closure = graph.closure(name, digest)
    used = uses.last(directory, time.time())
    return {
        "digest": digest,
        "pushed": pushed,
        "used": max((used.get((name, each), 0.0) for each in closure), default=0.0),
        "tags": going,
        "shared": shared,
        "indexes": indexes,
        "manifests": manifests,
        "frees": graph.frees(closure, graph.heads) if manifests else 0,
    }


def remove(directory: str, name: str, reference: str, *, whole: bool, digest: str) -> Removed:
    """Do it, where it is still what `look` found. digest: of then.

    Raises RefusedError where an index contains what is to go as a whole, or another image has the tag now.
    """
    with trash.opened(directory, WAIT) as bin_:
        if bin_ is None:
            raise RefusedError("there are no images", "./fab -H … images")
        with walk.Manifests(bin_.top) as manifests:
            store = walk.repositories(bin_.top)
            found = _looked(Graph(store, manifests), directory, name, reference, whole=whole)
        if found["digest"] != digest:
            raise RefusedError(f"{name}:{reference} was pushed again just now, and nothing was removed", "look again")
        if found["indexes"] and not found["tags"]:
            raise RefusedError(
                f"{name}@{digest} is a part of {found['indexes'][0]}, and nothing was removed",
                "delete that one: what it contains goes with it",
            )
        run = bin_.begin("delete", time.time())
        seen = store.repositories[name].tags
        newer = [tag for tag in found["tags"] if not tags.take(bin_, run, (name, tag), seen[tag], time.time())]
        if not newer:
            for each in found["manifests"]:
                _take_link(bin_, run, name, each, store.repositories[name].revisions[each])
        bin_.rest()
        time.sleep(PAUSE)
        settle(bin_)
        return {**found, "run": run, "newer": newer}


def _take_link(bin_: trash.Bin, run: str, name: str, digest: str, seen: float) -> None:
    """A manifest's link alone: its directory tells `gc` when that was, and whoever pulls it goes on."""
    path = f"{trash.revision(name, digest)}/link"
    if bin_.take(run, path, time.time()) and handles.written(handles.stat_of(bin_.trash, f"{run}/{path}")) != seen:
        bin_.put_back(run, path)


def undo(directory: str, wanted: str = "") -> Undone:
    """Bring the last removal back, or the one of that name. What comes back counts as new for the rules.

    Without a name it is the last one that somebody, or a rule, meant: what gc took only where there is none.
    Raises RefusedError where there is none.
    """
    with trash.opened(directory, WAIT) as bin_:
        there = bin_.runs() if bin_ else []
        chosen = ""
        for run in sorted(there, key=lambda each: (runs.kind(each) == "gc", -there.index(each))):
            found = bin_.read(run) if bin_ else walk.Store()
            if (wanted in ("", run)) and any(each.tags or each.revisions for each in found.repositories.values()):
                chosen = run
                break
        if bin_ is None or not chosen:
            raise RefusedError(
                f"there is no removal {wanted} that could be undone" if wanted else "there is nothing to undo",
                f"still there: {', '.join(there) or 'nothing'}",
            )
        restored, newer = _put_back(bin_, chosen, found)
        settle(bin_)
        incomplete = _incomplete(bin_, restored)
        bin_.purge(chosen) if not newer and not incomplete else None
        return {"run": chosen, "restored": restored, "newer": newer, "incomplete": incomplete}


def _put_back(bin_: trash.Bin, run: str, found: walk.Store) -> tuple[list[str], list[str]]:
    """In the order in which the registry writes it: what is needed before what needs it."""
    restored: list[str] = []
    newer: list[str] = []
    now = time.time()
    for digest in found.blobs:
        bin_.put_back(run, trash.blob(digest))
    for name, repository in found.repositories.items():
        for digest in repository.layers:
            bin_.put_back(run, trash.layer(name, digest))
        for digest in repository.revisions:
            if bin_.put_back_revision(run, name, digest):
                bin_.touch(f"{trash.revision(name, digest)}/link", now)
                restored.append(f"{name}@{digest}")
    for name, repository in found.repositories.items():
        for tag in repository.tags:
            done = bin_.put_back(run, trash.tag(name, tag))
            (restored if done else newer).append(f"{name}:{tag}")
            if done:
                # Not its link: it would be the newest, and another tag would go in its place.
                bin_.touch(trash.tag(name, tag), now)
    return restored, newer


def _incomplete(bin_: trash.Bin, restored: list[str]) -> list[str]:
    """Of these, what cannot be pulled in full."""
    store = walk.repositories(bin_.top)
    bad = []
    with walk.Manifests(bin_.top) as manifests:
        for image in restored:
            name, _, digest = image.partition("@")
            if not digest:
                name, _, tag = image.rpartition(":")
                digest = store.repositories[name].tags[tag][0]
            try:
                needed = [blob for blob, _ in manifests.get(digest).blobs]
            except (UnreadableError, FileNotFoundError):
                needed = [digest]
            aliases = store.repositories[name].aliases
            if any(bin_.gone(f"{trash.blob(aliases.get(each, each))}/data") for each in (digest, *needed)):
                bad.append(image)
    return bad
