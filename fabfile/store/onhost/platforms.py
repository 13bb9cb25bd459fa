"""Who pulled an image that has nothing for the processor of their machine: for `doctor`. Changes nothing."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import TypedDict

from ...layout import USES_LOG
from .manifests import LARGEST, UnreadableError, platform
from .walk import Manifests

# How far back the uses log is read, in bytes: some twenty thousand uses.
TAIL = 4 << 20
# Docker's own says it: `docker/26.1.5 go/go1.22 … os/linux arch/arm64 UpstreamClient(Docker-Client/26.1.5 …)`.
AGENT = re.compile(r"docker/\S+ .*\bos/linux arch/(\w+)\b")
# Docker Desktop runs a foreign one, too.
EMULATES = ("darwin", "windows")
# What a processor runs beside its own.
ALSO = {"arm64": {"arm"}, "amd64": {"386"}}


class Misfit(TypedDict):
    """image: REPOSITORY:TAG, or by digest. has: its platforms. wants: the processor. times: how often it was pulled."""

    image: str
    has: list[str]
    wants: str
    times: int


def misfits(root: Path, manifests: Manifests, revisions: set[str]) -> list[Misfit]:
    """See Misfit. root: DEPLOY_DIR; revisions: digests of manifests, as layers are in the log, too."""
    text = ""
    with contextlib.suppress(OSError), Path(root, USES_LOG).open("rb") as log:
        log.seek(max(0, log.seek(0, 2) - TAIL))
        text = log.read().decode("utf-8", "replace")
    found: list[Misfit] = []
    for (image, digest, wants), times in pulls(text).items():
        has = platforms(manifests, digest) if digest in revisions else []
        runs = {wants, *ALSO.get(wants, ())}
        if has and not any(each.split("/")[1] in runs for each in has if "/" in each):
            found.append({"image": image, "has": has, "wants": wants, "times": times})
    return found


def pulls(text: str) -> Counter[tuple[str, str, str]]:
    """(image, digest, processor) -> how often docker pulled it there. text: of the uses log, see uses.py."""
    found: Counter[tuple[str, str, str]] = Counter()
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 8 or fields[2] != "GET" or any(word in fields[7] for word in EMULATES):
            continue
        if agent := AGENT.match(fields[7]):
            _, _, _, repository, reference, digest, _, _ = fields
            image = f"{repository}@{reference}" if ":" in reference else f"{repository}:{reference}"
            found[image, digest, agent[1]] += 1
    return found


def platforms(manifests: Manifests, digest: str) -> list[str]:
    """Of a manifest: `linux/amd64`; [] where it does not say, as a layer, or is gone."""
    try:
        manifest = manifests.get(digest)
        if manifest.children:
            return sorted({each.platform for each in manifest.children} - {""})
        said = platform(json.loads(manifests.content(manifest.config, LARGEST))) if manifest.config else ""
    except (UnreadableError, OSError, ValueError, AttributeError):
        return []
    return [said] if said else []
