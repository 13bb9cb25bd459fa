"""nginx on the host: `up`, a new certificate, and the way back. The files: see generations.py."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

from ...accounts.onhost.roles import maps, variables
from ...machine.onhost import beneath
from ...machine.onhost.atomic import RefusedError, locked, replace
from ...machine.onhost.owner import WRITTEN, give, owned, settle
from ...machine.onhost.reserve import given, keep
from .containers import bring_up, containers, healthy, inside, nginx_container, ours_alone, project_of, run
from .generations import candidate, content, go_back, promote, synced
from .workers import began, children, workers

ACCOUNTS = "registry/auth/htpasswd"
MAPS = "accounts.conf"
OVERRIDE = "override.conf"
# Below the container's root: memory, where nginx remembers whose password was right.
REMEMBERED = "run/accounts"

TAKEOVER_SECONDS = 20


def up(directory: str, lineage: str, test: list[str], start: list[str]) -> dict[str, Any]:
    """Test the configuration that was synced, start the stack, reload where something changed.

    lineage: certbot's live directory of the certificate; it may be missing or empty.
    test, start: `docker compose` commands; `test` looks at nginx/next.
    Returns {"changed": [paths], "problem": why the newest certificate is not used, or "",
    "started": [services], "reloaded"}. Raises RefusedError when `nginx -t` says no: then the old
    configuration goes on, on disk too.
    """
    root = Path(directory)
    if not (root / "compose.yml").is_file():
        raise RefusedError(f"nothing is deployed in {root}", "./fab -H … bootstrap")
    if not (root / ACCOUNTS).is_file():
        # Without the file the registry would invent an account and log its password.
        raise RefusedError("there is no account yet", "./fab -H … htpasswd --user NAME")
    ours_alone(root, start)
    keep(root)
    with _lock(root), given(root):
        answer = promote(root, Path(lineage), _wanted(root), partial(_test, test))
        moved = settle(root)
        before = containers(start)
        after = _start(start)
        if moved:
            # What the old containers wrote while that was going on.
            give(root / "registry/data", WRITTEN["registry/data"])
        answer["started"] = sorted(name for name, there in after.items() if before.get(name) != there)
        answer["reloaded"] = bool(_load_or_go_back(root, project_of(start), answer["changed"]))
        _remember_started(root, after)
    return answer


def settled(directory: str, lineage: str) -> bool:
    """Whether `up` and `activate` would change nothing: all runs, and is what it should be."""
    root = Path(directory)
    try:
        started = json.loads((root / "nginx/started").read_text())
        wanted, problem = candidate(root, Path(lineage), _wanted(root))
        return (
            not problem
            and owned(root)
            and wanted == content(root / "nginx/live")
            and (root / "nginx/loaded").read_text() == str((root / "nginx/live").readlink())
            and started["compose"] == _digest(root)
            and started["containers"] == healthy(list(started["containers"]))
        )
    except (OSError, ValueError, RefusedError):
        return False


def prepare(directory: str, lineage: str, test: list[str]) -> None:
    """The first part of `up`, before anything runs: test what was synced and let it go live."""
    root = Path(directory)
    with _lock(root):
        promote(root, Path(lineage), _wanted(root), partial(_test, test))


def require_current(directory: str) -> None:
    """Raise RefusedError where nginx runs what knows accounts in another form than `maps` gives them now."""
    root = Path(directory)
    live = root / "nginx/live" / MAPS
    if not live.is_file() or not (root / ACCOUNTS).is_file():
        return
    if variables(live.read_bytes()) != variables(maps(root / ACCOUNTS)):
        raise RefusedError(
            "nothing was changed: nginx runs the configuration of another version of this tool",
            "./fab -H … sync up, then this again",
        )


def refresh(directory: str, test: list[str]) -> bool:
    """Have nginx know the accounts as they are now; from then on nothing else counts.

    test: a `docker compose` command. Returns whether a running nginx was told. Raises RefusedError
    where it could not be told: then what it remembers of passwords counts for five minutes more.
    """
    root = Path(directory)
    live = root / "nginx/live"
    if not (live / MAPS).is_file():
        return False
    with _lock(root):
        project = project_of(test)
        running = bool(nginx_container(project))
        config = {**_running(root), MAPS: maps(root / ACCOUNTS)}
        check = partial(_test, test) if running else lambda: None
        answer = promote(root, live / "tls", config, check)
        if not running:
            return False
        if master := _load_or_go_back(root, project, answer["changed"]):
            _forget(master)
    return True


def _running(root: Path) -> dict[str, bytes]:
    """The configuration that is live, without the certificate."""
    return {n: c for n, c in content(root / "nginx/live").items() if not n.startswith("tls/")}


def _wanted(root: Path) -> dict[str, bytes]:
    return {**synced(root), MAPS: maps(root / ACCOUNTS)}


def _forget(master: int) -> None:
    """Remove what a running nginx remembers: it is filed under older accounts, so nobody asks for it.

    The directory is its workers'. An absolute link in it would lead root to the host's own files.
    """
    with (
        contextlib.suppress(FileNotFoundError),
        beneath.directory(Path(f"/proc/{master}/root"), REMEMBERED) as directory,
    ):
        for name in os.listdir(directory):  # noqa: PTH208 - of a handle
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(name, dir_fd=directory)


def activate(directory: str, lineage: str, test: list[str]) -> dict[str, Any]:
    """Have the running nginx serve the newest certificate. See `up` for the arguments and results.

    The configuration stays the one that is live: a mistake in one that waits for `up` must never
    keep a renewed certificate from being served.
    """
    root = Path(directory)
    with _lock(root), given(root):
        config = _running(root)
        if "https.conf" not in config:
            # The first certificate brings the part that needs one, with all that it includes, of one version.
            config |= {name: data for name, data in _wanted(root).items() if name != OVERRIDE}
        answer = promote(root, Path(lineage), config, partial(_test, test))
        answer["reloaded"] = bool(_load_or_go_back(root, project_of(test), answer["changed"]))
    return answer


def _test(command: list[str]) -> None:
    try:
        inside(
            command,
            "nginx -t",
            "correct that line in deploy/ on your machine, then `sync up`; what ran before goes on",
        )
    except RefusedError as error:
        # The path in the container, told as the one below DEPLOY_DIR.
        told = re.sub(r"/\S*/nginx/next/", "nginx/", error.what)
        raise RefusedError(told, error.remedy) from None


def _lock(root: Path) -> Any:
    if not (root / "nginx/run").is_dir():
        raise RefusedError(f"nothing is deployed in {root}", "./fab -H … bootstrap")
    return locked(root / "nginx/run/.lock", 150)


def restore(directory: str, project: str) -> bool:
    """Have the project's nginx run what it ran before the last change again. False where there was nothing."""
    root = Path(directory)
    with _lock(root):
        if not go_back(root):
            return False
        _load(root, project)
    return True


def _load_or_go_back(root: Path, project: str, changed: list[str]) -> int:
    try:
        return _load(root, project)
    except RefusedError as error:
        if not changed or not go_back(root):
            raise
        told = f"{error.what}; what it ran before goes on, and is what it starts with"
        raise RefusedError(told, error.remedy) from None


def _start(start: list[str]) -> dict[str, str]:
    try:
        return bring_up(start)
    except RefusedError as error:
        if port := re.search(r":(80|443)\b.*(already allocated|already in use)", error.what):
            raise RefusedError(f"port {port[1]} is taken by somebody else", "./fab -H … check names it") from None
        raise


def _load(root: Path, project: str) -> int:
    """Reload unless nginx has the live configuration already. Returns the process that was told, or 0."""
    loaded = root / "nginx/loaded"
    digest = str((root / "nginx/live").readlink())
    if loaded.is_file() and loaded.read_text() == digest:
        return 0
    master = _master(project)
    old = workers(master)
    # As `nginx -s reload` does it (nginx(8)), without a trip through Docker.
    os.kill(master, signal.SIGHUP)
    _wait_for_takeover(master, old)
    replace(loaded, digest.encode(), 0o644)
    return master


def _master(project: str) -> int:
    """Process ID, on the host, of the project's nginx."""
    found = nginx_container(project)
    if not found:
        raise RefusedError("nginx does not run", "./fab -H … up")
    inspect = ["docker", "inspect", "--format", "{{.State.Pid}}", found]
    return int(run(inspect, "docker inspect", "./fab -H … check").stdout)


def renewed(project: str) -> dict[int, int]:
    """Have the project's nginx begin new processes, with what it runs already. Returns the old ones, for workers.alive.

    These go on until their last request is done. Raises RefusedError where nginx does not run.
    """
    master = _master(project)
    old = {pid: started for pid in children(master) if (started := began(pid))}
    serving = workers(master)
    os.kill(master, signal.SIGHUP)
    _wait_for_takeover(master, serving)
    return old


def _wait_for_takeover(master: int, old: set[int]) -> None:
    """`-s reload` only sends a signal: wait until no old worker takes a connection any more.

    Old workers finish what they are at, a long push for example; that is not waited for.
    """
    end = time.monotonic() + TAKEOVER_SECONDS
    while old & workers(master) or not workers(master):
        if time.monotonic() > end:
            if workers(master) - old:
                # An old one that does not end answers with what the new ones know of the accounts.
                return
            raise RefusedError("nginx does not take over the new configuration", "./fab -H … logs shows why")
        time.sleep(0.02)


def _remember_started(root: Path, containers: dict[str, str]) -> None:
    ids = [text.partition(" ")[0] for text in containers.values()]
    record = {"compose": _digest(root), "containers": healthy(ids)}
    replace(root / "nginx/started", json.dumps(record).encode(), 0o644)


def _digest(root: Path) -> str:
    return hashlib.sha256((root / "compose.yml").read_bytes()).hexdigest()
