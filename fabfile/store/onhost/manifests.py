"""Manifests, parsed: what an image needs, whoever wrote it. Pure.

Forms: OCI image and index (image-spec 1.1), Docker's manifest and list (distribution, docs/content/spec), and
schema 1 of before 2016, which version 2 of the registry still has.
"""

from __future__ import annotations

import hashlib
import json
import re
from sys import intern
from typing import Any, NamedTuple

DIGEST = re.compile(r"(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})\Z")
# The registry takes none that is larger (distribution, registry/handlers/manifests.go: maxManifestBodySize).
LARGEST = 4 << 20
# What is in a tag that says of which image it is: cosign's, and the referrers' of OCI (distribution-spec 1.1).
FOLLOWER = re.compile(r"(sha256|sha384|sha512)-([0-9a-f]{64,128})(\.(?:sig|att|sbom))?\Z")
# BuildKit (docs/attestations/attestation-storage.md).
ATTESTS = "vnd.docker.reference.digest"


class UnreadableError(Exception):
    """No manifest, or none of a form that we know."""


class Child(NamedTuple):
    """A manifest in an index. platform: `linux/amd64`, '' where none is said. attests: the digest that it is about."""

    digest: str
    size: int
    platform: str
    attests: str


class Manifest(NamedTuple):
    """What a manifest says. blobs: its config first, then its layers, with their sizes; size: its own bytes."""

    size: int
    schema1: bool
    config: str
    blobs: tuple[tuple[str, int], ...]
    children: tuple[Child, ...]
    subject: str


def parse(digest: str, content: bytes) -> Manifest:
    """A manifest, of which that is the digest. Raises UnreadableError."""
    algorithm = digest.partition(":")[0]
    if len(content) > LARGEST:
        raise UnreadableError("it is larger than a manifest can be")
    if not content:
        raise UnreadableError("it is empty")
    if f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}" != digest:
        raise UnreadableError("its content has another digest")
    try:
        found = json.loads(content)
        return _parsed(found, len(content))
    except UnreadableError:
        raise
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        raise UnreadableError("it is no manifest of a form that we know") from None


def _exact(found: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The same. Go, and so the registry, takes `Layers` for `layers`; one word that we miss would be an image."""
    for key in found:
        if key not in keys and key.casefold() in map(str.casefold, keys):
            raise UnreadableError(f"it says {key[:40]!r} in place of {key.lower()[:40]!r}")
    return found


def _parsed(found: dict[str, Any], size: int) -> Manifest:
    _exact(found, "fsLayers", "manifests", "config", "layers", "blobs", "subject")
    if "fsLayers" in found:
        blobs = tuple((_digest(_exact(layer, "blobSum")["blobSum"]), 0) for layer in found["fsLayers"])
        return Manifest(size, True, "", blobs, (), "")
    if not {"manifests", "config", "layers", "blobs"} & set(found):
        raise UnreadableError("it names neither layers nor manifests")
    config = found.get("config")
    listed = [*([config] if config else []), *(found.get("layers") or []), *(found.get("blobs") or [])]
    subject = found.get("subject")
    return Manifest(
        size,
        False,
        _named(config) if config else "",
        tuple((_named(each), _size(each)) for each in listed),
        tuple(_child(each) for each in found.get("manifests") or []),
        _named(subject) if subject else "",
    )


def _child(found: dict[str, Any]) -> Child:
    about = (found.get("annotations") or {}).get(ATTESTS, "")
    named = platform(found.get("platform") or {})
    return Child(_named(found), _size(found), "" if named == "unknown/unknown" else named, str(about))


def platform(found: dict[str, Any]) -> str:
    """`linux/arm64/v8`, of what an index or a config says; '' where it says nothing."""
    words = [found.get(key) for key in ("os", "architecture", "variant")]
    return "/".join(str(word)[:40] for word in words if word)


def _digest(text: object) -> str:
    if not isinstance(text, str) or not DIGEST.match(text):
        raise UnreadableError("it names something that is no digest")
    return intern(text)


def _named(found: dict[str, Any]) -> str:
    return _digest(_exact(found, "digest")["digest"])


def _size(found: dict[str, Any]) -> int:
    size = found.get("size", 0)
    return size if isinstance(size, int) and size >= 0 else 0


def followed(tag: str, digest: str) -> str:
    """The digest that a signature's tag is about; '' for a tag of any other kind.

    digest: what it leads to; a tag that is that digest itself is nobody's signature, but keeps it by hand.
    """
    found = FOLLOWER.match(tag)
    subject = f"{found[1]}:{found[2]}" if found else ""
    return subject if DIGEST.match(subject) and subject != digest else ""
