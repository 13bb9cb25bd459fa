"""How our containers are, beyond whether they run: for `doctor`."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path
from typing import Any, TypedDict

from ...layout import DATA, HTTP_SECRET, Service
from ...machine.onhost.atomic import RefusedError
from . import upgrades
from .beside import there
from .containers import CHECK, OLD, inspected, run
from .traffic import Traffic, traffic

VARIABLE = "REGISTRY_HTTP_SECRET"
# Of the kernel's log: what is older is history.
DAY = 86400.0
KILLED = re.compile(r"^\[ *(\d+\.\d+)\] .*\boom-kill:constraint=CONSTRAINT_MEMCG,.*?([0-9a-f]{64})")


class Trouble(TypedDict):
    """A container that did not do well. restarts: by itself, as it had ended. killed: processes, for want of memory.

    limit: its memory, in bytes.
    """

    service: str
    restarts: int
    killed: int
    limit: int


class Health(TypedDict):
    """What is known. problem: why nothing is, or ''.

    other_secret: containers of the registry that run with another http.secret than the file has. strangers: running
    containers of others that have the images mounted. versions: service -> version. traffic: where nginx runs.
    """

    problem: str
    troubles: list[Trouble]
    other_secret: list[str]
    strangers: list[str]
    versions: dict[str, list[int]]
    traffic: Traffic | None


def health(directory: str) -> Health:
    """See Health. directory: DEPLOY_DIR. Changes nothing."""
    found: Health = {
        "problem": "", "troubles": [], "other_secret": [], "strangers": [], "versions": {}, "traffic": None,
    }  # fmt: skip
    root = Path(directory)
    try:
        ours, every = _containers()
    except RefusedError:
        try:
            # One that ended between two questions is none the second time.
            ours, every = _containers()
        except RefusedError as error:
            return {**found, "problem": error.what}
    found["versions"] = upgrades.versions(directory)
    killed = kills(_kernel_log(), _uptime())
    for each in every:
        service = ours.get(each["Id"][:12])
        if service and (trouble := _trouble(each, service, killed.get(each["Id"], 0))):
            found["troubles"].append(trouble)
        if service == Service.REGISTRY and _has_other_secret(root, each["State"]["Pid"]):
            found["other_secret"].append(_name(each))
        if service == Service.NGINX:
            found["traffic"] = traffic(each)
        if service is None and _mounts(each, root / DATA) and not _of_ours(each, root):
            found["strangers"].append(_name(each))
    return found


def _containers() -> tuple[dict[str, str], list[dict[str, Any]]]:
    """ID -> service, of ours; and all that run, as `docker inspect` has them."""
    ours = {each["id"]: each["service"] for each in there() if OLD not in each["name"]}
    return ours, inspected(run(["docker", "ps", "--quiet", "--no-trunc"], "docker ps", CHECK).stdout.split())


def _name(each: dict[str, Any]) -> str:
    return str(each["Name"]).lstrip("/")


def _trouble(each: dict[str, Any], service: str, killed: int) -> Trouble | None:
    killed = max(killed, oom_kills(_cgroup(each["State"]["Pid"])), int(each["State"]["OOMKilled"]))
    restarts = int(each["RestartCount"])
    if not killed and not restarts:
        return None
    return {"service": service, "restarts": restarts, "killed": killed, "limit": int(each["HostConfig"]["Memory"])}


def _cgroup(pid: int) -> str:
    """What the kernel counted of a container's memory: memory.events, or memory.oom_control of version 1."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                return Path(f"/sys/fs/cgroup{path}/memory.events").read_text()
            if "memory" in controllers.split(","):
                return Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control").read_text()
    return ""


def oom_kills(text: str) -> int:
    """How many processes were killed, by memory.events or memory.oom_control."""
    found = re.search(r"^oom_kill (\d+)$", text, re.M)
    return int(found[1]) if found else 0


def _kernel_log() -> str:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        argv = ["dmesg"]
        done = subprocess.run(argv, capture_output=True, encoding="utf-8", errors="replace", timeout=5, check=False)
        return done.stdout
    return ""


def _uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


def kills(log: str, uptime: float) -> dict[str, int]:
    """ID of a container -> processes in it that the kernel killed for want of memory, within the last day.

    log: what dmesg prints, with seconds since the start; uptime: now, in these.
    """
    found: dict[str, int] = {}
    for line in log.splitlines():
        if (kill := KILLED.match(line)) and float(kill[1]) > uptime - DAY:
            found[kill[2]] = found.get(kill[2], 0) + 1
    return found


def _of_ours(each: dict[str, Any], root: Path) -> bool:
    """A run of ours for one command, or one of ours that ends."""
    labels = each["Config"]["Labels"] or {}
    return str(labels.get("com.docker.compose.project.config_files", "")).startswith(f"{root}/")


def _has_other_secret(root: Path, pid: int) -> bool:
    """Of the process itself, as it was started."""
    with contextlib.suppress(OSError):
        secret = (root / HTTP_SECRET).read_bytes().strip()
        started = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        said = [each.partition(b"=")[2].strip() for each in started if each.startswith(f"{VARIABLE}=".encode())]
        return bool(said) and said[0] != secret
    return False


def _mounts(each: dict[str, Any], data: Path) -> bool:
    """Whether a container may write to the images, or a part of them."""
    place = os.path.realpath(data)
    sources = [os.path.realpath(mount["Source"]) for mount in each["Mounts"] if mount.get("Source") and mount.get("RW")]
    return any(os.path.commonpath([place, source]) == place for source in sources)
