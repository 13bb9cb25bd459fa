"""Which image each service shall run: that of compose.yml, or the one before it, as that one was no good.

held.yml is read by Compose too (containers.compose). It counts until `upgrade` takes it away, or until .env names
another image.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import layout
from ...layout import PROJECT, Service
from ...machine.onhost.atomic import RefusedError, replace
from .containers import CHECK, run

IMAGE_LINE = re.compile(r"^    image: (\S+)$", re.M)


def digest(root: Path) -> str:
    """Of all that Compose reads."""
    files = [root / name for name in (layout.COMPOSE_FILE, layout.HELD)]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files if file.is_file())).hexdigest()


def named(root: Path) -> dict[str, str]:
    """Service -> the image that compose.yml names."""
    names: dict[str, str] = {}
    for block in re.split(r"^  (?=[a-z]+:$)", (root / layout.COMPOSE_FILE).read_text(), flags=re.M):
        if found := IMAGE_LINE.search(block):
            names[block.partition(":")[0]] = found[1]
    return names


def wanted(root: Path) -> dict[str, str]:
    """Service that serves -> the image that it shall run."""
    names = named(root)
    return {name: names[name] for name in Service.SERVING if name in names} | held(root)


def held(root: Path) -> dict[str, str]:
    """Service -> the image that it has instead of that of compose.yml."""
    return {name: str(each["image"]) for name, each in _read(root)["services"].items()}


def instead(directory: str) -> dict[str, str]:
    """Service -> the image that it has been held back from. Changes nothing."""
    root = Path(directory)
    return {name: named(root).get(name, "") for name in held(root)}


def hold(root: Path, images: Mapping[str, str]) -> None:
    """Let these services run these images. images: service -> ID.

    Each gets a name of its own, so that nobody removes it as one that has none.
    """
    names = named(root)
    kept = {name: image for name, image in images.items() if image != identities({name: names[name]}).get(name)}
    if not kept:
        release(root)
        return
    services = {name: {"image": keep(name, image)} for name, image in kept.items()}
    content = {"services": services, "x-instead": {name: names[name] for name in kept}}
    replace(root / layout.HELD, f"{json.dumps(content, indent=1)}\n".encode(), 0o644)


def release(root: Path) -> None:
    """Let all run what compose.yml names."""
    (root / layout.HELD).unlink(missing_ok=True)


def outdated(root: Path) -> None:
    """Forget what was held instead of an image that compose.yml does not name any more."""
    found, names = _read(root), named(root)
    if any(names.get(name) != instead for name, instead in found["x-instead"].items()):
        release(root)


def keep(service: str, image: str) -> str:
    """Give an image a name of ours, and return that. Raises RefusedError where it is gone."""
    run(["docker", "tag", image, kept(service, image)], "docker tag", CHECK)
    return kept(service, image)


def kept(service: str, image: str) -> str:
    """That name. image: ID."""
    return f"{PROJECT}/{service}:{image.partition(':')[2][:12]}"


def identities(names: Mapping[str, str]) -> dict[str, str]:
    """Service -> the ID of the image of that name, where it is here."""
    found: dict[str, str] = {}
    for name in set(names.values()):
        with contextlib.suppress(RefusedError):
            ask = ["docker", "image", "inspect", "--format", "{{.Id}}", name]
            found[name] = run(ask, "docker image inspect", "").stdout.strip()
    return {service: found[name] for service, name in names.items() if name in found}


def _read(root: Path) -> dict[str, dict[str, Any]]:
    nothing: dict[str, dict[str, Any]] = {"services": {}, "x-instead": {}}
    try:
        found = json.loads((root / layout.HELD).read_text())
        return {part: dict(found[part]) for part in nothing}
    except (OSError, ValueError, LookupError, TypeError):
        return nothing
