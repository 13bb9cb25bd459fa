"""What a manifest is, for people: an image, an index of some, or something that only looks like one. Pure."""

from __future__ import annotations

import calendar
import json
import re
import time
from typing import Any, TypedDict

from .manifests import LARGEST, Manifest, UnreadableError, parse, platform
from .walk import Manifests

CONFIG_BYTES = 4 << 20
INDEX, CACHE, CHART, ARTIFACT, IMAGE = "index", "cache", "chart", "artifact", "image"
SIGNATURE, SBOM, ATTESTATION = "signature", "sbom", "attestation"
# A word in a media type -> what has it: of Helm, cosign, Notation, in-toto, BuildKit. The first one counts.
WORDS = {
    "buildkit.cacheconfig": CACHE,
    "cncf.helm": CHART,
    "cosign.simplesigning": SIGNATURE,
    "sigstore.bundle": SIGNATURE,
    "notary.signature": SIGNATURE,
    "spdx": SBOM,
    "cyclonedx": SBOM,
    "syft": SBOM,
    "in-toto": ATTESTATION,
    "dsse": ATTESTATION,
}
# The end of a tag of cosign's (docs/signature-spec).
SUFFIXES = {".sig": SIGNATURE, ".att": ATTESTATION, ".sbom": SBOM}
CONFIGS = ("application/vnd.oci.image.config.", "application/vnd.docker.container.image.")
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|([+-])(\d\d):(\d\d))\Z", re.I)
DAY = 86400


class Facts(TypedDict):
    """Of a manifest; they never change.

    size: bytes of a pull, of the largest platform. created: seconds since 1970, None where nobody says it. attested:
    whether it has its own attestations. members: digests. subject: of which manifest it is about.
    """

    kind: str
    size: int
    platforms: list[str]
    created: int | None
    attested: bool
    members: list[str]
    subject: str


def kind(found: dict[str, Any]) -> str:
    """Of a manifest that was parsed (manifests.parse)."""
    members = found.get("manifests")
    if members:
        types = [_type(each) for each in members]
        return CACHE if any("cacheconfig" in each or ".layer." in each for each in types) else INDEX
    config, layers = found.get("config") or {}, found.get("layers") or found.get("blobs") or []
    types = [str(found.get("artifactType") or ""), _type(config), *(_type(each) for each in layers)]
    for word, meaning in WORDS.items():
        if any(word in each for each in types):
            return meaning
    plain = "fsLayers" in found or (not types[0] and types[1].startswith(CONFIGS))
    return INDEX if "manifests" in found else IMAGE if plain else ARTIFACT


def _type(found: dict[str, Any]) -> str:
    return str(found.get("mediaType") or "").lower()


def facts(manifests: Manifests, digest: str) -> Facts:
    """Of a manifest in the store. Raises UnreadableError; FileNotFoundError where it, or a member, is missing."""
    content = manifests.content(digest, LARGEST)
    manifest = parse(digest, content)
    found = json.loads(content)
    told: Facts = {
        "kind": kind(found), "size": manifest.size, "platforms": [], "created": None, "attested": False,
        "members": [], "subject": manifest.subject,
    }  # fmt: skip
    if told["kind"] == INDEX:
        _add_members(manifests, manifest, told)
        return told
    told["size"] += sum(dict(manifest.blobs).values())
    if told["kind"] == CACHE:
        told["size"] += sum(child.size for child in manifest.children)
    elif told["kind"] == IMAGE and manifest.config:
        about = _config(manifests, manifest.config)
        told["platforms"] = [name] if (name := platform(about)) else []
        told["created"] = created(about.get("created"))
    return told


def _add_members(manifests: Manifests, manifest: Manifest, told: Facts) -> None:
    sizes = [0]
    for child in manifest.children:
        told["members"].append(child.digest)
        if child.attests:
            told["attested"] = True
            continue
        member = manifests.get(child.digest)
        sizes.append(member.size + sum(dict(member.blobs).values()))
        told["platforms"] += [child.platform] if child.platform else []
        if told["created"] is None and member.config:
            told["created"] = created(_config(manifests, member.config).get("created"))
    told["size"] += max(sizes)


def _config(manifests: Manifests, digest: str) -> dict[str, Any]:
    try:
        found = json.loads(manifests.content(digest, CONFIG_BYTES))
    except (UnreadableError, OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def created(text: object) -> int | None:
    """The time of RFC 3339 in seconds since 1970; None for none, and for the one that reproducible builds have."""
    found = TIME.match(text) if isinstance(text, str) else None
    if not found:
        return None
    try:
        seconds = calendar.timegm(time.strptime(found[1].upper(), "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None
    if found[2]:
        seconds -= int(f"{found[2]}1") * (int(found[3]) * 3600 + int(found[4]) * 60)
    return seconds if seconds > DAY else None
