"""Our containers on the host, by the `docker compose` commands that say which project is ours."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from .atomic import RefusedError

# How Docker says that an image cannot be had: no answer, no such name, too many questions.
NO_IMAGE = re.compile(
    r"^.*(Get \"https?://|pull access denied|manifest unknown|manifest for .* not found|toomanyrequests|"
    r"failed to resolve reference).*$",
    re.M,
)


def ours_alone(root: Path, start: list[str]) -> None:
    """Refuse when somebody else's containers carry our project's name."""
    project = start[start.index("--project-name") + 1]
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


def containers(start: list[str]) -> dict[str, str]:
    """Service -> container ID, of the project that the `docker compose … up` command is about."""
    ps = [*start[: start.index("up")], "ps", "--all", "--format", "json"]
    text = run(ps, "docker compose ps", "./fab -H … check").stdout.strip()
    # One object a line; versions before 2.21 print one list.
    rows = (
        json.loads(text)
        if text.startswith("[")
        else [json.loads(line) for line in text.splitlines()]
    )
    return {
        row["Service"]: f"{row['ID']} {row['State']}" for row in rows if "-run-" not in row["Name"]
    }


def nginx_container(command: list[str]) -> str:
    """ID of the running container of nginx, of the project that a `docker compose` command is about."""
    project = command[command.index("--project-name") + 1]
    labels = (f"com.docker.compose.project={project}", "com.docker.compose.service=nginx", "com.docker.compose.oneoff=False")  # fmt: skip
    filters = [part for label in labels for part in ("--filter", f"label={label}")]
    ps = ["docker", "ps", "--quiet", "--no-trunc", *filters]
    return run(ps, "docker ps", "./fab -H … check").stdout.strip()


def healthy(ids: list[str]) -> dict[str, str]:
    """Container -> its image, of those that run, are healthy, and have the image that their name means now."""
    if not ids:
        return {}
    row = "{{slice .Id 0 12}} {{.Image}} {{.State.Running}} {{with .State.Health}}{{.Status}}{{end}} {{.Config.Image}}"
    listing = run(["docker", "inspect", "--format", row, *ids], "docker inspect", "").stdout
    found = [line.split(" ", 4) for line in listing.splitlines()]
    names = [name for *_, name in found]
    ask = ["docker", "image", "inspect", "--format", "{{.Id}}", *names]
    current = run(ask, "docker image inspect", "").stdout.split()
    return {
        container: image
        for (container, image, running, health, _), now in zip(found, current, strict=True)
        if (image, running, health) == (now, "true", "healthy")
    }


def inside(command: list[str], what: str, remedy: str) -> None:
    """Run `docker compose … exec --no-TTY nginx …` as `docker exec`, which is there at once; others as they are."""
    if "exec" in command:
        container = nginx_container(command)
        if not container:
            raise RefusedError("nginx does not run", "./fab -H … up")
        command = ["docker", "exec", container, *command[command.index("exec") + 3 :]]
    run(command, what, remedy)


def run(argv: list[str], what: str, remedy: str) -> subprocess.CompletedProcess[str]:
    """Run a docker command. Raises RefusedError with what it said, and the remedy for what is known."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
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
                "IMAGE_MIRROR or IMAGES=ship in .env helps where Docker Hub is out of reach; "
                "then run bootstrap again",
            )
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        telling = [line for line in lines if re.search(r"\[emerg\]|\b[Ee]rror\b", line)]
        raise RefusedError(f"{what}: {(telling or lines[-1:])[0]}", remedy)
    return done
