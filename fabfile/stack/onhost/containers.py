"""Our containers on the host: every `docker compose` command there is, and what it answers."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from ...layout import COMPOSE_FILE, HELD, PROJECT, Inside, Service
from ...machine.onhost.atomic import RefusedError, told_remedy
from .said import cannot_ask, full, telling

# How Docker says that an image cannot be had: no answer, no such name, too many questions.
NO_IMAGE = re.compile(
    r"^.*(Get \"https?://|pull access denied|manifest unknown|manifest for .* not found|toomanyrequests|"
    r"failed to resolve reference).*$",
    re.M,
)
NO_PULL = "an image cannot be pulled"
PORT_TAKEN = re.compile(r":(80|443)\b.*(already allocated|already in use)")
READY_SECONDS = 120
HEALTH_SECONDS = 5
# How often a container may end at its start: another may be a moment late.
RESTARTS = 3
STALE = "does not see a disk that was mounted later"
NOT_STARTED = "./fab -H … logs shows why; ./fab -H … check finds its causes"
CHECK = "./fab -H … check"
# In the name of a container that served, and ends once nobody needs it any more: see beside.py.
OLD = "-old-"
# Makes something of what a program said.
Told = Callable[[str], str]
CANDIDATE = ("-t", "-q", "-c", Inside.CANDIDATE)


def compose(root: Path, *args: str) -> list[str]:
    """`docker compose` for our project alone, whatever directory it is called from.

    root: DEPLOY_DIR. The empty --env-file keeps a stray `.env` in the directory out of it.
    """
    held = ("--file", str(root / HELD)) if (root / HELD).is_file() else ()
    return [
        "docker", "compose", "--ansi", "never", "--project-name", PROJECT,
        "--file", str(root / COMPOSE_FILE), *held, "--env-file", "/dev/null", *args,
    ]  # fmt: skip


def once(root: Path, *options: str) -> list[str]:
    """`docker compose run`: a container of its own for one command, which is gone with it."""
    return compose(root, "run", "--rm", "--no-deps", "--no-TTY", "--quiet-pull", *options)


def create(directory: str) -> None:
    """Make the containers, with their images, and start none: all that needs no port."""
    run(compose(Path(directory), "create"), "docker compose create", CHECK)


def down(directory: str) -> None:
    """Stop and remove the containers; data, accounts and certificates stay on disk."""
    # A push that runs would hold it up for as long as it takes.
    run(compose(Path(directory), "down", "--timeout", "10"), "docker compose down", CHECK)


def remove() -> None:
    """Stop and remove our containers, whatever has become of compose.yml. What fails is left as it is."""
    # Where no Compose file of some project lies about: it would be taken for ours.
    command = ["docker", "compose", "--project-name", PROJECT, "down"]
    subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, cwd="/", check=False)


def logs(directory: str, lines: int) -> str:
    """The last lines of every container's log. Changes nothing."""
    command = compose(Path(directory), "logs", "--no-color", "--timestamps", "--tail", str(lines))
    return run(command, "docker compose logs", CHECK).stdout


def try_alone(root: Path, told: Told = str, *, configuration: str = Inside.CANDIDATE) -> None:
    """`nginx -t` on the candidate configuration, in a container of its own: it works before nginx ever ran.

    The image is that which compose.yml names, whatever runs.
    """
    run(once(root, Service.NGINX, *CANDIDATE[:-1], configuration), "nginx -t", _correct, told)


def try_inside(told: Told = str) -> None:
    """The same in the container that runs: what waits for `up` in compose.yml has no part in it."""
    container = nginx_container()
    if not container:
        raise RefusedError("nginx does not run", "./fab -H … up")
    # Not by `docker compose exec`: this is there at once.
    run(["docker", "exec", container, "nginx", *CANDIDATE], "nginx -t", _correct, told)


def _correct(said: str) -> str:
    """What to do about a no of `nginx -t`. Where it is Docker that says it, no line in deploy/ is wrong."""
    ways = "correct that line in deploy/ on your machine, then `sync up`" if "nginx: " in said else CHECK
    return f"{ways}; what ran before goes on"


def ours_alone(root: Path) -> None:
    """Refuse when somebody else's containers carry our project's name."""
    label = "com.docker.compose.project"
    row = f'{{{{.Names}}}} {{{{.Label "{label}.config_files"}}}}'
    ask = ["docker", "ps", "--all", "--filter", f"label={label}={PROJECT}", "--format", row]
    for line in run(ask, "docker ps", CHECK).stdout.splitlines():
        name, _, files = line.partition(" ")
        # With held.yml there are two.
        if files.partition(",")[0] != str(root / COMPOSE_FILE):
            raise RefusedError(
                f"container {name} of another Compose project '{PROJECT}' ({files}) is in the way",
                "rename that project, or remove it, then run this again",
            )


class Row(TypedDict):
    """A container of ours, as `docker compose ps` has it. id: its first 12 digits."""

    service: str
    id: str
    image: str
    state: str


class Container(Row):
    """And how it is. health: '' where nothing looks after it."""

    health: str


def listed(directory: str) -> list[Container]:
    """Our containers. Not those of a certbot or `nginx -t` run."""
    rows = _rows(Path(directory))
    found = inspected([row["id"] for row in rows])
    health = {each["Id"][:12]: STALE if _stale(each) else _health(each) for each in found}
    return [{**row, "health": health.get(row["id"], "")} for row in rows]


def containers(root: Path) -> dict[str, str]:
    """Service -> container ID and whether it runs."""
    return {row["service"]: f"{row['id']} {row['state']}" for row in _rows(root)}


def _rows(root: Path) -> list[Row]:
    text = run(compose(root, "ps", "--all", "--format", "json"), "docker compose ps", CHECK).stdout.strip()
    # One object a line; versions before 2.21 print one list, with fewer fields and longer IDs.
    rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    found: list[Row] = [
        {"service": row["Service"], "id": row["ID"][:12], "image": row.get("Image", ""), "state": row["State"]}
        for row in rows
        if "-run-" not in row["Name"] and OLD not in row["Name"] and row["Service"] != Service.CERTBOT
    ]
    return sorted(found, key=lambda row: row["service"])


def start_missing(root: Path, scales: Mapping[str, int]) -> None:
    """Start what is not running. What runs stays as it is, whatever compose.yml says of it by now.

    scales: service -> how many containers of it there shall be.
    """
    counts = [part for name, count in scales.items() if count > 1 for part in ("--scale", f"{name}={count}")]
    run(compose(root, "up", "--detach", "--quiet-pull", "--no-recreate", *counts), "docker compose up", NOT_STARTED)


def await_healthy(ids: Sequence[str]) -> None:
    """Wait until every one of these containers passes its own health check.

    Docker's engine makes the first check when an interval is over, and each one costs 80 ms of CPU: so they
    are far apart, and here it is looked at once. Raises RefusedError with what its log says when a container does
    not stay up.
    """
    end = time.monotonic() + READY_SECONDS
    waiting = list(ids)
    while True:
        left = [each for each in inspected(waiting) if _health(each, strict=True) not in ("", "healthy")]
        if not left:
            return
        late = left if time.monotonic() > end else []
        for each in late or [each for each in left if each["RestartCount"] >= RESTARTS]:
            name = each["Name"].lstrip("/")
            raise RefusedError(f"container {name} does not start: {last_words(name)}", NOT_STARTED)
        waiting = [each["Id"] for each in left]
        time.sleep(0.1)


def ready(found: dict[str, Any]) -> bool:
    """Whether a container runs, and is healthy, as far as Docker and its own check know."""
    state = found["State"]
    return bool(state["Running"]) and not state.get("Restarting") and _health(found) in ("", "healthy")


def inspected(ids: Sequence[str]) -> list[dict[str, Any]]:
    """What Docker knows of these containers."""
    found: list[dict[str, Any]] = json.loads(
        run(["docker", "inspect", *ids], "docker inspect", "").stdout if ids else "[]"
    )
    return found


def _health(found: dict[str, Any], *, strict: bool = False) -> str:
    """Where Docker does not say `healthy`, that may be half a minute old: what its check finds now.

    strict: raise RefusedError where Docker cannot look at all.
    """
    told = str((found["State"].get("Health") or {}).get("Status", ""))
    if told in ("", "healthy"):
        return told
    kind, *test = (found["Config"].get("Healthcheck") or {}).get("Test") or ("NONE",)
    if not test:
        return told
    command = test if kind == "CMD" else ["sh", "-c", *test]
    try:
        done = subprocess.run(
            ["docker", "exec", found["Id"], *command],
            capture_output=True, stdin=subprocess.DEVNULL, timeout=HEALTH_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return told
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    if done.returncode and (error := cannot_ask(said)):
        # However long that is waited for.
        if strict:
            raise error
        return f"{told}: {error.what}: {error.remedies[0]}"
    return told if done.returncode else "healthy"


def restart_stale(ids: list[str]) -> None:
    """Restart those of these containers that run, and see what was there before a disk was mounted."""
    if old := [each["Id"] for each in inspected(ids) if _stale(each)]:
        run(["docker", "restart", *old], "docker restart", NOT_STARTED)


def _stale(found: dict[str, Any]) -> bool:
    """Whether a directory that it mounts is another one on the host by now. What it has is what was there first."""
    pid = found["State"]["Pid"] if found["State"]["Running"] else 0
    for mount in found["Mounts"] if pid else ():
        source = Path(mount.get("Source") or "/nothing")
        with contextlib.suppress(OSError):  # it ended in the meantime
            if source.is_dir() and not source.samefile(f"/proc/{pid}/root{mount['Destination']}"):
                return True
    return False


def last_words(name: str) -> str:
    """What the log of a container says is wrong."""
    done = subprocess.run(
        ["docker", "logs", "--tail", "30", name],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return telling(done.stdout or "its log is empty")


def nginx_container(service: str = Service.NGINX) -> str:
    """ID of the running container of nginx, or of another service, or nothing."""
    labels = (f"project={PROJECT}", f"service={service}", "oneoff=False")
    filters = [part for label in labels for part in ("--filter", f"label=com.docker.compose.{label}")]
    return run(["docker", "ps", "--quiet", "--no-trunc", *filters], "docker ps", CHECK).stdout.strip()


def healthy(ids: Sequence[str]) -> dict[str, str]:
    """Container -> its image, of those that run, are healthy, and see the disks that are there."""
    return {each["Id"][:12]: each["Image"] for each in inspected(ids) if ready(each) and not _stale(each)}


def run(argv: list[str], what: str, remedy: str | Told, told: Told = str) -> subprocess.CompletedProcess[str]:
    """Run a docker command. Raises RefusedError with what it said, and the remedy for what is known.

    remedy: for all else, or what makes it of what was said; told: makes of what it said what is told of it.
    """
    try:
        done = subprocess.run(
            argv, capture_output=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError:
        raise RefusedError("Docker is missing", "./fab -H … provision") from None
    if done.returncode:
        text = told(done.stderr.strip() or done.stdout.strip() or "no message")
        if "is not a docker command" in text or re.search("unknown flag: --(ansi|project-name)", text):
            raise RefusedError("Docker Compose version 2 is missing", "./fab -H … provision")
        if re.search("Cannot connect to the Docker|failed to connect to the docker API", text):
            raise RefusedError("the Docker engine does not run", CHECK)
        if error := full(text):
            raise error
        if found := NO_IMAGE.search(text):
            raise RefusedError(
                f"{NO_PULL}: {found[0].strip()}",
                "IMAGE_MIRROR or IMAGES=ship in .env helps where Docker Hub is out of reach; then run bootstrap again",
            )
        if port := PORT_TAKEN.search(text):
            raise RefusedError(f"port {port[1]} is taken by somebody else", "./fab -H … check names it")
        otherwise = remedy if isinstance(remedy, str) else remedy(text)
        raise RefusedError(f"{what}: {telling(text)}", told_remedy(text) or otherwise)
    return done
