"""What people call images, found in a store: tags with their platforms, signatures and sizes."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypedDict

from ...accounts.onhost import generation
from ...machine.onhost import store as disk
from ...machine.onhost.atomic import RefusedError
from . import handles, quota, uses
from .manifests import UnreadableError, followed, platform
from .rules import read
from .walk import Manifests, Repository, Store, repositories

# Of an image's configuration: its history can be long.
CONFIG_BYTES = 4 << 20


class Sizes(TypedDict):
    """download: bytes of a pull, of the largest platform. attestations: how many are in it."""

    platforms: list[str]
    download: int
    attestations: int


class Image(Sizes):
    """A tag. pushed, used: times, 0 for unknown. frees: bytes that a delete of the tag frees. signatures: how many
    manifests are about it.
    """

    tag: str
    digest: str
    pushed: float
    used: float
    frees: int
    signatures: int


class Row(TypedDict):
    """A repository. tags: how many. untagged: how many images have none. bytes: on the disk. frees: of these, what no
    other repository has. pushed, used: times of the last one, 0 for none. broken: what cannot be read, in words.
    """

    repository: str
    tags: int
    untagged: int
    bytes: int
    frees: int
    pushed: float
    used: float
    broken: list[str]


class Listing(Row, total=False):
    """With its images, where these were asked for."""

    images: list[Image]


class Listed(TypedDict):
    """odd: what could not be read. quotas: what the sections with one take up."""

    repositories: list[Listing]
    odd: list[str]
    quotas: list[quota.Section]


def listed(directory: str, only: str = "", search: str = "", *, details: bool = False) -> Listed:
    """Every repository of the store of a deployed registry, or one with its tags. Changes nothing.

    only: a repository's name; search: a part of the name of a repository, or of `repository:tag`; details: with
    the tags of each. Raises RefusedError where the disk of the images is away, or nothing of it can be read.
    """
    if away := disk.problem(Path(directory)):
        raise RefusedError(*away)
    try:
        with (
            handles.data(Path(directory)) as data,
            handles.store(data) as top,
            Manifests(top) as manifests,
        ):
            store = repositories(top)
            if not store.repositories:
                # "No images" would be a lie.
                handles.require_known(store.odd)
            used = uses.last(directory, time.time())
            graph = Graph(store, manifests)
            found = []
            for name in sorted(graph.filled()):
                if generation.keeps(Path(directory), name):
                    continue
                if (not only or name == only) and (each := _searched(graph, name, search)) is not None:
                    found.append(_repository(graph, name, each, used, details=details or bool(only)))
            return {"repositories": found, "odd": store.odd, "quotas": _quotas(directory, store, manifests)}
    except FileNotFoundError:
        return {"repositories": [], "odd": [], "quotas": []}
    except OSError as error:
        raise handles.refusal(error) from None


def _quotas(directory: str, store: Store, manifests: Manifests) -> list[quota.Section]:
    try:
        return quota.sections(read(directory) or [], store, manifests, time.time())
    except RefusedError as error:
        store.odd.append(error.what)
        return []


def _searched(graph: Graph, name: str, search: str) -> list[str] | None:
    """The tags to show of a repository; None where there is none of what is searched for."""
    tags = [tag for tag, (digest, _) in graph.store.repositories[name].tags.items() if not followed(tag, digest)]
    if search in name:
        return tags
    return [tag for tag in tags if search in f"{name}:{tag}"] or None


class Graph:
    """What needs what. An image is a manifest that no other one contains or follows."""

    def __init__(self, store: Store, manifests: Manifests) -> None:
        self.store = store
        self.manifests = manifests
        # By repository: digest -> those that contain it; digest -> those that are about it.
        self.parents: dict[str, dict[str, list[str]]] = {}
        self.followers: dict[str, dict[str, list[str]]] = {}
        for repository in store.repositories.values():
            self._connect(repository)
        self._closures: dict[tuple[str, str], dict[str, int]] = {}
        self.holders = self._counted((name,) for name in store.repositories)
        self.heads = self._counted((name, digest) for name in store.repositories for digest in self.images(name))

    def _connect(self, repository: Repository) -> None:
        parents = self.parents.setdefault(repository.name, {})
        followers = self.followers.setdefault(repository.name, {})
        for digest in repository.revisions:
            try:
                manifest = self.manifests.get(digest)
            except (UnreadableError, FileNotFoundError) as error:
                reason = str(error) if isinstance(error, UnreadableError) else "its content is missing"
                repository.broken.append(f"manifest {digest}: {reason}")
                continue
            for child in manifest.children:
                parents.setdefault(child.digest, []).append(digest)
            if manifest.subject:
                followers.setdefault(manifest.subject, []).append(digest)
        for tag, (digest, _) in repository.tags.items():
            if about := followed(tag, digest):
                followers.setdefault(about, []).append(digest)

    def filled(self) -> list[str]:
        """The repositories that are more than a name."""
        return [name for name, each in self.store.repositories.items() if each.tags or each.revisions or each.layers]

    def images(self, name: str) -> list[str]:
        """The digests of a repository's images: what is no part of another one and is about no other one."""
        about = {each for digest, found in self.followers[name].items() if self.knows(name, digest) for each in found}
        return [d for d in self.store.repositories[name].revisions if d not in about and not self.parents[name].get(d)]

    def knows(self, name: str, digest: str) -> bool:
        """Whether that manifest is in the repository."""
        return digest in self.store.repositories[name].revisions

    def closure(self, name: str, digest: str) -> dict[str, int]:
        """All that goes when that image goes: digest -> bytes, of its manifests, layers, signatures."""
        key = (name, digest)
        if key not in self._closures:
            found: dict[str, int] = {}
            todo = [digest]
            while todo:
                each = todo.pop()
                if each in found:
                    continue
                found[each] = 0
                todo += self.followers[name].get(each, [])
                try:
                    manifest = self.manifests.get(each)
                except (UnreadableError, FileNotFoundError):
                    continue
                found[each] = manifest.size
                found |= {blob: size for blob, size in manifest.blobs if blob not in found}
                todo += [child.digest for child in manifest.children if self.knows(name, child.digest)]
            self._closures[key] = found
        return self._closures[key]

    def total(self, name: str) -> dict[str, int]:
        """All that a repository has: digest -> bytes."""
        found: dict[str, int] = {}
        for digest in self.store.repositories[name].revisions:
            found |= self.closure(name, digest)
        return found

    def _counted(self, keys: Iterable[tuple[str, ...]]) -> Counter[str]:
        """How many of these need each blob. A key is a repository, or an image in one."""
        counter: Counter[str] = Counter()
        for key in keys:
            counter.update((self.closure(key[0], key[1]) if len(key) > 1 else self.total(key[0])).keys())
        return counter

    def frees(self, blobs: dict[str, int], needed: Counter[str], least: int = 1) -> int:
        """The bytes of these that no more than so many need."""
        return sum(size for digest, size in blobs.items() if needed[digest] <= least)


def _repository(graph: Graph, name: str, tags: list[str], used: uses.Last, *, details: bool) -> Listing:
    repository = graph.store.repositories[name]
    tagged = {digest for digest, _ in repository.tags.values()}
    total = graph.total(name)
    answer: Listing = {
        "repository": name,
        "tags": sum(not followed(tag, digest) for tag, (digest, _) in repository.tags.items()),
        "untagged": sum(digest not in tagged for digest in graph.images(name)),
        "bytes": sum(total.values()),
        "frees": graph.frees(total, graph.holders),
        "pushed": max((when for _, when in repository.tags.values()), default=0.0),
        "used": max((used.get((name, digest), 0.0) for digest in repository.revisions), default=0.0),
        "broken": repository.broken,
    }
    if details:
        answer["images"] = [_image(graph, repository, tag, used) for tag in sorted(tags, key=natural)]
    return answer


def natural(text: str) -> list[tuple[int, int, str]]:
    """A key that puts 1.10 behind 1.9."""
    parts: list[tuple[int, int, str]] = []
    word = ""
    for character in f"{text}\0":
        digit = "0" <= character <= "9"
        if word and (digit != ("0" <= word[0] <= "9") or character == "\0"):
            parts.append((0, int(word), word) if word[0] in "0123456789" else (1, 0, word))
            word = ""
        word += character
    return parts


def _image(graph: Graph, repository: Repository, tag: str, used: uses.Last) -> Image:
    name = repository.name
    digest, pushed = repository.tags[tag]
    closure = graph.closure(name, digest) if digest else {}
    alone = sum(each == digest for each, _ in repository.tags.values()) == 1 and not graph.parents[name].get(digest)
    try:
        sizes = _sizes(graph.manifests, digest)
    except (UnreadableError, FileNotFoundError):
        sizes = {"platforms": [], "download": 0, "attestations": 0}
    return {
        **sizes,
        "tag": tag,
        "digest": digest,
        "pushed": pushed,
        "used": max((used.get((name, each), 0.0) for each in closure), default=0.0),
        "frees": graph.frees(closure, graph.heads) if alone else 0,
        "signatures": len(set(graph.followers[name].get(digest, []))),
    }


def _sizes(manifests: Manifests, digest: str) -> Sizes:
    manifest = manifests.get(digest) if digest else None
    if manifest is None:
        raise FileNotFoundError(digest)
    if not manifest.children:
        words = [_platform(manifests, manifest.config)] if manifest.config else []
        download = manifest.size + sum(dict(manifest.blobs).values())
        return {"platforms": list(filter(None, words)), "download": download, "attestations": 0}
    sizes = []
    for child in manifest.children:
        try:
            if not child.attests:
                sizes.append(child.size + sum(dict(manifests.get(child.digest).blobs).values()))
        except (UnreadableError, FileNotFoundError):
            continue
    return {
        "platforms": [child.platform for child in manifest.children if child.platform],
        "download": manifest.size + max(sizes, default=0),
        "attestations": sum(bool(child.attests) for child in manifest.children),
    }


def _platform(manifests: Manifests, config: str) -> str:
    """Of an image for one platform: its configuration says which."""
    return _or_empty(lambda: platform(json.loads(manifests.content(config, CONFIG_BYTES))))


def _or_empty(asked: Callable[[], str]) -> str:
    try:
        return asked()
    except (UnreadableError, OSError, ValueError, RecursionError, AttributeError):
        return ""
