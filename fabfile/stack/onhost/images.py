"""Images in a machine's Docker engine: what they are, and taking in an archive of them."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from ...machine.onhost.atomic import FULL, RefusedError

# What an image is made of. Its ID would not do: engines that keep images in containerd give the
# same image another one (docs.docker.com/engine/storage/containerd).
IDENTITY = "{{.Architecture}} {{json .RootFS.Layers}} {{json .Config.Env}} {{json .Config.Entrypoint}}"


def platform() -> str:
    """The platform of this machine's engine: `linux/amd64`."""
    return _docker("version", "--format", "{{.Server.Os}}/{{.Server.Arch}}")


def platforms(names: list[str]) -> dict[str, str]:
    """Name -> the platform that the image of that name is for."""
    form = "{{.Os}}/{{.Architecture}}"
    return {name: _docker("image", "inspect", "--format", form, name) for name in names}


def _docker(*args: str) -> str:
    try:
        done = subprocess.run(["docker", *args], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RefusedError("there is no docker", "install Docker") from None
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["docker does not answer"]
        raise RefusedError(words[-1], "is Docker running? docker info tells")
    return done.stdout.strip()


def identities(names: list[str]) -> dict[str, str]:
    """Name -> what the image of that name is; an image that is not here is left out."""
    found = {}
    for name in names:
        try:
            text = _docker("image", "inspect", "--format", IDENTITY, name)
        except RefusedError as error:
            if "No such image" not in error.what:
                raise
        else:
            found[name] = hashlib.sha256(text.encode()).hexdigest()
    return found


def received(archive: str) -> int:
    """How many bytes of an archive are here."""
    path = Path(archive)
    return path.stat().st_size if path.is_file() else 0


def load(archive: str, digest: str) -> None:
    """Check an archive and take its images in. It is removed, and so are others that were cut off.

    Raises RefusedError when it is not what was sent.
    """
    path = Path(archive)
    actual = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            actual.update(block)
    if actual.hexdigest() != digest:
        path.unlink()
        raise RefusedError(f"{path}: damaged on its way; it was thrown away", "run it again")
    done = subprocess.run(
        ["docker", "load", "--quiet", "--input", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RefusedError(f"docker load: {done.stderr.strip()}", FULL)
    for leftover in path.parent.iterdir():
        leftover.unlink()
