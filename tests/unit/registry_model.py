"""The registry, as it writes to its store: each `yield` is a moment in which somebody else may do something.

In the order of distribution's own code: blobwriter.go (Commit, moveBlob), linkedblobstore.go (mount, linkBlob),
manifeststore.go and tagstore.go (verify, data, link, tag). A request ends with `yield True`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from fabfile import layout

from .stores import IMAGE, INDEX, Store, sha

Steps = Iterator[bool]
REPOSITORY, OTHER, KEPT = "app", "other", "kept"
OLD, NEW, BASE = b"an old layer", b"a new layer", b"a layer of all"


class Model:
    """A registry with its store, and what it acknowledged: (repository, reference) -> digest."""

    def __init__(self, root: Path, now: float) -> None:
        self.root = root
        self.store = Store(root / "registry/data")
        self.now = now
        self.acknowledged: dict[tuple[str, str], str] = {}
        self.failed = 0
        (root / layout.USES).mkdir(parents=True)
        (root / layout.USES_LOG).touch()
        (root / layout.USES_BEGUN).touch()
        os.utime(root / layout.USES_BEGUN, (1_600_000_000, 1_600_000_000))

    def later(self) -> None:
        """From now on all that is written has the time of `now`."""
        self.store.now = self.now

    def has(self, repository: str, digest: str) -> bool:
        return self.store.part(repository, "_layers", digest).exists() and self.store.blob_path(digest).exists()

    def used(self, method: str, repository: str, digest: str) -> None:
        line = f"{self.now}\t-\t{method}\t{repository}\t-\t{digest}\t0\tx\n"
        with (self.root / layout.USES_LOG).open("a") as log:
            log.write(line)

    def link(self, path: Path, digest: str) -> None:
        self.store.write(path, digest.encode())

    def head(self, repository: str, digest: str) -> Iterator[bool]:
        """Yields; whether it is there is asked again by whoever asks."""
        if self.has(repository, digest):
            yield False
            self.used("HEAD", repository, digest)

    def upload(self, repository: str, content: bytes) -> Steps:
        digest = sha(content)
        place = self.store.upload(repository, "u")
        (place / "data").write_bytes(content)
        yield True
        target = self.store.blob_path(digest)
        if not target.exists():
            yield False
            target.parent.mkdir(parents=True, exist_ok=True)
            (place / "data").rename(target)
            # What was written long ago keeps its time: a rename changes that of the directory alone.
            self.store.touch(target.parent)
        yield False
        self.link(self.store.part(repository, "_layers", digest), digest)
        shutil.rmtree(place, ignore_errors=True)
        yield True

    def mount(self, repository: str, source: str, content: bytes) -> Steps:
        digest = sha(content)
        if self.has(source, digest):
            yield False
            self.link(self.store.part(repository, "_layers", digest), digest)
            yield True

    @staticmethod
    def manifest(layers: tuple[bytes, ...]) -> bytes:
        """Of an image of these layers."""
        listed = [{"digest": sha(each), "size": len(each)} for each in layers]
        return json.dumps({"mediaType": IMAGE, "layers": listed}).encode()

    def push(self, repository: str, tag: str, layers: tuple[bytes, ...], prepare: Callable[[bytes], Steps]) -> Steps:
        """As a client does it: what is not there is brought, then the manifest; all of that again where it fails."""
        for _ in range(3):
            for content in layers:
                yield from self.head(repository, sha(content))
                if not self.has(repository, sha(content)):
                    yield from prepare(content)
                if not self.has(repository, sha(content)):
                    yield from self.upload(repository, content)
            if (yield from self.put(repository, tag, self.manifest(layers), [sha(each) for each in layers])):
                return

    def put(self, repository: str, tag: str, content: bytes, needs: list[str]) -> Generator[bool, None, bool]:
        """PUT of a manifest. Returns whether it was acknowledged; tag '' for one by its digest."""
        digest = sha(content)
        if not all(self.has(repository, each) or self.revision(repository, each) for each in needs):
            self.failed += 1
            yield True
            return False
        yield False
        if not self.store.blob_path(digest).exists():
            self.store.write(self.store.blob_path(digest), content)
            yield False
        self.link(self.store.part(repository, "_manifests/revisions", digest), digest)
        yield False
        if tag:
            place = self.store.part(repository, f"_manifests/tags/{tag}")
            self.link(place.joinpath("index", *digest.split(":"), "link"), digest)
            self.link(place / "current/link", digest)
        self.used("PUT", repository, digest)
        self.acknowledged[repository, tag or digest] = digest
        yield True
        return True

    def index(self, repository: str, tag: str, child: str, layers: tuple[bytes, ...]) -> Steps:
        """An index of an image that may be there, by a client that asks for it first, and brings what is not."""
        content = json.dumps({"mediaType": INDEX, "manifests": [{"digest": child, "size": 0}]})
        for _ in range(3):
            if self.revision(repository, child):
                self.used("HEAD", repository, child)
            else:
                yield from self.push(repository, "", layers, lambda _: iter(()))
            yield True
            if (yield from self.put(repository, tag, content.encode(), [child])):
                return

    def revision(self, repository: str, digest: str) -> bool:
        link = self.store.part(repository, "_manifests/revisions", digest)
        return link.exists() and self.store.blob_path(digest).exists()

    def delete(self, repository: str, digest: str) -> Steps:
        """By the API: the tags, then the link."""
        tags = self.store.part(repository, "_manifests/tags")
        for tag in sorted(tags.iterdir()) if tags.is_dir() else ():
            if (tag / "current/link").read_text() == digest:
                yield False
                shutil.rmtree(tag)
                self.acknowledged.pop((repository, tag.name), None)
        yield False
        link = self.store.part(repository, "_manifests/revisions", digest)
        link.unlink()
        self.store.touch(link.parent)
        yield True

    def lost(self) -> list[str]:
        """What was acknowledged and cannot be pulled in full."""
        return [f"{name}:{tag}: {why}" for (name, tag), digest in self.acknowledged.items()
                if (why := self.broken(name, tag, digest))]  # fmt: skip

    def broken(self, repository: str, tag: str, digest: str) -> str:
        link = self.store.part(repository, f"_manifests/tags/{tag}") / "current/link"
        if not tag.startswith("sha256:") and (not link.exists() or link.read_text() != digest):
            return "the tag is gone"
        if not self.revision(repository, digest):
            return "the manifest is gone"
        content = self.store.blob_path(digest).read_bytes()
        found = json.loads(content)
        if sha(content) != digest:
            return "the manifest is another one"
        for child in found.get("manifests", ()):
            if why := self.broken(repository, child["digest"], child["digest"]):
                return f"in the index, {why}"
        for each in (*found.get("layers", ()), *([found["config"]] if "config" in found else ())):
            if not self.has(repository, each["digest"]):
                return f"layer {each['digest'][:12]} is gone"
        return ""

    def size(self) -> int:
        """Bytes of all blobs that are in the store."""
        return sum(os.stat(each).st_size for each in (self.store.top / "blobs").rglob("data"))  # noqa: PTH116
