"""What `check` says of Docker, Compose, Python and cron on a host."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..layout import MIN_COMPOSE, MIN_DOCKER, MIN_PYTHON, version
from ..settings import Settings
from .rows import Facts, Row, one

INSTALLED = "bootstrap installs it; alone: ./fab -H … provision"
STARTED = "bootstrap starts it; alone: ./fab -H … provision"
# Where `provision` has packages to install.
PROVISIONED_SYSTEMS = ("debian", "ubuntu")


def software(facts: Facts, settings: Settings) -> Iterator[Row]:
    """Facts -> rows."""
    yield _docker(facts, settings)
    compose, v1 = one(facts, "compose"), one(facts, "compose_v1")
    if compose and _version(compose) >= MIN_COMPOSE:
        yield Row("compose", "ok", compose)
    elif compose:
        yield Row("compose", "failed", compose, f"too old, {version(MIN_COMPOSE)} is needed: upgrade docker-compose-v2")
    else:
        yield _provisioned("compose", facts, f"only version 1 ({v1})" if v1 else "missing")
    yield _python(facts)
    yield Row("cron", "ok", "running") if one(facts, "cron") else _provisioned("cron", facts, "missing")


def _docker(facts: Facts, settings: Settings) -> Row:
    if impossible := _impossible(facts, settings):
        return impossible
    docker = one(facts, "docker")
    if docker and _version(docker) < MIN_DOCKER:
        remedy = f"too old, {version(MIN_DOCKER)} is needed: upgrade docker.io, or use Docker's own repository"
        return Row("docker", "failed", docker, remedy)
    if one(facts, "docker_denied"):
        return Row("docker", "failed", "no permission on its socket", "log in as root or use sudo")
    if not docker and one(facts, "docker_client"):
        return Row("docker", "warn", "the engine does not run", STARTED, provisioned=True)
    return Row("docker", "ok", docker) if docker else _provisioned("docker", facts, "missing")


def _impossible(facts: Facts, settings: Settings) -> Row | None:
    """The line about a Docker of a kind that cannot do what is needed; None for any other."""
    docker, kind = one(facts, "docker"), one(facts, "docker_kind")
    if kind == "podman":
        return Row(
            "docker",
            "failed",
            "Podman under the name of docker",
            "the registry needs Docker's own engine: apt-get remove podman-docker, then ./fab -H … provision",
        )
    if kind == "rootless":
        return Row(
            "docker",
            "failed",
            f"{docker}, rootless: it may not have ports 80 and 443, nor give files away",
            "the registry needs the engine that runs as root: unset DOCKER_HOST, docker context use default",
        )
    if kind == "snap" and not settings.deploy_dir.startswith("/home/"):
        return Row("docker", "failed", f"{docker or 'Docker'} from snap: it sees no file in {settings.deploy_dir}",
                   "snap remove docker (that takes its containers, too), then ./fab -H … provision")  # fmt: skip
    return None


def _python(facts: Facts) -> Row:
    python, lacks = one(facts, "python"), ", ".join(facts.get("python_lacks", ()))
    if python and _version(python) < MIN_PYTHON:
        return Row("python", "failed", python, f"{version(MIN_PYTHON)} is needed: upgrade the system")
    path = one(facts, "python_path")
    if lacks and path not in {"/usr/bin/python3", "/bin/python3"}:
        return Row(
            "python",
            "failed",
            f"{python} ({path}), without {lacks}",
            "the first python3 in root's PATH must be whole: move that one away, then ./fab -H … provision",
        )
    if lacks:
        return _provisioned("python", facts, f"{python}, without {lacks}", package="the package python3")
    return Row("python", "ok", python) if python else _provisioned("python", facts, "missing")


def _provisioned(name: str, facts: Facts, found: str, package: str = "it") -> Row:
    """A line about what `provision`, and so `bootstrap`, brings where it has packages for it."""
    if one(facts, "system").partition(" ")[0] not in PROVISIONED_SYSTEMS:
        what = {"compose": "Docker Compose 2", "docker": "Docker"}.get(name, name)
        return Row(name, "failed", found, f"install {what} by hand: provision knows Debian and Ubuntu alone")
    return Row(name, "warn", found, INSTALLED.replace("it;", f"{package};"), provisioned=True)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
