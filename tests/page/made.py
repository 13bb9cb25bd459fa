"""A registry's content, made up: images of many kinds, and the files that the server's job writes about them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from dataclasses import dataclass, field
from typing import Any

OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
IN_TOTO = "application/vnd.in-toto+json"
HELM = "application/vnd.cncf.helm.config.v1+json"
CACHE = "application/vnd.buildkit.cacheconfig.v0"
COSIGN = "application/vnd.dev.cosign.simplesigning.v1+json"
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
RIGHT_TO_LEFT = "\u202etxt.exe\u2067 \u05e9\u05dc\u05d5\u05dd"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Tag:
    digest: str
    size: int
    pushed: int
    created: int | None = None
    used: int | None = None
    platforms: list[str] = field(default_factory=list)
    kind: str = "image"
    signed: bool = False
    attested: bool = False
    problem: str = ""
    retention: str = ""


class Content:
    """Manifests, blobs and tags. `now` is the time that everything is seen from.

    `real`: layers have bytes, a thousandth of the size that is told else, so that a registry takes them.
    """

    def __init__(self, now: int, *, real: bool = False) -> None:
        self.now, self.real = now, real
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.tags: dict[str, dict[str, Tag]] = {}
        # Of a registry, tags that hang under an image: signatures and the like.
        self.hung: dict[str, dict[str, str]] = {}

    def blob(self, content: bytes | dict[str, Any]) -> dict[str, Any]:
        """Keep it. Returns its digest and size, as a descriptor has them."""
        found = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.blobs[digest_of(found)] = found
        return {"digest": digest_of(found), "size": len(found)}

    def manifest(self, repository: str, content: dict[str, Any]) -> dict[str, Any]:
        """Keep it. Returns its descriptor."""
        found = json.dumps({"schemaVersion": 2, **content}).encode()
        self.manifests[repository, digest_of(found)] = (content["mediaType"], found)
        return {"mediaType": content["mediaType"], "digest": digest_of(found), "size": len(found)}

    def tag(self, repository: str, name: str, tag: Tag) -> None:
        self.tags.setdefault(repository, {})[name] = tag

    def remove(self, repository: str, reference: str) -> bool:
        """Remove a tag, or a manifest with all its tags. Says whether it was there."""
        tags, hung = self.tags[repository], self.hung.setdefault(repository, {})
        if not reference.startswith("sha256:"):
            return bool(tags.pop(reference, None) or hung.pop(reference, None))
        for tag in [tag for tag, it in tags.items() if it.digest == reference]:
            del tags[tag]
        for tag in [tag for tag, digest in hung.items() if digest == reference]:
            del hung[tag]
        return self.manifests.pop((repository, reference), None) is not None

    def image(self, repository: str, *, architecture: str = "amd64", salt: str = "", **config: Any) -> tuple[str, int]:
        """Push an image without a tag. Returns its digest, and the bytes of its layers."""
        commands = [
            ("/bin/sh -c #(nop) ADD file:6dd1 in / ", 28_900_000),
            ('/bin/sh -c #(nop)  CMD ["bash"]', 0),
            ("RUN /bin/sh -c apt-get update && apt-get install -y --no-install-recommends ca-certificates curl "
             "&& rm -rf /var/lib/apt/lists/* # buildkit", 11_400_000),
            ("WORKDIR /app", 32),
            (f"COPY dist/{salt}/ /app/ # buildkit", 19_700_000),
            ("USER 1000", 0),
        ]  # fmt: skip
        layers: list[dict[str, Any]] = []
        history: list[dict[str, Any]] = []
        unpackeds: list[str] = []
        for number, (command, size) in enumerate(commands):
            history.append(
                {"created": "2026-11-20T08:00:00Z", "created_by": command, **({} if size else {"empty_layer": True})}
            )
            if size:
                own = f"{architecture} {number} {salt if number > 2 else ''}"
                if self.real:
                    packed, unpacked = layer(own, size // 1000)
                    layers.append({"mediaType": LAYER, **self.blob(packed)})
                    unpackeds.append(unpacked)
                else:
                    layers.append({"mediaType": LAYER, "digest": digest_of(own.encode()), "size": size})
        about: dict[str, Any] = {
            "architecture": architecture, "os": "linux", "created": "2026-11-20T08:00:00Z", "history": history,
            "config": {"Env": ["PATH=/usr/bin"], "Cmd": ["/app/server"], "WorkingDir": "/app", **config},
            **({"variant": "v8"} if architecture == "arm64" else {}),
            "rootfs": {"type": "layers", "diff_ids": unpackeds},
        }  # fmt: skip
        content = {"mediaType": OCI, "config": {"mediaType": CONFIG, **self.blob(about)}, "layers": layers}
        return self.manifest(repository, content)["digest"], sum(layer["size"] for layer in layers)

    def index(self, repository: str, members: list[tuple[str, str]], attested: bool = False) -> str:
        """Push an index of (architecture, digest) without a tag; the attestations come first. Returns its digest."""
        listed, first = [], []
        for architecture, digest in members:
            kind, content = self.manifests[repository, digest]
            platform = {
                "os": "linux",
                "architecture": architecture,
                **({"variant": "v8"} if architecture == "arm64" else {}),
            }
            listed.append({"mediaType": kind, "digest": digest, "size": len(content), "platform": platform})
            if attested:
                statement = self.blob({"predicateType": "https://slsa.dev/provenance/v1", "subject": digest})
                statements = {
                    "mediaType": IN_TOTO,
                    **statement,
                    "annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"},
                }
                held = self.manifest(
                    repository,
                    {"mediaType": OCI, "config": {"mediaType": CONFIG, **self.blob(b"{}")}, "layers": [statements]},
                )
                first.append({**held, "platform": {"os": "unknown", "architecture": "unknown"}, "annotations": {
                    "vnd.docker.reference.type": "attestation-manifest",
                    "vnd.docker.reference.digest": digest,
                }})  # fmt: skip
        return str(self.manifest(repository, {"mediaType": INDEX, "manifests": first + listed})["digest"])

    def sign(self, repository: str, digest: str) -> None:
        """A signature of cosign's form, by its tag."""
        signature = {
            "mediaType": COSIGN,
            **self.blob(b'{"critical":{}}'),
            "annotations": {"dev.cosignproject.cosign/signature": "MEUC"},
        }
        held = self.manifest(
            repository, {"mediaType": OCI, "config": {"mediaType": CONFIG, **self.blob(b"{}")}, "layers": [signature]}
        )
        self.hung.setdefault(repository, {})[digest.replace(":", "-") + ".sig"] = held["digest"]


def layer(name: str, size: int) -> tuple[bytes, str]:
    """A layer with a file of so many bytes, the same each time: as it is packed, and the digest of what is in it."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        about = tarfile.TarInfo(f"opt/{digest_of(name.encode())[7:15]}")
        about.size = size
        archive.addfile(about, io.BytesIO(random.Random(name).randbytes(size)))  # noqa: S311 - a filling
    return gzip.compress(held.getvalue(), mtime=0), digest_of(held.getvalue())


def small(now: int, *, real: bool = False, odd: bool = True) -> Content:
    """A registry of a small team: a row of every kind; `odd`: and a few that are there to break a page."""
    made = Content(now, real=real)
    minute, hour, day = 60, 3600, 86400
    versions = ["1.0", "1.1", "1.2", "1.9", "1.10.0-rc.1", "1.10.0"]
    for age, version in enumerate(reversed(versions)):
        env = [f"APP_VERSION={version}", "TZ=UTC", "DB_PASSWORD=hunter2", "PATH=/usr/local/bin:/usr/bin"]
        labels = {
            "org.opencontainers.image.source": "https://git.example.com/team-a/app",
            "org.opencontainers.image.revision": "8f3c2d1", "org.opencontainers.image.licenses": "MIT",
        }  # fmt: skip
        members = [
            (architecture, made.image("team-a/app", architecture=architecture, salt=version, Env=env, Labels=labels,
                                      ExposedPorts={"8080/tcp": {}}, Entrypoint=["/tini", "--"], User="1000"))
            for architecture in ("amd64", "arm64")
        ]  # fmt: skip
        digest = made.index("team-a/app", [(name, found[0]) for name, found in members], attested=True)
        platforms = ["linux/amd64", "linux/arm64"]
        signed = version == "1.10.0"
        tag = Tag(digest, members[0][1][1], now - 40 * minute - age * 9 * day, now - age * 9 * day - hour,
                  now - (age + 1) * 9 * hour if age < 4 else None, platforms, "index", signed, attested=True,
                  retention="older than the 10 newest, not used for 90 days" if version == "1.0" else "")  # fmt: skip
        for name in (version, *(("1.10", "1", "latest") if signed else ())):
            made.tag("team-a/app", name, tag)
        if signed:
            made.sign("team-a/app", digest)
    if odd:
        gone = Tag(digest_of(b"gone"), 0, now - 50 * day, problem="its manifest is not there")
        made.tag("team-a/app", "broken", gone)
        _odd(made, now - 5 * day)
    made.tag("team-a/app", "buildcache", _cache(made, "team-a/app", now - 41 * minute))
    worker, size = made.image("team-a/worker", salt="w")
    made.tag(
        "team-a/worker", "main", Tag(worker, size, now - 3 * hour, now - 4 * hour, now - 20 * minute, ["linux/amd64"])
    )
    made.tag("charts/web", "0.4.1", _chart(made, "charts/web", now - 2 * day))
    made.tag("models/tiny", "2026-11", _artifact(made, "models/tiny", now - 6 * day))
    base, size = made.image("base", salt="b")
    made.tag("base", "12", Tag(base, size, now - 30 * day, now - 30 * day, now - 60, ["linux/amd64"]))
    made.tag("base", "stable", made.tags["base"]["12"])
    return made


def _odd(made: Content, pushed: int) -> None:
    env = [f"MARKUP={MARKUP}", "LONG=" + "x" * 65536, f"RTL={RIGHT_TO_LEFT}"]
    labels = {MARKUP: MARKUP, "way": RIGHT_TO_LEFT, "org.opencontainers.image.url": "javascript:alert(3)"}
    digest, size = made.image("team-b/odd", salt="odd", Env=env, Labels=labels)
    made.tag("team-b/odd", "1", Tag(digest, size, pushed, None, None, ["linux/amd64"]))


def _cache(made: Content, repository: str, pushed: int) -> Tag:
    layers = [{"mediaType": LAYER, **made.blob(b"cached layer")}]
    held = made.manifest(
        repository, {"mediaType": OCI, "config": {"mediaType": CACHE, **made.blob(b"{}")}, "layers": layers}
    )
    return Tag(held["digest"], 88_000_000, pushed, kind="cache")


def _chart(made: Content, repository: str, pushed: int) -> Tag:
    about = {
        "apiVersion": "v2",
        "name": "web",
        "version": "0.4.1",
        "appVersion": "1.10.0",
        "description": "The web shop",
    }
    layers = [{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", **made.blob(b"a chart")}]
    held = made.manifest(
        repository, {"mediaType": OCI, "config": {"mediaType": HELM, **made.blob(about)}, "layers": layers}
    )
    return Tag(held["digest"], 12_400, pushed, pushed - 60, pushed + 3600, kind="chart")


def _artifact(made: Content, repository: str, pushed: int) -> Tag:
    title = "org.opencontainers.image.title"
    layers = [
        {"mediaType": "application/octet-stream", **made.blob(b"weights"), "annotations": {title: "weights.bin"}},
        {"mediaType": "text/markdown", **made.blob(b"# card"), "annotations": {title: "card.md"}},
    ]
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", **made.blob(b"{}")}
    model = "application/vnd.example.model"
    held = made.manifest(repository, {"mediaType": OCI, "artifactType": model, "config": empty, "layers": layers})
    return Tag(held["digest"], 13, pushed, kind="artifact")


def large(now: int, repositories: int = 300, tags: int = 10_000) -> Content:
    """Many: one repository of 2,000 tags, one of 200, all others share the rest. `huge/all` has as many as all."""
    made = Content(now)
    sizes = [2000, 200, *((tags - 2200) // (repositories - 2) for _ in range(repositories - 2))]
    groups = ("shop", "data", "infra", "web", "ml", "tools")
    for number, count in enumerate(sizes):
        name = {0: "big/two-thousand", 1: "big/two-hundred"}.get(number, f"{groups[number % 6]}/service-{number:03d}")
        _fill(made, name, count, now - number * 1800)
    return made


def _fill(made: Content, repository: str, count: int, newest: int) -> None:
    for number in range(count):
        # Two tags a digest, now and then: a version and the commit.
        same = number - number % 2 if number % 20 < 2 else number
        digest = digest_of(f"{repository} {same}".encode())
        name = f"1.{number // 50}.{number % 50}" if number % 3 else f"main-{digest[7:15]}-{number}"
        pushed, used = newest - number * 3600, newest if number < 5 else None
        platforms = ["linux/amd64", "linux/arm64"]
        made.tag(
            repository, name, Tag(digest, 30_000_000 + number * 1000, pushed, pushed - 300, used, platforms, "index")
        )


def huge(now: int) -> Content:
    """One repository of 10,000 tags."""
    made = Content(now)
    _fill(made, "huge/all", 10_000, now)
    return made
