"""Two containers of one service beside each other: the one that serves, and another that shall, or did.

Compose makes the second one, so that it is as compose.yml says. Their names tell them apart:
PROJECT-registry-1       serves
PROJECT-registry-2, …    was made a moment ago, and serves nobody yet
PROJECT-registry-old-ID  served, and ends once nobody needs it any more
A registry listens on sockets/registry/ID.sock, and sockets/registry/registry.sock is a link to that of the one that
serves: nginx goes where it leads. `auth` has the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypedDict

from ... import layout
from ...layout import PROJECT, PROXY_PORT, Service
from ...machine.onhost import beneath
from ...machine.onhost.atomic import RefusedError, replace
from . import held
from .containers import CHECK, NOT_STARTED, OLD, compose, inspected, run

SOCKETS = {Service.REGISTRY: layout.REGISTRY_SOCKETS, Service.AUTH: layout.AUTH_SOCKETS}
# Longer than a container may take until it is healthy.
HOLD_SECONDS = 180
# Of a socket: its flag where somebody accepts connections (unix), and its state (tcp). nginx's ports there.
ACCEPTS, LISTENS, PORTS = "00010000", "0A", ("0050", "01BB", f"{PROXY_PORT:04X}")


class Found(TypedDict):
    """A container of a service that serves. id: 12 digits, as its socket has them; image: its ID; named: its name."""

    id: str
    service: str
    name: str
    image: str
    named: str
    hash: str
    running: bool
    number: int


def there() -> list[Found]:
    """All of them, in the order in which Compose made them."""
    label = "com.docker.compose."
    filters = [f"label={label}project={PROJECT}", f"label={label}oneoff=False"]
    ask = ["docker", "ps", "--all", "--quiet", "--no-trunc", *(part for f in filters for part in ("--filter", f))]
    found: list[Found] = [
        {
            "id": each["Id"][:12], "service": labels.get(f"{label}service", ""), "name": each["Name"].lstrip("/"),
            "image": each["Image"], "named": each["Config"]["Image"], "hash": labels.get(f"{label}config-hash", ""),
            "running": each["State"]["Running"],
            "number": int(labels.get(f"{label}container-number", "1")),
        }
        for each in inspected(run(ask, "docker ps", CHECK).stdout.split())
        for labels in [each["Config"]["Labels"] or {}]
    ]  # fmt: skip
    return sorted((each for each in found if each["service"] in Service.SERVING), key=lambda each: each["number"])


def usable(found: Found) -> bool:
    """Whether somebody may be served by it: it runs, and listens (proc(5), net/unix and net/tcp).

    Not by its own check: on a full disk, or where all is slow, that fails although it serves.
    """
    state = inspected([found["id"]])[0]["State"]
    if not state["Running"] or state.get("Restarting"):
        return False
    if found["service"] == Service.NGINX:
        return listening(int(state["Pid"])) > 0
    try:
        lines = Path(f"/proc/{state['Pid']}/net/unix").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    place = f"{layout.Inside.SOCKETS}/{found['service']}/"
    return any(f" {ACCEPTS} " in line and place in line for line in lines)


def listening(pid: int, state: str = LISTENS) -> int:
    """How many TCP sockets of nginx's ports are in that state, in the network of a process."""
    return sum(each.state == state for each in sockets(pid))


class Socket(NamedTuple):
    """unsent: bytes that the other side has not confirmed; unread: bytes, or of one that listens, connections."""

    state: str
    other: str
    unsent: int
    unread: int


def sockets(pid: int) -> Iterator[Socket]:
    """TCP sockets of nginx's ports, in the network of a process (proc(5), net/tcp)."""
    for file in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{file}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].rpartition(":")[2] in PORTS:
                    unsent, unread = (int(digits, 16) for digits in fields[4].split(":"))
                    yield Socket(fields[3], fields[2], unsent, unread)


def old(found: Iterable[Found]) -> list[Found]:
    """Those that served."""
    return [each for each in found if OLD in each["name"]]


def serving(root: Path, found: Iterable[Found]) -> dict[str, Found]:
    """Service -> the one that serves, or would: where the link leads, else the first that runs, else the first."""
    chosen: dict[str, Found] = {}
    for service in Service.SERVING:
        ours = [each for each in found if each["service"] == service and OLD not in each["name"]]
        led = _led(root, service)
        order = sorted(ours, key=lambda each: (each["id"] != led, not each["running"], each["number"]))
        if order:
            chosen[service] = order[0]
    return chosen


def tidy(root: Path) -> list[Found]:
    """Clear up after a run that was cut off. Returns those that served and still run."""
    (root / layout.HOLD).unlink(missing_ok=True)
    found = there()
    chosen = serving(root, found)
    for each in found:
        serves = each["id"] == chosen.get(each["service"], each)["id"]
        ends = OLD in each["name"] and each["running"]
        if not serves and not ends:
            remove(each)
    for each in chosen.values():
        rename(each, f"{PROJECT}-{each['service']}-1")
    for name in astray(root, [each["id"] for each in chosen.values() if each["running"]]):
        lead(root, chosen[name])
    _sweep(root, {each["id"] for each in found})
    return [each for each in old(found) if each["running"]]


def remove(found: Found) -> None:
    """Away with it, whatever it is at."""
    run(["docker", "rm", "--force", "--volumes", found["id"]], "docker rm", CHECK)


def rename(found: Found, name: str) -> None:
    """Give it that name, which nobody has."""
    if found["name"] != name:
        run(["docker", "rename", found["id"], name], "docker rename", CHECK)
        found["name"] = name


def obsolete(root: Path, chosen: Mapping[str, Found]) -> list[str]:
    """Services whose container is not what compose.yml says: its image, or anything else.

    What an image is counts, and not its name. What `up` started with the very compose.yml that is there is
    what it says.
    """
    if not chosen:
        return []
    images = held.identities(held.wanted(root))
    same = _started(root)
    if all(each["id"] in same for each in chosen.values()):
        return [name for name, each in chosen.items() if each["image"] != images.get(name)]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"services": {name: {"image": each["named"]} for name, each in chosen.items()}}, file)
        file.flush()
        argv = compose(root, "--file", file.name, "config", "--hash", "*")
        hashes = dict(line.split() for line in run(argv, "docker compose config", CHECK).stdout.splitlines())
    return [
        name for name, each in chosen.items() if each["image"] != images.get(name) or each["hash"] != hashes.get(name)
    ]


def _started(root: Path) -> set[str]:
    """The containers that `up` started with the compose.yml that is there (generations.py)."""
    try:
        record = json.loads((root / layout.STARTED).read_text())
        return {*record["containers"]} if record["compose"] == held.digest(root) else set()
    except (OSError, ValueError, LookupError, TypeError):
        return set()


def make(root: Path, service: str, *, start: bool = True) -> Found:
    """Another container of that service, as compose.yml says, beside those that are there. Raises RefusedError."""
    before = {each["id"]: each for each in there() if each["service"] == service}
    how = ["--detach"] if start else ["--no-start"]
    options = ["--quiet-pull", "--no-deps", "--no-recreate", "--scale", f"{service}={len(before) + 1}"]
    run(compose(root, "up", *how, *options, service), "docker compose up", NOT_STARTED)
    new = [each for each in there() if each["service"] == service and each["id"] not in before]
    if len(new) != 1:
        raise RefusedError(f"docker compose up made {len(new)} containers of {service} beside the old one", CHECK)
    return new[0]


@contextlib.contextmanager
def holding(root: Path) -> Iterator[None]:
    """What starts meanwhile takes no requests, even if we are killed: for a while."""
    replace(root / layout.HOLD, f"{int(time.time()) + HOLD_SECONDS}\n".encode(), 0o644)
    try:
        yield
    finally:
        (root / layout.HOLD).unlink(missing_ok=True)


def lead(root: Path, found: Found) -> None:
    """Let the requests go to that container, from the next connection on."""
    service = found["service"]
    with beneath.directory(root, SOCKETS[service]) as handle:
        draft = f".{found['id']}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=handle)
        os.symlink(f"{found['id']}.sock", draft, dir_fd=handle)
        os.rename(draft, f"{service}.sock", src_dir_fd=handle, dst_dir_fd=handle)


def astray(root: Path, ids: Collection[str]) -> list[str]:
    """Services whose link leads to none of these containers, although one of them listens there.

    ids: of those that run.
    """
    found = []
    for service, place in SOCKETS.items():
        with contextlib.suppress(OSError), beneath.directory(root, place) as handle:
            listens = {name.removesuffix(".sock") for name in os.listdir(handle)} & {*ids}  # noqa: PTH208
            found += [service] if listens and _led(root, service) not in listens else []
    return found


def succeed(previous: Found, new: Found) -> None:
    """The names that say that one serves in the place of the other. The one of before is started by nobody again."""
    run(["docker", "update", "--restart", "no", previous["id"]], "docker update", CHECK)
    rename(previous, f"{PROJECT}-{previous['service']}{OLD}{previous['id']}")
    rename(new, f"{PROJECT}-{new['service']}-1")


def _led(root: Path, service: str) -> str:
    """The ID of the container that the link leads to, or ''."""
    if service not in SOCKETS:
        return ""
    try:
        with beneath.directory(root, SOCKETS[service]) as handle:
            return os.readlink(f"{service}.sock", dir_fd=handle).removesuffix(".sock")
    except OSError:
        return ""


def _sweep(root: Path, ids: set[str]) -> None:
    """Remove the sockets of containers that are gone."""
    for service, place in SOCKETS.items():
        with contextlib.suppress(OSError), beneath.directory(root, place) as handle:
            for name in os.listdir(handle):  # noqa: PTH208 - of an open directory
                gone = name.endswith(".sock") and name not in {f"{service}.sock", *(f"{id}.sock" for id in ids)}
                if gone and stat.S_ISSOCK(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=handle)
