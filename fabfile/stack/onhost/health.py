"""How our containers are, beyond whether they run: for `doctor`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, TypedDict

from ...layout import DATA, HTTP_SECRET, Service
from ...machine.onhost.atomic import RefusedError
from .beside import there
from .containers import CHECK, inspected, run

VARIABLE = "REGISTRY_HTTP_SECRET"


class Health(TypedDict):
    """What is known. problem: why nothing is, or ''.

    other_secret: containers of the registry that run with another http.secret than the file has. strangers: running
    containers of others that have the images mounted.
    """

    problem: str
    other_secret: list[str]
    strangers: list[str]


def health(directory: str) -> Health:
    """See Health. Changes nothing."""
    found: Health = {"problem": "", "other_secret": [], "strangers": []}
    root = Path(directory)
    try:
        ours = {each["id"]: each["service"] for each in there()}
        every = inspected(run(["docker", "ps", "--quiet", "--no-trunc"], "docker ps", CHECK).stdout.split())
    except RefusedError as error:
        return {**found, "problem": error.what}
    for each in every:
        service = ours.get(each["Id"][:12])
        if service == Service.REGISTRY and _has_other_secret(root, each["State"]["Pid"]):
            found["other_secret"].append(_name(each))
        if service is None and _mounts(each, root / DATA) and not _one_off(each):
            found["strangers"].append(_name(each))
    return found


def _name(each: dict[str, Any]) -> str:
    return str(each["Name"]).lstrip("/")


def _one_off(each: dict[str, Any]) -> bool:
    return (each["Config"]["Labels"] or {}).get("com.docker.compose.oneoff") == "True"


def _has_other_secret(root: Path, pid: int) -> bool:
    """Of the process itself, as it was started."""
    with contextlib.suppress(OSError):
        secret = (root / HTTP_SECRET).read_bytes().strip()
        started = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        said = [each.partition(b"=")[2].strip() for each in started if each.startswith(f"{VARIABLE}=".encode())]
        return bool(said) and said[0] != secret
    return False


def _mounts(each: dict[str, Any], data: Path) -> bool:
    """Whether a container has the images, or what they lie in, or a part of them; the whole disk is no registry's."""
    place = os.path.realpath(data)
    for mount in each["Mounts"]:
        source = os.path.realpath(mount.get("Source") or "/")
        if source != "/" and mount.get("RW") and (place == source or os.path.commonpath([place, source]) == place):
            return True
    return False
