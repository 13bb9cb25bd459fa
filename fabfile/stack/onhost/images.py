"""Images in a machine's Docker engine: what they are, and taking in an archive of them."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

from ...machine.onhost.atomic import RefusedError

# What an image is made of. Its ID would not do: engines that keep images in containerd give the
# same image another one (docs.docker.com/engine/storage/containerd).
IDENTITY = "{{.Architecture}} {{json .RootFS.Layers}} {{json .Config.Env}} {{json .Config.Entrypoint}}"


# What docker, and podman under its name, say of an image that is not here.
MISSING = re.compile(r"no such image|no such object|image not known", re.I)


def platform() -> str:
    """The platform of this machine's engine: `linux/amd64`."""
    return _docker("version", "--format", "{{.Server.Os}}/{{.Server.Arch}}")


def platforms(names: list[str]) -> dict[str, str]:
    """Name -> the platform that the image of that name is for."""
    form = "{{.Os}}/{{.Architecture}}"
    return {name: _docker("image", "inspect", "--format", form, name) for name in names}


def abilities() -> dict[str, bool]:
    """What this machine's Docker can do. containerd: it keeps images there, of several platforms under one name;
    save, inspect: it takes --platform with that command (Docker 28 and later).
    """
    return {
        "containerd": "io.containerd.snapshotter" in _told("info", "--format", "{{json .DriverStatus}}"),
        "save": "--platform" in _told("save", "--help"),
        "inspect": "--platform" in _told("image", "inspect", "--help"),
    }


def _told(*args: str) -> str:
    try:
        done = subprocess.run(["docker", *args], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def _docker(*args: str) -> str:
    try:
        done = subprocess.run(["docker", *args], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RefusedError("there is no docker", "install Docker") from None
    if done.returncode:
        said = said_last(done.stderr) or "docker does not answer"
        if "permission denied" in said and ".sock" in said:
            raise RefusedError(
                "you may not use Docker here", "sudo usermod --append --groups docker $USER, then log in again"
            )
        raise RefusedError(said, "is Docker running? docker info tells")
    return done.stdout.strip()


def unwarned(errors: str) -> str:
    """What a client of Docker printed on standard error, without its warnings: these have words of errors in them."""
    lines = (line.strip() for line in errors.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith(("WARNING", "time=")))


def said_last(errors: str) -> str:
    """The last line of `unwarned`; '' where there is none."""
    return unwarned(errors).rpartition("\n")[2]


def identities(names: list[str], platform: str = "") -> dict[str, str]:
    """Name -> what the image of that name is; an image that is not here is left out.

    platform: of an engine that has one name for several, ask for that one.
    """
    found = {}
    option = ["--platform", platform] if platform else []
    for name in names:
        try:
            text = _docker("image", "inspect", "--format", IDENTITY, *option, name)
        except RefusedError as error:
            if not MISSING.search(error.what):
                raise
        else:
            found[name] = hashlib.sha256(text.encode()).hexdigest()
    return found


def received(archive: str) -> int:
    """How many bytes of an archive are here."""
    path = Path(archive)
    return path.stat().st_size if path.is_file() else 0


def load(archive: str, digest: str, name: str) -> str:
    """Check an archive and take its image in, under that name. It is removed, and so are others that were cut off.

    Returns '', or why Docker does not take it. Raises RefusedError when it is not what was sent.
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
        path.unlink()
        return said_last(done.stderr) or "it failed without a word"
    # Podman says localhost/ before a name without a host.
    loaded = re.findall(r"^Loaded image(?: ID)?: (\S+)", done.stdout, re.M)
    if loaded and name not in loaded:
        _docker("tag", loaded[0], name)
        if loaded[0].startswith("localhost/"):
            _docker("image", "rm", loaded[0])
    for leftover in path.parent.iterdir():
        leftover.unlink()
    return ""
