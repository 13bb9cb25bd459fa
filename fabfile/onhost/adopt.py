"""Carries out `adopt` on the host: what the old scripts left here, a record of it, and the way back.

.adopt/record.json   what was found and stopped: containers with their restart policies, crontab
.adopt/files/        copies of the old files whose names are ours now
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .atomic import RefusedError, replace

OLD_ACCOUNTS = ("registry/auth/registry.password", "registry/auth/htpasswd")
MARK = "# taken over by private-docker-registry: "
# What would make the old data something else than files in registry/data.
STRANGE = (
    "REGISTRY_PROXY_",
    "REGISTRY_STORAGE_S3",
    "REGISTRY_STORAGE_GCS",
    "REGISTRY_STORAGE_AZURE",
)


def inspect(directory: str, project: str) -> dict[str, Any]:
    """What is there of the old layout. Changes nothing.

    project: our own Compose project, whose containers do not count. Returns {"repositories",
    "accounts": the file's name, "entries": its lines, "containers", "cron": root's lines that name the
    directory, "strange": variables of a registry that keeps its data elsewhere, "ours": whether it is
    one of ours that was never adopted}.
    """
    root = Path(directory)
    containers = _containers(root, project)
    accounts = next((name for name in OLD_ACCOUNTS if (root / name).is_file()), "")
    return {
        "repositories": _repositories(root / "registry/data/docker/registry/v2/repositories"),
        "accounts": accounts,
        "entries": _lines(root / accounts) if accounts else [],
        "containers": containers,
        "strange": sorted({key for each in containers for key in each.pop("strange")}),
        "cron": [line for line in _crontab() if _names(line, root)],
        "ours": (root / ".sync").is_dir() and not (root / ".adopt/record.json").is_file(),
    }


def require(directory: str) -> None:
    """Raise RefusedError unless something was adopted in that directory."""
    _record(Path(directory))


def record(directory: str, containers: list[dict[str, Any]], files: list[str], domain: str) -> None:
    """Write down what will be stopped, and copy what will be overwritten. A record that is there stays.

    domain: of a certificate that has no renewal settings, a placeholder of the old scripts: it is moved
    aside, because certbot does not take its place.
    """
    root = Path(directory)
    work = root / ".adopt"
    if (work / "record.json").is_file():
        return
    work.mkdir(mode=0o700, exist_ok=True)
    for name in files:
        copy = work / "files" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, copy)
    conf = root / "certbot/conf"
    placeholder = ""
    if (conf / "live" / domain).is_dir() and not (conf / f"renewal/{domain}.conf").is_file():
        placeholder = domain
    content = {
        "containers": containers,
        "files": files,
        "placeholder": placeholder,
        "accounts": (root / OLD_ACCOUNTS[1]).is_file(),
    }
    replace(work / "record.json", json.dumps(content, indent=1).encode(), 0o600)
    if placeholder:
        (conf / "live" / domain).rename(work / "placeholder")


def accounts(directory: str) -> int:
    """Give the registry the old accounts, unless it has accounts already. Returns how many lines."""
    root = Path(directory)
    old, new = root / OLD_ACCOUNTS[0], root / OLD_ACCOUNTS[1]
    if new.is_file() or not old.is_file():
        return 0
    replace(new, old.read_bytes(), 0o600)
    return len(_lines(new))


def switch(directory: str) -> list[str]:
    """Stop the old containers, for good, and take their lines out of root's crontab.

    Returns the names of those that ran. They are kept: `back` starts them again.
    """
    root = Path(directory)
    there = [each for each in _record(root)["containers"] if _exists(each["id"])]
    ids = [each["id"] for each in there]
    stopped = []
    if ids:
        running = _docker("ps", "--quiet", "--no-trunc").split()
        stopped = [str(each["name"]) for each in there if each["id"] in running]
        _docker("update", "--restart", "no", *ids)
        # All at once: every second counts, and the old loops do not listen to a polite request.
        _docker("stop", "--time", "5", *ids)
    lines = _crontab()
    ours = [
        MARK + line if _names(line, root) and not line.startswith("#") else line for line in lines
    ]
    _write_crontab(lines, ours)
    return stopped


def restart(directory: str) -> list[str]:
    """Start the old containers again, as they were, and give their lines back to root's crontab."""
    root = Path(directory)
    started = []
    for each in _record(root)["containers"]:
        if _exists(each["id"]):
            _docker("update", "--restart", each["restart"], each["id"])
            if each["running"]:
                _docker("start", each["id"])
                started.append(each["name"])
    lines = _crontab()
    _write_crontab(lines, [line.removeprefix(MARK) for line in lines])
    return started


def restore(directory: str, synced: list[str]) -> None:
    """Take our files away and put the old ones in their places.

    synced: what `sync` wrote. Images and certificates stay: both layouts keep them alike.
    """
    root = Path(directory)
    kept = _record(root)
    for name in synced:
        if name not in kept["files"]:
            (root / name).unlink(missing_ok=True)
    for name in ("nginx/live", "nginx/next", "nginx/loaded"):
        (root / name).unlink(missing_ok=True)
    shutil.rmtree(root / "nginx/run", ignore_errors=True)
    _remove_empty(root, {parent for name in synced for parent in Path(name).parents})
    for name in kept["files"]:
        replace(root / name, (root / ".adopt/files" / name).read_bytes(), _mode(root, name))
    if not kept["accounts"]:
        # The old file counts again, and is what another `adopt` begins with.
        (root / OLD_ACCOUNTS[1]).unlink(missing_ok=True)
    if kept["placeholder"]:
        place = root / "certbot/conf/live" / kept["placeholder"]
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            (root / ".adopt/placeholder").rename(place)


def forget(directory: str) -> None:
    """Remove the record: there is nothing to go back from any more."""
    root = Path(directory)
    shutil.rmtree(root / ".adopt", ignore_errors=True)
    shutil.rmtree(root / ".sync", ignore_errors=True)


def _remove_empty(root: Path, directories: set[Path]) -> None:
    for directory in sorted(directories - {Path()}, reverse=True):
        with contextlib.suppress(OSError):  # something else is in it
            (root / directory).rmdir()


def _mode(root: Path, name: str) -> int:
    return (root / ".adopt/files" / name).stat().st_mode & 0o777


def _record(root: Path) -> dict[str, Any]:
    file = root / ".adopt/record.json"
    if not file.is_file():
        raise RefusedError(
            f"{root}: nothing was adopted here", "./fab -H … adopt shows what could be"
        )
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _repositories(root: Path) -> list[str]:
    """The names of the repositories, as the registry's own layout has them."""
    found = []
    for path, directories, _ in os.walk(root):
        if "_manifests" in directories:
            found.append(str(Path(path).relative_to(root)))
        directories[:] = [name for name in directories if not name.startswith("_")]
    return sorted(found)


def _containers(root: Path, project: str) -> list[dict[str, Any]]:
    """Containers of others that mount something below the directory."""
    if not shutil.which("docker"):
        return []
    ids = _docker("ps", "--all", "--quiet", "--no-trunc").split()
    found = []
    for each in json.loads(_docker("inspect", *ids)) if ids else []:
        labels = each["Config"]["Labels"] or {}
        sources = [Path(mount.get("Source", "")) for mount in each["Mounts"]]
        if labels.get("com.docker.compose.project") == project:
            continue
        if any(source == root or root in source.parents for source in sources):
            variables = [text.partition("=")[0] for text in each["Config"]["Env"] or ()]
            found.append(
                {
                    "id": each["Id"],
                    "name": each["Name"].lstrip("/"),
                    "image": each["Config"]["Image"],
                    "running": each["State"]["Running"],
                    "restart": each["HostConfig"]["RestartPolicy"]["Name"] or "no",
                    "strange": [key for key in variables if key.startswith(STRANGE)],
                }
            )
    # The web server goes last and comes first: so the ports are free for the shortest time.
    return sorted(found, key=lambda each: ("nginx" in str(each["image"]), str(each["name"])))


def _exists(container: str) -> bool:
    listing = _docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"id={container}")
    return bool(listing.strip())


def _docker(*args: str) -> str:
    done = subprocess.run(["docker", *args], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RefusedError(f"docker {args[0]}: {last}", "./fab -H … check")
    return done.stdout


def _names(line: str, root: Path) -> bool:
    """Whether a line of a crontab is about that directory and no other that begins like it."""
    return any(
        word.rstrip("/") == str(root) or word.startswith(f"{root}/") for word in line.split()
    )


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text("utf-8", "replace").splitlines() if line.strip()]


def _crontab() -> list[str]:
    if not shutil.which("crontab"):
        return []
    done = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def _write_crontab(before: list[str], after: list[str]) -> None:
    if before != after:
        text = "".join(f"{line}\n" for line in after)
        subprocess.run(["crontab", "-"], input=text, text=True, capture_output=True, check=True)
