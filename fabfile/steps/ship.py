"""`ship`: the stack's images from the operator's Docker to the host, over the SSH connection."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .. import layout, report
from ..errors import StepError, UsageError
from ..machine.host import Host, here
from ..report import Outcome
from ..settings import Settings
from ..stack.onhost import images as onhost

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / layout.PROJECT
BLOCK = 1 << 20
MB = 1e6


def ship(host: Host, settings: Settings) -> Outcome:
    """Bring the images that the host lacks to it, from the Docker of the operator's machine.

    One compressed archive goes through the SSH connection. After a cut the next run sends only
    what is missing: the archive stays on both sides until it was loaded.
    Raises StepError where the operator's Docker has not got an image and cannot pull it.
    """
    names = list(settings.stack_images.values())
    ours = _identities(host, names)
    theirs = host.call(onhost.identities, names)
    missing = [name for name in names if ours[name] != theirs.get(name)]
    if not missing:
        return Outcome(f"all {len(names)} images are there, 0 bytes sent", changed=False)
    key = hashlib.sha256(json.dumps([(name, ours[name]) for name in missing]).encode()).hexdigest()
    archive = CACHE / f"{key[:16]}.tar.gz"
    _save(missing, archive)
    digest = _digest(archive)
    sent = _send(host, settings, archive)
    host.call(onhost.load, _remote(settings, archive), digest)
    # Another `ship`, to another server, may have been quicker.
    archive.unlink(missing_ok=True)
    return Outcome(f"{', '.join(missing)}: {sent / MB:.1f} MB sent ({sent} bytes)")


def _identities(host: Host, names: list[str]) -> dict[str, str]:
    """What each image is, on this machine; one that is not here is pulled, for the host's platform."""
    if by_digest := [name for name in names if "@" in name]:
        raise UsageError(f"IMAGES=ship: {by_digest[0]}: docker saves no digest", "name it by its tag")
    platform = host.call(onhost.platform)
    found = here().call(onhost.identities, names)
    for name in names:
        if name not in found:
            here().run(
                ["docker", "pull", "--quiet", "--platform", platform, name],
                remedy="IMAGES=ship takes the images from your own Docker: "
                f"set IMAGE_MIRROR, or docker load {name} from a file",
            )
    for name, other in here().call(onhost.platforms, names).items():
        if other != platform:
            raise StepError(
                f"{name} is here for {other}, and the server is {platform}",
                f"docker pull --platform {platform} {name}",
            )
    return here().call(onhost.identities, names)


def _save(names: list[str], archive: Path) -> None:
    """Write the images into a compressed file, unless it is there from a run that was cut off."""
    if archive.is_file():
        return
    archive.parent.mkdir(parents=True, exist_ok=True)
    draft = archive.with_suffix(f".{os.getpid()}.new")
    with (
        subprocess.Popen(["docker", "save", *names], stdout=subprocess.PIPE) as save,
        draft.open("wb") as raw,
    ):
        assert save.stdout is not None  # noqa: S101 - for the type checker
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as file:
            shutil.copyfileobj(save.stdout, file, BLOCK)
        # Half a file after a power cut would be taken for the whole, again and again.
        raw.flush()
        os.fsync(raw.fileno())
    if save.returncode:
        draft.unlink()
        raise StepError("this machine: docker save failed", "docker images shows what is there")
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
