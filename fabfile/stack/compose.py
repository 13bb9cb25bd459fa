"""The `docker compose` commands, as lists of arguments. Nothing here runs anything."""

from __future__ import annotations

from ..settings import Settings

# Not `docker-registry`: the old scripts' project has that name, after its directory.
PROJECT = "private-docker-registry"

# Paths inside the containers; deploy/compose.yml.j2 mounts them.
NGINX_DIR = "/etc/docker-registry/nginx"
WEBROOT = "/var/www/certbot"
HOOKS = "/hooks"
REHEARSAL = "/rehearsal"
SOCKETS = "/sockets"
BLOBS = "/blobs"
USES = "/uses"


def compose(settings: Settings, *args: str) -> list[str]:
    """`docker compose` for our project alone, whatever directory it is called from.

    The empty --env-file keeps a stray `.env` in the directory out of it.
    """
    return [
        "docker", "compose", "--ansi", "never", "--project-name", PROJECT,
        "--file", f"{settings.deploy_dir}/compose.yml", "--env-file", "/dev/null", *args,
    ]  # fmt: skip


def up(settings: Settings) -> list[str]:
    """Start what is not running, replace what changed. That all is healthy, `bring_up` waits for."""
    return compose(settings, "up", "--detach", "--quiet-pull")


def create(settings: Settings) -> list[str]:
    """Make the containers, with their images, and start none: all that needs no port."""
    return compose(settings, "create")


def down(settings: Settings) -> list[str]:
    """Stop and remove the containers; data, accounts and certificates stay on disk."""
    return compose(settings, "down")


def remove() -> list[str]:
    """Stop and remove our containers, whatever has become of compose.yml."""
    return ["docker", "compose", "--project-name", PROJECT, "down"]


def logs(settings: Settings, lines: int) -> list[str]:
    """The last lines of every container's log."""
    return compose(settings, "logs", "--no-color", "--timestamps", "--tail", str(lines))


def containers(settings: Settings) -> list[str]:
    """Our containers, one JSON object a line."""
    return compose(settings, "ps", "--all", "--format", "json")


def running(settings: Settings, service: str) -> list[str]:
    """The ID of the service's container, when it runs."""
    return compose(settings, "ps", "--quiet", "--status", "running", service)


def nginx_test(settings: Settings) -> list[str]:
    """`nginx -t` on the candidate configuration, in a container of its own: it works before nginx ever ran."""
    return compose(
        settings, "run", "--rm", "--no-deps", "--no-TTY", "--quiet-pull",
        "nginx", "-t", "-q", "-c", f"{NGINX_DIR}/next/nginx.conf",
    )  # fmt: skip


def nginx_test_running(settings: Settings) -> list[str]:
    """The same in the container that runs: what waits for `up` in compose.yml has no part in it."""
    return compose(
        settings, "exec", "--no-TTY", "nginx", "nginx", "-t", "-q", "-c", f"{NGINX_DIR}/next/nginx.conf",
    )  # fmt: skip
