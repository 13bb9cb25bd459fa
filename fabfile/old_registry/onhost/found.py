"""What the old scripts left on the host: containers, repositories, files. Only reads."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TypedDict

from ...layout import PROJECT
from ...machine.onhost import beneath
from ...registry.onhost.schema1 import Found
from ...stack.onhost.containers import run
from ...stack.onhost.sync import LARGEST

# What would make the old data something else than files in registry/data.
STRANGE = (
    "REGISTRY_PROXY_",
    "REGISTRY_STORAGE_S3",
    "REGISTRY_STORAGE_GCS",
    "REGISTRY_STORAGE_AZURE",
)


class Container(TypedDict):
    """One of the old ones. restart: Docker's policy. strange: what says that its data is not in registry/data."""

    id: str
    name: str
    image: str
    running: bool
    restart: str
    strange: list[str]


class Old(TypedDict):
    """The old layout.

    accounts: the file's name. entries: its lines. cron: root's lines that name the directory. strange: variables
    or files of a registry that keeps its data elsewhere. owner: whose the directory is when it is not root's.
    ours: whether it is one of ours that was never adopted. schema1: images in that format.
    """

    repositories: list[str]
    accounts: str
    entries: list[str]
    containers: list[Container]
    strange: list[str]
    cron: list[str]
    owner: str
    ours: bool
    schema1: Found


class Kept(TypedDict):
    """The record of an `adopt`: what every version wrote."""

    containers: list[Container]
    files: list[str]
    placeholder: str
    accounts: bool
    owners: dict[str, list[int]]


class Record(Kept, total=False):
    """And what some did. mode: of `registry`, before there were `modes`. cron: see crontab.Plan."""

    switched: bool
    modes: dict[str, int]
    mode: int
    taken: dict[str, list[int]]
    cron: list[list[str]]


def repositories(root: Path) -> list[str]:
    """The names of the repositories, as the registry's own layout has them."""
    found = subprocess.run(
        ["find", "-P", str(root), "-type", "d", "-name", "_*", "-prune", "-name", "_manifests", "-printf", "%P\\0"],
        capture_output=True,
        check=False,
    )
    names = [os.fsdecode(name) for name in found.stdout.split(b"\0") if name]
    return sorted(name.rpartition("/")[0] for name in names)


def containers(root: Path) -> list[Container]:
    """Containers of others than us that mount something below the directory."""
    if not shutil.which("docker"):
        return []
    ids = docker("ps", "--all", "--quiet", "--no-trunc").split()
    found: list[Container] = []
    for each in json.loads(docker("inspect", *ids)) if ids else []:
        labels = each["Config"]["Labels"] or {}
        sources = [Path(mount.get("Source", "")) for mount in each["Mounts"] or ()]
        if labels.get("com.docker.compose.project") == PROJECT:
            continue
        if any(source == root or root in source.parents for source in sources):
            variables = [text.partition("=")[0] for text in each["Config"]["Env"] or ()]
            elsewhere = [key for key in variables if key.startswith(STRANGE)]
            elsewhere += [str(file) for file in sources if _is_elsewhere(file)]
            found.append(
                {
                    "id": each["Id"],
                    "name": each["Name"].lstrip("/"),
                    "image": each["Config"]["Image"],
                    "running": each["State"]["Running"],
                    "restart": each["HostConfig"]["RestartPolicy"]["Name"] or "no",
                    "strange": elsewhere,
                }
            )
    # The web server goes last and comes first: so the ports are free for the shortest time.
    return sorted(found, key=lambda each: ("nginx" in each["image"], each["name"]))


def _is_elsewhere(file: Path) -> bool:
    """Whether a mounted registry configuration keeps images in some cloud, or is a cache of others."""
    if file.suffix not in (".yml", ".yaml") or not file.is_file():
        return False
    text = beneath.text(file.parent, file.name)
    return re.search(r"(?m)^\s*(s3|gcs|azure|swift|oss|proxy)\s*:", text) is not None


def docker(*args: str) -> str:
    """What a docker command prints. Raises RefusedError when it fails."""
    return run(["docker", *args], f"docker {args[0]}", "./fab -H … check").stdout


def lines(root: Path, name: str) -> list[str]:
    """The lines of a file below the directory, but for empty ones."""
    found = beneath.text(root, name, LARGEST).split("\n")
    return [line.rstrip("\r") for line in found if line.strip()]
