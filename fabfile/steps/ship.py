"""`ship`: the stack's images from the operator's Docker to the host, over the SSH connection."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .. import layout, report
from ..errors import StepError, UsageError
from ..machine.host import Host, here
from ..machine.onhost.atomic import told_remedy
from ..machine.remote_call import Call
from ..report import Outcome
from ..settings import Settings
from ..stack.onhost import images as onhost

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / layout.PROJECT
BLOCK = 1 << 20
MB = 1e6


def looks(names: list[str]) -> list[Call]:
    """What `ship` asks of the server, for Host.foresee."""
    return [(onhost.identities, (names,), {}), (onhost.platform, (), {})]


def ship(host: Host, settings: Settings) -> Outcome:
    """Bring the images that the host lacks to it, from the Docker of the operator's machine.

    Each goes as one compressed archive through the SSH connection. After a cut the next run sends only
    what is missing: the archive stays on both sides until it was loaded. Where the host has all images the
    operator's machine needs neither them nor Docker.
    Raises StepError where the operator's Docker has not got an image and cannot pull it.
    """
    names = list(settings.stack_images.values())
    if by_digest := [name for name in names if "@" in name]:
        raise UsageError(f"IMAGES=ship: {by_digest[0]}: docker saves no digest", "name it by its tag")
    host.foresee(looks(names))
    theirs, platform = host.call(onhost.identities, names), host.call(onhost.platform)
    try:
        can = here().call(onhost.abilities)
        ours = _ours(names, platform, can)
    except StepError as error:
        if len(theirs) < len(names):
            raise
        return Outcome(f"all {len(names)} images are there ({error.what}), 0 bytes sent", changed=False)
    missing = [name for name in names if name not in theirs or ours.get(name, theirs[name]) != theirs[name]]
    if not missing:
        return Outcome(f"all {len(names)} images are there, 0 bytes sent", changed=False)
    ours |= _pulled([name for name in missing if name not in ours], platform, can)
    of_platform = ["--platform", platform] if can["containerd"] and can["save"] else []
    counts = [_brought(host, settings, name, ours[name], of_platform) for name in missing]
    details = [f"sent     {name}: {sent} of {size} bytes" for name, (sent, size) in zip(missing, counts, strict=True)]
    total = sum(sent for sent, _ in counts)
    return Outcome(f"{', '.join(missing)}: {total / MB:.1f} MB sent ({total} bytes)", details=details)


def _ours(names: list[str], platform: str, can: dict[str, bool]) -> dict[str, str]:
    """What each image is on this machine; without those that are not here, or not for that platform."""
    found = here().call(onhost.identities, names, platform if can["inspect"] else "")
    if can["inspect"]:
        return found
    suiting = here().call(onhost.platforms, list(found))
    return {name: identity for name, identity in found.items() if suiting[name] == platform}


def _pulled(names: list[str], platform: str, can: dict[str, bool]) -> dict[str, str]:
    """Pull what is not here, for the host's platform. Raises StepError where that leads nowhere."""
    if not names:
        return {}
    if can["containerd"] and not can["save"] and platform != here().call(onhost.platform):
        # Seen with 26.1: it saves what belongs to its own processor, or an archive that no Docker takes.
        raise StepError(
            f"{names[0]}: this machine's Docker cannot pack it for {platform}: it keeps images in containerd, "
            "and only Docker 28 and later saves another platform than its own from there",
            "upgrade Docker here; or run this from a machine like the server; or IMAGE_MIRROR and IMAGES=pull; or take "
            "containerd-snapshotter out of /etc/docker/daemon.json here and pull the images again",
        )
    strange = {} if can["containerd"] else here().call(onhost.platforms, list(here().call(onhost.identities, names)))
    for name in names:
        if name in strange:
            raise StepError(
                f"{name} is here for {strange[name]}, and the server is {platform}",
                f"docker pull --platform {platform} {name}",
            )
        here().run(
            ["docker", "pull", "--quiet", "--platform", platform, name],
            remedy="IMAGES=ship takes the images from your own Docker: "
            f"set IMAGE_MIRROR, or docker load {name} from a file",
        )
    found = _ours(names, platform, can)
    for name in names:
        if name not in found:
            raise StepError(
                f"{name} was pulled, and is not here for {platform}", f"docker image inspect {name} shows it"
            )
    return found


def _brought(host: Host, settings: Settings, name: str, identity: str, options: list[str]) -> tuple[int, int]:
    """Bring one image to the host. Returns the bytes that were sent, and those of the whole."""
    key = hashlib.sha256(json.dumps([name, identity]).encode()).hexdigest()
    archive = CACHE / f"{key[:16]}.tar.gz"
    _save(name, options, archive)
    size, digest = archive.stat().st_size, _digest(archive)
    sent = _send(host, settings, archive)
    refused = host.call(onhost.load, _remote(settings, archive), digest, name)
    # Another `ship`, to another server, may have been quicker; and what was refused once would be again.
    archive.unlink(missing_ok=True)
    if refused:
        remedy = told_remedy(refused) or f"docker image inspect {name} shows it"
        raise StepError(f"{host.name}: docker load: {refused}", f"{remedy}; then run it again: it is packed anew")
    return sent, size


def _save(name: str, options: list[str], archive: Path) -> None:
    """Write an image into a compressed file, unless it is there from a run that was cut off.

    One alone: Podman under docker's name makes one image of three that are saved together.
    """
    if archive.is_file():
        return
    archive.parent.mkdir(parents=True, exist_ok=True)
    draft = archive.with_suffix(f".{os.getpid()}.new")
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(["docker", "save", *options, name], stdout=subprocess.PIPE, stderr=said) as save,
        draft.open("wb") as raw,
    ):
        assert save.stdout is not None  # noqa: S101 - for the type checker
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as file:
            shutil.copyfileobj(save.stdout, file, BLOCK)
        # Half a file after a power cut would be taken for the whole, again and again.
        raw.flush()
        os.fsync(raw.fileno())
        code = save.wait()
        said.seek(0)
        words = onhost.said_last(said.read())
    if code:
        draft.unlink()
        raise StepError(
            f"this machine: docker save {name}: {words or 'no message'}",
            f"docker image inspect {name} shows what is there",
        )
    draft.replace(archive)


def _send(host: Host, settings: Settings, archive: Path) -> int:
    """Send what the host has not got of the archive yet. Returns the number of bytes sent."""
    target = _remote(settings, archive)
    size = archive.stat().st_size
    there = host.call(onhost.received, target)
    there = there if there <= size else 0
    with archive.open("rb") as file, report.transfer("images", size, there) as advance:
        file.seek(there)

        def blocks() -> Iterator[bytes]:
            while block := file.read(BLOCK):
                yield block
                advance(len(block))

        host.append(target, there, blocks())
    return size - there


def _remote(settings: Settings, archive: Path) -> str:
    return f"{settings.deploy_dir}/{layout.IMAGES}/{archive.name}"


def _digest(archive: Path) -> str:
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
