"""Bring back from the trash what is needed after all: somebody pushed while it was taken.

Whatever a tag, a manifest or a layer of a repository leads to has to be there. It changes nothing where all is, so
it can be done at any time, and again after a kill.
"""

from __future__ import annotations

from . import handles, tags, walk
from .manifests import Manifest, UnreadableError, followed
from .runs import begun, kind
from .trash import Bin, blob, layer, tag

# The kernel's clock of files is that much behind, in seconds.
BEHIND = 0.02


def settle(bin_: Bin, *, purging: bool = False) -> int:
    """Put back what is needed. Returns how many were put back.

    purging: what is left may be purged then. Raises RefusedError where not all can be read that may need it.
    """
    bin_.refresh()
    chosen = bin_.runs()
    if not chosen:
        return 0
    with walk.Manifests(bin_.top) as manifests:
        work = _Settling(bin_, manifests, chosen)
        for name, repository in work.store.repositories.items():
            for digest, _ in repository.tags.values():
                work.need_tag(name, digest)
            for digest in list(repository.revisions):
                work.need_manifest(name, digest)
            for digest in repository.layers:
                work.need_blob(repository.aliases.get(digest, digest))
            for digest in repository.signatures:
                work.need_blob(digest)
            if repository.broken:
                work.need_all(name)
        work.need_followers()
        if purging:
            handles.require_known(work.odd, "nothing was purged, as ")
        return work.count + (bin_.far.pushed_meanwhile() if bin_.far else 0)


class _Settling:
    def __init__(self, bin_: Bin, manifests: walk.Manifests, runs: list[str]) -> None:
        self.bin = bin_
        self.manifests = manifests
        self.count = 0
        self.done: set[tuple[str, str]] = set()
        # The newest run that has it counts.
        self.blobs: dict[str, str] = {}
        self.layers: dict[tuple[str, str], str] = {}
        self.revisions: dict[tuple[str, str], str] = {}
        self.aliases: dict[tuple[str, str], str] = {}
        # Of signatures that gc took: repository, tag or '', digest -> run.
        self.followers: dict[tuple[str, str, str], str] = {}
        self.odd: list[str] = []
        for run in runs:
            found = bin_.read(run)
            self.odd += [f".trash/{run}: {what}" for what in found.odd]
            self.blobs |= dict.fromkeys(found.blobs, run)
            for name, repository in found.repositories.items():
                self.layers |= {(name, digest): run for digest in repository.layers}
                self.revisions |= {(name, digest): run for digest in repository.revisions}
                if kind(run) == "gc":
                    self.followers |= {(name, tag_, digest): run for tag_, (digest, _) in repository.tags.items()}
                    self.followers |= {(name, "", digest): run for digest in repository.revisions}
                self._aliases(repository)
                self._late(run, repository)
        self.store = walk.repositories(bin_.top)
        self.odd += self.store.odd
        for repository in self.store.repositories.values():
            self._aliases(repository)

    def _aliases(self, repository: walk.Repository) -> None:
        self.aliases |= {(repository.name, alias): digest for alias, digest in repository.aliases.items()}

    def _late(self, run: str, repository: walk.Repository) -> None:
        """Somebody wrote a link in the moment in which its directory was moved: after the run had begun."""
        began, name = begun(run), repository.name
        if kind(run) == "gc":
            # What it takes is older than that by far.
            began -= BEHIND
        for tag_, _ in tags.written(self.bin, run, repository):
            self.count += self.bin.put_back(run, tag(name, tag_))
        for digest, when in repository.layers.items():
            self.count += when > began and self.bin.put_back(run, layer(name, digest))
        for digest, when in repository.revisions.items():
            self.count += when > began and self.bin.put_back_revision(run, name, digest)

    def need_tag(self, name: str, digest: str) -> None:
        """A tag of that repository leads to it: a manifest, in version 2.1 of the registry among the layers."""
        if digest not in self.store.repositories[name].revisions:
            self.need_layer(name, digest)
        self.need_revision(name, digest)

    def need_revision(self, name: str, digest: str) -> None:
        """A tag, or an index, of that repository says so."""
        run = self.revisions.pop((name, digest), "")
        if run and digest not in self.store.repositories[name].revisions:
            self.count += self.bin.put_back_revision(run, name, digest)
            self.store.repositories[name].revisions[digest] = 0.0
        self.need_manifest(name, digest)

    def need_manifest(self, name: str, digest: str) -> None:
        """It is in the repository."""
        if (name, digest) in self.done:
            return
        self.done.add((name, digest))
        self.need_blob(digest)
        try:
            manifest = self.manifests.get(digest)
        except (UnreadableError, FileNotFoundError):
            # A layer that an index names is no manifest; what an index names may be elsewhere.
            if digest in self.store.repositories[name].revisions:
                self.need_all(name)
            return
        for child in manifest.children:
            # BuildKit's cache is an index of layers.
            self.need_content(name, child.digest)
            self.need_revision(name, child.digest)
        for each, _ in manifest.blobs:
            self.need_content(name, each)

    def need_all(self, name: str) -> None:
        """Who knows what it needs: so all that gc took of that repository comes back, as it would not be taken now."""
        for of, digest in [key for key, run in self.layers.items() if key[0] == name and kind(run) == "gc"]:
            self.need_content(of, digest)
        for of, digest in [key for key, run in self.revisions.items() if key[0] == name and kind(run) == "gc"]:
            self.need_revision(of, digest)

    def need_followers(self) -> None:
        """Signatures, by their tag or by what they say themselves, of images that are there again."""
        again = True
        while again:
            again = False
            for (name, tag_, digest), run in [*self.followers.items()]:
                there = self.store.repositories.get(name)
                subject = followed(tag_, digest) if tag_ else self._subject(digest, run)
                if (
                    there
                    and subject in there.revisions
                    and not (tag_ in there.tags if tag_ else digest in there.revisions)
                ):
                    del self.followers[name, tag_, digest]
                    self.need_revision(name, digest)
                    self.count += bool(tag_) and self.bin.put_back(run, tag(name, tag_))
                    again = True

    def _subject(self, digest: str, run: str) -> str:
        """What a manifest in the trash is about."""
        try:
            return self._anywhere(digest, run).subject
        except (UnreadableError, FileNotFoundError):
            return ""

    def _anywhere(self, digest: str, run: str) -> Manifest:
        try:
            return self.manifests.get(digest)
        except FileNotFoundError:
            with handles.directory(self.bin.trash, self.blobs.get(digest, run)) as top, walk.Manifests(top) as taken:
                return taken.get(digest)

    def need_content(self, name: str, digest: str) -> None:
        """A manifest of that repository names it: a layer, by whatever digest."""
        for each in (self.aliases.get((name, digest), digest), digest):
            self.need_blob(each)
            self.need_layer(name, each)

    def need_blob(self, digest: str) -> None:
        """Something has it."""
        if run := self.blobs.pop(digest, ""):
            self._put_back(run, blob(digest), "data")

    def need_layer(self, name: str, digest: str) -> None:
        """A manifest of that repository has it."""
        if run := self.layers.pop((name, digest), ""):
            self._put_back(run, layer(name, digest), "link")

    def _put_back(self, run: str, path: str, file: str) -> None:
        """A directory, or the file alone where one is there that lacks it: a write that broke off leaves that."""
        if handles.stat_of(self.bin.top, f"{path}/{file}") is None:
            done = self.bin.put_back(run, path) or self.bin.put_back(run, f"{path}/{file}")
            self.count += done
