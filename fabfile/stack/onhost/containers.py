"""Our containers on the host, by the `docker compose` commands that say which project is ours."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from ...machine.onhost.atomic import RefusedError, told_remedy

# How Docker says that an image cannot be had: no answer, no such name, too many questions.
NO_IMAGE = re.compile(
    r"^.*(Get \"https?://|pull access denied|manifest unknown|manifest for .* not found|toomanyrequests|"
    r"failed to resolve reference).*$",
    re.M,
)

TELLING = re.compile(r"\[emerg\]|\b[Ee]rror\b|level=fatal|^panic:")
READY_SECONDS = 120
HEALTH_SECONDS = 5
# How often a container may end at its start: another may be a moment late.
RESTARTS = 3
STALE = "does not see a disk that was mounted later"
NOT_STARTED = "./fab -H … logs shows why; ./fab -H … check finds its causes"


def ours_alone(root: Path, start: list[str]) -> None:
    """Refuse when somebody else's containers carry our project's name."""
    project = project_of(start)
    label = "com.docker.compose.project"
    row = f'{{{{.Names}}}} {{{{.Label "{label}.config_files"}}}}'
    listing = run(
        ["docker", "ps", "--all", "--filter", f"label={label}={project}", "--format", row],
        "docker ps",
        "./fab -H … check",
    ).stdout
    for line in listing.splitlines():
        name, _, files = line.partition(" ")
        if files != str(root / "compose.yml"):
            raise RefusedError(
                f"container {name} of another Compose project '{project}' ({files}) is in the way",
                "rename that project, or remove it, then run this again",
            )


def listed(ps: list[str]) -> list[dict[str, str]]:
    """Our containers, by a `docker compose … ps --format json`: service, id, image, state, health.

    Not those of a certbot or `nginx -t` run.
    """
    rows = _rows(ps)
    found = _inspected([row["id"] for row in rows])
    health = {each["Id"][:12]: STALE if _stale(each) else _health(each) for each in found}
    return [row | {"health": health.get(row["id"], "")} for row in rows]


def containers(start: list[str]) -> dict[str, str]:
    """Service -> container ID and whether it runs, of the project of a `docker compose … up` command."""
    ps = [*start[: start.index("up")], "ps", "--all", "--format", "json"]
    return {row["service"]: f"{row['id']} {row['state']}" for row in _rows(ps)}


def _rows(ps: list[str]) -> list[dict[str, str]]:
    text = run(ps, "docker compose ps", "./fab -H … check").stdout.strip()
    # One object a line; versions before 2.21 print one list, with fewer fields and longer IDs.
    rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    found = [
        {"service": row["Service"], "id": row["ID"][:12], "image": row.get("Image", ""), "state": row["State"]}
        for row in rows
        if "-run-" not in row["Name"] and row["Service"] != "certbot"
    ]
    return sorted(found, key=lambda row: str(row["service"]))


def bring_up(start: list[str]) -> dict[str, str]:
    """Run a `docker compose … up --detach`, and wait until every container passes its own health check.

    Docker's engine makes the first check when an interval is over, and each one costs 80 ms of CPU: so they
    are far apart, and here it is looked at once. Returns what `containers` does. Raises RefusedError with
    what its log says when a container does not stay up.
    """
    run(start, "docker compose up", NOT_STARTED)
    end = time.monotonic() + READY_SECONDS
    there = containers(start)
    waiting = [text.partition(" ")[0] for text in there.values()]
    while True:
        left = [each for each in _inspected(waiting) if _health(each) not in ("", "healthy")]
        if not left:
            return there
        late = left if time.monotonic() > end else []
        for each in late or [each for each in left if each["RestartCount"] >= RESTARTS]:
            name = each["Name"].lstrip("/")
            raise RefusedError(f"container {name} does not start: {_last_words(name)}", NOT_STARTED)
        waiting = [each["Id"] for each in left]
        time.sleep(0.1)


def _inspected(ids: list[str]) -> list[dict[str, Any]]:
    if not ids:
        return []
    found: list[dict[str, Any]] = json.loads(run(["docker", "inspect", *ids], "docker inspect", "").stdout)
    return found


def _health(found: dict[str, Any]) -> str:
    """Where Docker does not say `healthy`, that may be half a minute old: what its check finds now."""
    told = str((found["State"].get("Health") or {}).get("Status", ""))
    if told in ("", "healthy"):
        return told
    kind, *test = found["Config"]["Healthcheck"]["Test"]
    command = test if kind == "CMD" else ["sh", "-c", *test]
    try:
        done = subprocess.run(
            ["docker", "exec", found["Id"], *command],
            capture_output=True, stdin=subprocess.DEVNULL, timeout=HEALTH_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return told
    if done.returncode and (remedy := told_remedy(done.stderr.decode("utf-8", "replace"))):
        # Docker cannot ask it, however long that is waited for.
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1]
        raise RefusedError(f"docker exec: {said}", remedy)
    return told if done.returncode else "healthy"


def restart_stale(ids: list[str]) -> None:
    """Restart those of these containers that run, and see what was there before a disk was mounted."""
    if old := [each["Id"] for each in _inspected(ids) if _stale(each)]:
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


def _last_words(name: str) -> str:
    done = subprocess.run(
        ["docker", "logs", "--tail", "30", name],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return _telling(done.stdout or "its log is empty")


def _telling(text: str) -> str:
    """The line that says what is wrong, else the last one."""
    if found := [line.strip() for line in text.splitlines() if told_remedy(line)]:
        return found[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ([line for line in lines if TELLING.search(line)] or lines[-1:])[0]


def nginx_container(project: str) -> str:
    """ID of the running container of nginx of a Compose project, or nothing."""
    labels = (f"com.docker.compose.project={project}", "com.docker.compose.service=nginx", "com.docker.compose.oneoff=False")  # fmt: skip
    filters = [part for label in labels for part in ("--filter", f"label={label}")]
    ps = ["docker", "ps", "--quiet", "--no-trunc", *filters]
    return run(ps, "docker ps", "./fab -H … check").stdout.strip()


def healthy(ids: list[str]) -> dict[str, str]:
    """Container -> its image, of those that run, are healthy, and have the image that their name means now."""
    if not ids:
        return {}
    found = _inspected(ids)
    names = [each["Config"]["Image"] for each in found]
    ask = ["docker", "image", "inspect", "--format", "{{.Id}}", *names]
    current = run(ask, "docker image inspect", "").stdout.split()
    return {
        each["Id"][:12]: each["Image"]
        for each, now in zip(found, current, strict=True)
        if each["Image"] == now and each["State"]["Running"] and not _stale(each) and _health(each) == "healthy"
    }


def inside(command: list[str], what: str, remedy: str) -> None:
    """Run `docker compose … exec --no-TTY nginx …` as `docker exec`, which is there at once; others as they are."""
    if "exec" in command:
        container = nginx_container(project_of(command))
        if not container:
            raise RefusedError("nginx does not run", "./fab -H … up")
        command = ["docker", "exec", container, *command[command.index("exec") + 3 :]]
    run(command, what, remedy)


def project_of(command: list[str]) -> str:
    """Name of the Compose project that a `docker compose` command is about."""
    return command[command.index("--project-name") + 1]


def run(argv: list[str], what: str, remedy: str) -> subprocess.CompletedProcess[str]:
    """Run a docker command. Raises RefusedError with what it said, and the remedy for what is known."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        raise RefusedError("Docker is missing", "./fab -H … provision") from None
    if done.returncode:
        text = done.stderr.strip() or done.stdout.strip() or "no message"
        if "is not a docker command" in text or "unknown flag: --project-name" in text:
            raise RefusedError("Docker Compose version 2 is missing", "./fab -H … check")
        if re.search("Cannot connect to the Docker|failed to connect to the docker API", text):
            raise RefusedError("the Docker engine does not run", "./fab -H … check")
        if found := NO_IMAGE.search(text):
            raise RefusedError(
                f"an image cannot be pulled: {found[0].strip()}",
                "IMAGE_MIRROR or IMAGES=ship in .env helps where Docker Hub is out of reach; then run bootstrap again",
            )
        raise RefusedError(f"{what}: {_telling(text)}", told_remedy(text) or remedy)
    return done
