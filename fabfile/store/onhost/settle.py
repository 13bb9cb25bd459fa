"""Bring back from the trash what is needed after all: somebody pushed while it was taken.

Whatever a tag, a manifest or a layer of a repository leads to has to be there. It changes nothing where all is, so
it can be done at any time, and again after a kill.
"""

from __future__ import annotations

from . import handles, walk
from .manifests import UnreadableError
from .trash import Bin, begun, blob, layer


def settle(bin_: Bin, runs: list[str] | None = None) -> int:
    """Put back what is needed. runs: look in these alone. Returns how many were put back."""
    chosen = bin_.runs() if runs is None else runs
    if not chosen:
        return 0
    with walk.Manifests(bin_.top) as manifests:
        work = _Settling(bin_, manifests, chosen)
        for name, repository in work.store.repositories.items():
            for digest, _ in repository.tags.values():
                work.need_revision(name, digest)
            for digest in list(repository.revisions):
                work.need_manifest(name, digest)
            for digest in repository.layers:
                work.need_blob(repository.aliases.get(digest, digest))
        return work.count


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
        for run in runs:
            found = bin_.read(run)
            self.blobs |= dict.fromkeys(found.blobs, run)
            for name, repository in found.repositories.items():
                self.layers |= {(name, digest): run for digest in repository.layers}
                self.revisions |= {(name, digest): run for digest in repository.revisions}
                self._aliases(repository)
                self._late(run, repository)
        self.store = walk.repositories(bin_.top)
        for repository in self.store.repositories.values():
            self._aliases(repository)

    def _aliases(self, repository: walk.Repository) -> None:
        self.aliases |= {(repository.name, alias): digest for alias, digest in repository.aliases.items()}

    def _late(self, run: str, repository: walk.Repository) -> None:
        """Somebody wrote a link in the moment in which its directory was moved: after the run had begun."""
        began, name = begun(run), repository.name
        for digest, when in repository.layers.items():
            self.count += when > began and self.bin.put_back(run, layer(name, digest))
        for digest, when in repository.revisions.items():
            self.count += when > began and self.bin.put_back_revision(run, name, digest)

    def need_revision(self, name: str, digest: str) -> None:
        """A tag, or an index, of that repository says so."""
        run = self.revisions.pop((name, digest), "")
        if run and digest not in self.store.repositories[name].revisions:
            self.count += self.bin.put_back_revision(run, name, digest)
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
            return
        for child in manifest.children:
            # BuildKit's cache is an index of layers.
            self.need_content(name, child.digest)
            self.need_revision(name, child.digest)
        for each, _ in manifest.blobs:
            self.need_content(name, each)

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
