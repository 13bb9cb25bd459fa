"""What of a store is needed, and what may go: decided from one walk, without touching anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from . import trash
from .manifests import Manifest, UnreadableError, followed
from .uses import Last, by_digest
from .walk import Manifests, Repository, Store

# A clock that another machine of the network has, and ours does not, is that far off at most.
AHEAD = 300.0
# A push is done by then: from its first layer to its manifest. And a pull, from its manifest to its last layer.
GRACE = 86400.0
NOBODYS = "-"


class Candidate(NamedTuple):
    """What may go. path: below the store; kind: see collect.py; name: of its repository; seen: its last use."""

    path: str
    kind: str
    name: str
    digest: str
    bytes: int
    seen: float


@dataclass
class Marks:
    """needed: blobs; layers: of each repository; left: repositories that are left as they are, and why."""

    needed: set[str] = field(default_factory=set)
    layers: dict[str, set[str]] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Times:
    """When each digest was last used, anywhere: a lease. used: as the log has it."""

    newest: dict[str, float]
    used: Last

    @classmethod
    def of(cls, store: Store, used: Last) -> Times:
        """The newest of: its file, each link to it, the last line of the log about it."""
        newest = by_digest(used)
        for digest, (when, _) in store.blobs.items():
            newest[digest] = max(when, newest.get(digest, 0.0))
        for repository in store.repositories.values():
            for links in (repository.layers, repository.revisions, repository.unlinked):
                for digest, when in links.items():
                    newest[digest] = max(when, newest.get(digest, 0.0))
        for repository in store.repositories.values():
            for alias, digest in repository.aliases.items():
                newest[digest] = max(newest[alias], newest.get(digest, 0.0))
        return cls(newest, used)


def marked(store: Store, manifests: Manifests, going: set[tuple[str, str]], oldest: float) -> Marks:
    """What every manifest needs that is not `going`, (repository, digest).

    oldest: a manifest that was deleted later than that counts as there: whoever began to pull it goes on.
    """
    marks = Marks()
    for name, repository in store.repositories.items():
        layers = marks.layers.setdefault(name, set())
        broken = list(repository.broken)
        roots = [digest for digest in repository.revisions if (name, digest) not in going]
        # Version 2.1 of the registry had manifests among the layers, and later ones still serve these.
        roots += {each for each, _ in repository.tags.values() if each not in repository.revisions} & set(
            repository.layers
        )
        for digest in roots:
            if problem := _need(digest, manifests, layers):
                broken.append(f"manifest {digest}: {problem}")
        for digest, when in repository.unlinked.items():
            if when > oldest:
                _need(digest, manifests, layers)
        layers.update([target for alias, target in repository.aliases.items() if alias in layers])
        if broken:
            # Whatever it needs, the repository has a link to it, or the registry had refused it.
            marks.left[name] = broken
            layers.update(repository.layers, repository.revisions, repository.unlinked, repository.aliases.values())
        marks.needed |= layers
        marks.needed |= repository.signatures
    return marks


def _need(digest: str, manifests: Manifests, layers: set[str]) -> str:
    """Add what a manifest names; returns why it cannot be read, or ''."""
    layers.add(digest)
    try:
        manifest = manifests.get(digest)
    except UnreadableError as error:
        return str(error)
    except FileNotFoundError:
        return "its content is missing"
    layers.update(blob for blob, _ in manifest.blobs)
    layers.update(child.digest for child in manifest.children)
    return ""


def needs(digest: str, manifests: Manifests, found: set[str]) -> None:
    """Add a manifest and all that it needs, as far as that can be read."""
    todo = [digest]
    done: set[str] = set()
    while todo:
        each = todo.pop()
        if each in done:
            continue
        done.add(each)
        _need(each, manifests, found)
        try:
            todo += [child.digest for child in manifests.get(each).children]
        except (UnreadableError, FileNotFoundError):
            continue


def candidates(store: Store, marks: Marks, times: Times, oldest: float) -> list[Candidate]:
    """What nothing needs and nobody used since `oldest`, in the order in which it goes: links before their blobs."""
    found: list[Candidate] = []
    holder: dict[str, str] = {}
    for name in sorted(store.repositories):
        repository = store.repositories[name]
        for digest in (*repository.layers, *repository.revisions):
            holder.setdefault(digest, name)
        if name not in marks.left:
            found += _links(repository, marks, times, oldest)
        for upload, (when, size) in repository.uploads.items():
            if when <= oldest:
                path = f"repositories/{name}/_uploads/{upload}"
                found.append(Candidate(path, "upload", name, "", size, when))
    for digest, (_, size) in store.blobs.items():
        when = times.newest[digest]
        if digest not in marks.needed and when <= oldest:
            found.append(Candidate(trash.blob(digest), "blob", holder.get(digest, NOBODYS), digest, size, when))
    return found


def _links(repository: Repository, marks: Marks, times: Times, oldest: float) -> list[Candidate]:
    """Layers that no manifest of the repository names; places of manifests that were deleted; or all of it."""
    name, found = repository.name, []
    for digest, when in repository.layers.items():
        seen = max(when, times.used.get((name, digest), 0.0))
        if digest not in marks.layers[name] and seen <= oldest:
            found.append(Candidate(trash.layer(name, digest), "layer", name, digest, 0, seen))
    for digest, when in repository.unlinked.items():
        if when <= oldest:
            found.append(Candidate(trash.revision(name, digest), "deleted", name, digest, 0, when))
    for tag, when in repository.remains.items():
        if when <= oldest:
            found.append(Candidate(trash.tag(name, tag), "tag", name, "", 0, when))
    empty = not (repository.tags or repository.revisions or repository.uploads)
    if (
        empty
        and len(found) == sum(map(len, (repository.layers, repository.unlinked, repository.remains)))
        and repository.changed <= oldest
    ):
        # Not `_uploads`: a push begins there, and an empty directory is in nobody's way.
        for part in {"_layers", "_manifests"} & set(repository.parts):
            found.append(Candidate(f"repositories/{name}/{part}", "repository", name, "", 0, repository.changed))
    return found


def untagged(store: Store, manifests: Manifests, used: Last, oldest: dict[str, float], begun: float) -> list[Candidate]:
    """Manifests that no tag leads to, neither pushed nor used since `oldest`, and the signatures of these.

    oldest: of each repository; one that is not in it keeps all. begun: since when uses are written down; what was
    not used since may have been used until then.

    One that an index contains which stays, or that is about an image which stays, stays. A repository in which
    something cannot be read has none.
    """
    found: list[Candidate] = []
    for name, repository in store.repositories.items():
        try:
            known = {digest: manifests.get(digest) for digest in repository.revisions}
        except (UnreadableError, FileNotFoundError):
            continue
        if repository.broken or name not in oldest:
            continue
        seen = {d: max(when, begun, used.get((name, d), 0.0)) for d, when in repository.revisions.items()}
        kept = _kept(repository, known, {digest for digest, when in seen.items() if when > oldest[name]})
        for tag, (digest, when) in repository.tags.items():
            if digest in known and digest not in kept:
                found.append(Candidate(trash.tag(name, tag), "tag", name, digest, 0, when))
        # An index before what it contains.
        for digest in sorted(known.keys() - kept, key=lambda each: -len(known[each].children)):
            found.append(Candidate(trash.revision(name, digest), "manifest", name, digest, 0, seen[digest]))
    return found


def _kept(repository: Repository, known: dict[str, Manifest], young: set[str]) -> set[str]:
    """What a tag leads to, or is young, with all that it contains and that is about it."""
    about: dict[str, list[str]] = {}
    todo: list[str] = [*young]
    for digest, manifest in known.items():
        if manifest.subject:
            about.setdefault(manifest.subject, []).append(digest)
    above: dict[str, set[str]] = {}
    for tag, (digest, _) in repository.tags.items():
        above.setdefault(digest, set()).add(followed(tag, digest))
    for tag, (digest, _) in repository.tags.items():
        # In a circle none is a signature of an image that another tag leads to.
        if (subject := followed(tag, digest)) in known and not _reaches(above, subject, digest):
            about.setdefault(subject, []).append(digest)
        else:
            todo.append(digest)
    # Whoever signs an image has use for it.
    todo += [subject for subject, found in about.items() if young & set(found)]
    kept: set[str] = set()
    while todo:
        digest = todo.pop()
        if digest in known and digest not in kept:
            kept.add(digest)
            todo += [child.digest for child in known[digest].children]
            todo += about.get(digest, [])
    return kept


def _reaches(above: dict[str, set[str]], digest: str, wanted: str) -> bool:
    """Whether that digest is about the wanted one, or about what is about it."""
    todo, done = {digest}, set[str]()
    while todo:
        done |= todo
        todo = {each for below in todo for each in above.get(below, ())} - done
    return wanted in done


def ahead(times: Times, now: float) -> str:
    """A digest that was used in the future, '' for none."""
    return next((digest for digest, when in times.newest.items() if when > now + AHEAD), "")


def aliases(store: Store) -> dict[str, set[str]]:
    """The other digests of what has any."""
    found: dict[str, set[str]] = {}
    for repository in store.repositories.values():
        for alias, digest in repository.aliases.items():
            found.setdefault(digest, set()).add(alias)
    return found


def links_to(store: Store, digests: set[str], others: dict[str, set[str]]) -> dict[str, list[str]]:
    """The paths of all links to these."""
    found: dict[str, list[str]] = {}
    for name, repository in store.repositories.items():
        for digest in digests:
            for each in repository.layers.keys() & {digest, *others.get(digest, ())}:
                found.setdefault(digest, []).append(trash.layer(name, each))
        for digest in digests & repository.revisions.keys():
            found.setdefault(digest, []).append(trash.revision(name, digest))
    return found
