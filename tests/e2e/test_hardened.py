"""Servers that somebody hardened, or set up in another way: umask, userns-remap, Docker from snap, a broken config."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .test_operators import anna, as_anna, may
from .test_refusals import run
from .world import DEPLOY_DIR, PROJECT, World, wait_until

__all__ = ["anna"]  # a fixture


@contextmanager
def masked(world: World, umask: str, home: str = "/root") -> Iterator[None]:
    """A umask in the first line of that user's start file."""
    world.server(f"cp {home}/.bashrc /tmp/rc; sed -i '1i umask {umask}' {home}/.bashrc")
    try:
        yield
    finally:
        world.server(f"cat /tmp/rc >{home}/.bashrc")


@pytest.mark.long
@pytest.mark.parametrize("umask", ["027", pytest.param("077", marks=pytest.mark.long)])
def test_a_narrow_umask(clean: World, umask: str) -> None:
    """On a clean server, and on one that an earlier version left with a directory that no container may enter."""
    with masked(clean, umask):
        assert clean.server("bash -c '. ~/.bashrc; umask'").strip().endswith(umask)
        assert "equal" in clean.bootstrap()
        clean.fab("htpasswd", "--user", "ci", input="x-secret\n")
        clean.server(f"cd {DEPLOY_DIR} && umask {umask} && ./inv renew")
        assert clean.login("ci", "x-secret") == 200
        clean.fab("down")
        mode = "750" if umask == "027" else "700"
        clean.server(f"cd {DEPLOY_DIR} && chmod {mode} registry/config certbot/www certbot/hooks nginx registry/auth")
        again = clean.bootstrap()
        assert "mode     registry/config" in again
        assert "equal" in again
        assert clean.login("ci", "x-secret") == 200
        last = re.sub(" +", " ", clean.fab("bootstrap").stdout)
        assert re.search(r"same .* sync .* up to date", last), last


@pytest.mark.long
def test_a_narrow_umask_of_a_sudo_user(anna: World) -> None:
    may(anna, "anna ALL=(ALL) NOPASSWD: ALL")
    with masked(anna, "077", "/home/anna"):
        done = run(*as_anna(anna), "bootstrap")
        assert done.returncode == 0, done.stderr
    assert anna.status("/v2/") == 401


@contextmanager
def daemon(world: World, script: str) -> Iterator[None]:
    """Another configuration of Docker's engine, which begins anew with it."""

    def restart() -> None:
        world.server("service docker restart >/dev/null 2>&1")
        wait_until(lambda: "up" in world.server("docker ps >/dev/null 2>&1 && echo up", check=False), "Docker answers")

    world.server(f"cp /etc/docker/daemon.json /root/daemon.json; {script}")
    try:
        restart()
        yield
    finally:
        world.clean()
        world.server("cp /root/daemon.json /etc/docker/daemon.json")
        restart()


@pytest.mark.long
def test_userns_remap(clean: World) -> None:
    remap = 'sed -i \'s/^{/{"userns-remap": "default", /\' /etc/docker/daemon.json'
    with daemon(clean, remap):
        assert "name=userns" in clean.server("docker info -f '{{.SecurityOptions}}'")
        clean.sandbox.carry_stack()
        clean.fab("check")
        assert "equal" in clean.bootstrap()
        clean.fab("renew", "--dry-run")
        clean.fab("status")
        assert re.search(r"same +\S+ s +up ", clean.fab("bootstrap").stdout)


def test_without_its_secret_the_registry_does_not_start(deployed: World) -> None:
    """One that it makes up for itself would be another one after each start, and of another registry's."""
    secret = f"{DEPLOY_DIR}/registry/secrets/http-secret"
    count = f"docker inspect -f '{{{{.RestartCount}}}}' {PROJECT}-registry-1"
    for spoil in (f"chmod 0 {secret}; chown 0 {secret}", f": >{secret}"):
        deployed.server(f"cp -p {secret} /root/secret; {spoil}; docker restart {PROJECT}-registry-1")
        try:
            wait_until(
                lambda: "http-secret" in deployed.server(f"docker logs --tail 5 {PROJECT}-registry-1 2>&1"),
                "it is told",
            )

            wait_until(lambda: int(deployed.server(count)) > 0, "it ended")
            assert deployed.login("demo", "x") != 200
        finally:
            deployed.server(f"cp -p /root/secret {secret}; docker restart {PROJECT}-registry-1")
    deployed.fab("up")


def test_a_docker_that_cannot_work_is_named(clean: World) -> None:
    """The client's place tells of snap; what it warns of on standard error is no version."""
    clean.server("mkdir -p /snap/bin && mv /usr/bin/docker /snap/bin/ && ln -s /snap/bin/docker /usr/bin/docker")
    try:
        refused = clean.fab("check", ok=False)
        assert re.search(r"failed  docker +26\S+ from snap: it sees no file in /docker-registry", refused.stdout)
        assert "snap remove docker" in refused.stdout
        assert "from snap" in clean.fab("bootstrap", ok=False).stderr
    finally:
        clean.server("rm /usr/bin/docker; mv /snap/bin/docker /usr/bin/; rmdir /snap/bin /snap")
    clean.server("mkdir -p /root/.docker; echo '{nonsense' >/root/.docker/config.json")
    try:
        assert clean.server("docker version 2>&1 >/dev/null | grep -c config.json").strip() == "1"
        assert re.search(r"(?m)^ok +docker +\d+\.\S+$", clean.fab("check").stdout)
    finally:
        clean.server("rm /root/.docker/config.json")


def test_a_full_tmp_is_named(deployed: World) -> None:
    """Docker puts a file there for each command in a container: no configuration is to blame."""
    for options in ("size=16k", "ro"):
        deployed.server(f"mount -t tmpfs -o {options} tmpfs /tmp; head -c 99999 /dev/zero >/tmp/full", check=False)
        try:
            refused = deployed.fab("htpasswd", "--user", "ci", input="x-secret\n", ok=False)
        finally:
            deployed.server("umount /tmp")
        assert "Docker cannot write to /tmp of the server: " in refused.stderr
        assert "-> on the server: df -h /tmp" in refused.stderr
        assert "deploy/" not in refused.stderr
    deployed.fab("htpasswd", "--user", "ci", input="x-secret\n")
    assert deployed.login("ci", "x-secret") == 200
