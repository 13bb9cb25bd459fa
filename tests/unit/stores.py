"""A store as the registry writes it (distribution, registry/storage/paths.go), for the tests to read and to break."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

IMAGE = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
INDEX = "application/vnd.oci.image.index.v1+json"


def sha(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Store:
    """A directory as `registry/data`. now: what time it is for all that is written; None for the machine's own."""

    def __init__(self, data: Path, now: float | None = None) -> None:
        self.data = data
        self.top = data / "docker/registry/v2"
        self.now = now

    def write(self, path: Path, content: bytes) -> None:
        made = [above for above in path.parents if not above.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        # What comes into a directory changes its time.
        self.touch(path, path.parent, *made, *(above.parent for above in made))

    def touch(self, *paths: Path) -> None:
        for path in paths if self.now is not None else ():
            os.utime(path, (self.now or 0, self.now or 0))

    def blob_path(self, digest: str) -> Path:
        algorithm, _, name = digest.partition(":")
        return self.top / "blobs" / algorithm / name[:2] / name / "data"

    def part(self, repository: str, part: str, digest: str = "") -> Path:
        path = self.top / "repositories" / repository / part
        return path.joinpath(*digest.split(":"), "link") if digest else path

    def blob(self, content: bytes, *repositories: str) -> str:
        digest = sha(content)
        if not self.blob_path(digest).exists():
            self.write(self.blob_path(digest), content)
        for repository in repositories:
            self.write(self.part(repository, "_layers", digest), digest.encode())
        return digest

    def alias(self, content: bytes, repository: str) -> str:
        """A layer that a client pushed with `?digest=sha512:…`: its content is by sha256, and both have a link."""
        canonical = self.blob(content, repository)
        alias = f"sha512:{hashlib.sha512(content).hexdigest()}"
        self.write(self.part(repository, "_layers", alias), canonical.encode())
        return alias

    def manifest(self, repository: str, content: dict[str, Any] | bytes, *tags: str) -> str:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = self.blob(data)
        self.write(self.part(repository, "_manifests/revisions", digest), digest.encode())
        for tag in tags:
            self.tag(repository, tag, digest)
        return digest

    def tag(self, repository: str, tag: str, digest: str) -> None:
        place = self.part(repository, f"_manifests/tags/{tag}")
        self.write(place.joinpath("index", *digest.split(":"), "link"), digest.encode())
        self.write(place / "current/link", digest.encode())

    def image(
        self, repository: str, layers: Sequence[bytes], *tags: str, config: dict[str, Any] | None = None, **more: Any
    ) -> str:
        """An image of these layers; more: further fields of its manifest."""
        about = config if config is not None else {"os": "linux", "architecture": "amd64"}
        raw = json.dumps(about).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": {"digest": self.blob(raw, repository), "size": len(raw), "mediaType": CONFIG},
            "layers": [
                {"digest": self.blob(each, repository), "size": len(each), "mediaType": LAYER} for each in layers
            ],
            **more,
        }
        return self.manifest(repository, manifest, *tags)

    def index(self, repository: str, children: Sequence[dict[str, Any]], *tags: str) -> str:
        listed = [{"mediaType": IMAGE, "size": 0, **each} for each in children]
        return self.manifest(repository, {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}, *tags)

    def upload(self, repository: str, name: str, content: bytes = b"half") -> Path:
        place = self.part(repository, f"_uploads/{name}")
        self.write(place / "data", content)
        self.write(place / "startedat", b"2026-01-01T00:00:00Z")
        return place
