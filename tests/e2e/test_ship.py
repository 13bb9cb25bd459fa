"""`ship` and `push-test` with the Dockers that people have: Podman by that name, none, a newer store, warnings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sandbox.commands import output
from tests.sandbox.images import STACK, stack_image

from .test_bare import sent
from .test_refusals import FAB, run
from .world import World, wait_until

IMAGES = [stack_image(name) for name in STACK]
IDS = "docker image inspect --format '{{.Id}} {{json .RepoTags}}' " + " ".join(IMAGES)
# What clients say besides; words of their errors are among it.
WARNINGS = """\
WARNING: Error loading config file: open /root/.docker/config.json: permission denied: docker.sock, 2026-11-27 too old
WARNING: 401 unauthorized, x509: certificate signed by unknown authority, manifest unknown
time="2026-11-27T03:00:00Z" level=warning msg="docker: command not found, no basic auth credentials"
"""

Wrapper = Callable[[str], dict[str, str]]


@pytest.fixture
def docker_that(tmp_path: Path) -> Wrapper:
    """Put another `docker` first on PATH; $DOCKER is the real one."""

    def write(script: str) -> dict[str, str]:
        wrapper = tmp_path / "bin/docker"
        wrapper.parent.mkdir(exist_ok=True)
        wrapper.write_text(f"#!/bin/sh\nDOCKER={shutil.which('docker')}\n{script}\n")
        wrapper.chmod(0o755)
        return {"PATH": f"{wrapper.parent}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path / "cache")}

    return write


@pytest.fixture
def shipping(clean: World) -> Iterator[World]:
    """A server without the images; the operator's Docker is this machine's, which has them."""
    clean.configure(IMAGES="ship")
    clean.fab("sync")
    kept = clean.server(f"docker image inspect --format '{{{{.Id}}}}' {' '.join(IMAGES)}").split()
    clean.server(f"docker image rm --force {' '.join(IMAGES)} {' '.join(kept)} >/dev/null 2>&1", check=False)
    yield clean
    clean.server("docker image rm --force $(docker images --quiet) >/dev/null 2>&1", check=False)
    clean.sandbox.carry_stack()


def ship(world: World, environment: dict[str, str], *, ok: bool = True) -> subprocess.CompletedProcess[str]:
    """As the operator whose Docker is this machine's, or the one that is named."""
    config = str(world.sandbox.directory / "ssh_config")
    done = run(FAB, "--ssh-config", config, "-H", "server", "ship", ENV_FILE=str(world.settings), **environment)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done


def podman(world: World) -> str:
    """A `docker` that is the Podman of the client's machine."""
    return f'unset DOCKER_HOST; exec $DOCKER exec -i {world.sandbox.container("client")} podman "$@"'


def test_podman_under_dockers_name_proves_it_from_the_server(deployed: World, docker_that: Wrapper) -> None:
    done = deployed.fab("push-test", env=docker_that(podman(deployed)))
    assert re.search(r"warn .*docker is Podman there \(podman version .*\); going on from the server", done.stdout)
    assert "equal" in done.stdout


@pytest.mark.long
def test_podman_ships_three_images_and_not_one_three_times(shipping: World, docker_that: Wrapper) -> None:
    client = shipping.sandbox.container("client")
    for image in IMAGES:
        load = f"docker save {image} | docker exec -i {client} podman load --quiet"
        subprocess.run(["sh", "-c", load], check=True, capture_output=True)
    environment = docker_that(podman(shipping))
    try:
        assert sent(ship(shipping, environment).stdout) > 10_000_000
        found = [line.split(" ", 1) for line in shipping.server(IDS).splitlines()]
        assert len({identity for identity, _ in found}) == 3
        assert [json.loads(tags) for _, tags in found] == [[image] for image in IMAGES]
        assert sent(ship(shipping, environment).stdout) == 0
    finally:
        output("docker", "exec", client, "podman", "image", "rm", "--all", "--force")
    shipping.bootstrap(IMAGES="ship")


def test_a_server_that_has_all_images_needs_nothing(deployed: World, docker_that: Wrapper) -> None:
    """A second laptop: without Docker, without the images, or with others of these names."""
    deployed.configure(IMAGES="ship")
    for script, words in (
        ("exit 127", ""),
        ("echo 'no such image' >&2; exit 1", ""),
        (
            "echo 'permission denied while trying to connect to unix:///run/docker.sock' >&2; exit 1",
            "may not use Docker",
        ),
    ):
        done = ship(deployed, docker_that(script))
        assert "all 3 images are there" in done.stdout
        assert words in done.stdout
        assert sent(done.stdout) == 0
    deployed.configure()


@pytest.mark.long
def test_who_may_not_use_docker_is_told_how(shipping: World, docker_that: Wrapper) -> None:
    """The real client, as a user who is not in the group; and `push-test` goes on from the server."""
    nobody = 'HOME=/nonexistent exec setpriv --reuid 65534 --regid 65534 --clear-groups $DOCKER "$@"'
    refused = ship(shipping, docker_that(nobody), ok=False)
    assert "you may not use Docker here\n  -> sudo usermod --append --groups docker $USER" in refused.stderr
    shipping.sandbox.carry(*IMAGES)
    shipping.bootstrap()
    done = shipping.fab("push-test", env=docker_that(nobody))
    assert "sudo usermod --append --groups docker $USER, then log in again; going on from the server" in done.stdout
    assert "equal" in done.stdout


def test_warnings_are_not_read(deployed: World, docker_that: Wrapper) -> None:
    warned = docker_that(f"cat >&2 <<'END'\n{WARNINGS}END\nexec $DOCKER \"$@\"")
    lines = json.loads(deployed.fab("push-test", "--json", env=warned).stdout)["lines"]
    assert [line["name"] for line in lines][-1] == "delete"
    assert {line["name"]: line["text"] for line in lines}["no credentials"].startswith("refused")
    deployed.configure(IMAGES="ship")
    assert sent(ship(deployed, warned).stdout) == 0
    deployed.configure()
    # And on the server, where `check` reads the engine's version.
    program = deployed.server("command -v docker").strip()
    deployed.server(f"mv {program} {program}.real; printf '%s' \"$1\" >{program}; chmod +x {program}",
                    f"#!/bin/sh\ncat >&2 <<'END'\n{WARNINGS}END\nexec {program}.real \"$@\"\n")  # fmt: skip
    try:
        rows = {row["name"]: row for row in json.loads(deployed.fab("check", "--json").stdout)}
        assert rows["docker"]["mark"] == "ok"
        assert re.fullmatch(r"\d+\.\d+\.\d+\S*", rows["docker"]["found"])
        deployed.server(f"printf '#!/bin/sh\\necho podman version 5.4.2\\n' >{program}")
        assert "Podman under the name of docker" in deployed.fab("check", ok=False).stdout
    finally:
        deployed.server(f"mv {program}.real {program}")


@pytest.mark.long
def test_an_archive_that_docker_refuses_is_not_sent_again(
    shipping: World, docker_that: Wrapper, tmp_path: Path
) -> None:
    bad = 'case $1 in save) echo "no archive"; exit 0 ;; esac; exec $DOCKER "$@"'
    refused = ship(shipping, docker_that(bad), ok=False)
    assert "docker load: " in refused.stderr
    assert "then run it again: it is packed anew" in refused.stderr
    assert not list((tmp_path / "cache/private-docker-registry").iterdir())
    assert shipping.server("ls -A /docker-registry/.images") == ""
    failing = 'case $1 in save) echo "no room for that" >&2; exit 1 ;; esac; exec $DOCKER "$@"'
    refused = ship(shipping, docker_that(failing), ok=False)
    assert re.search(r"docker save registry-sandbox/\S+: no room for that\n  -> ", refused.stderr)
    assert not list((tmp_path / "cache/private-docker-registry").iterdir())
    assert sent(ship(shipping, docker_that('exec $DOCKER "$@"')).stdout) > 10_000_000


@pytest.fixture
def containerd(shipping: World) -> Iterator[Path]:
    """Another engine on the client's machine, with Docker's newer store and the images; its socket."""
    client, other = shipping.sandbox.container("client"), "/var/lib/docker/other"
    settings = {
        "features": {"containerd-snapshotter": True}, "hosts": ["unix:///sandbox/other.sock"], "bridge": "none",
        "iptables": False, "data-root": other, "exec-root": "/run/other", "pidfile": "/run/other.pid",
    }  # fmt: skip
    write = "cat >/root/other.json; exec setsid dockerd --config-file /root/other.json >/root/other.log 2>&1 &"
    output("docker", "exec", "-i", client, "sh", "-c", write, stdin=json.dumps(settings))
    socket = shipping.sandbox.client_socket.parent / "other.sock"
    info = ["docker", "-H", f"unix://{socket}", "info"]
    wait_until(
        lambda: subprocess.run(info, check=False, capture_output=True).returncode == 0, "the other engine answers"
    )
    for image in IMAGES:
        load = f"docker save {image} | docker -H unix://{socket} load --quiet"
        subprocess.run(["sh", "-c", load], check=True, capture_output=True)
    yield socket
    stop = f"kill $(cat /run/other.pid); while [ -e /run/other.pid ]; do sleep 0.1; done; rm -rf {other} /root/other.*"
    output("docker", "exec", client, "sh", "-c", stop)


@pytest.mark.long
def test_dockers_newer_store(shipping: World, containerd: Path, tmp_path: Path) -> None:
    """Images of its own processor go; those of another one this Docker cannot pack, and the line names the store."""
    environment = {"DOCKER_HOST": f"unix://{containerd}", "XDG_CACHE_HOME": str(tmp_path)}
    store = output("docker", "-H", f"unix://{containerd}", "info", "--format", "{{json .DriverStatus}}")
    assert "io.containerd.snapshotter" in store
    assert sent(ship(shipping, environment).stdout) > 10_000_000
    assert sent(ship(shipping, environment).stdout) == 0
    shipping.server("docker image rm --force $(docker images --quiet) >/dev/null")
    program = shipping.server("command -v docker").strip()
    arm = f'#!/bin/sh\ncase $* in *.Server.Arch*) echo linux/arm64 ;; *) exec {program}.real "$@" ;; esac\n'
    shipping.server(f"mv {program} {program}.real; printf '%s' \"$1\" >{program}; chmod +x {program}", arm)
    try:
        refused = ship(shipping, environment, ok=False)
        assert "cannot pack it for linux/arm64: it keeps images in containerd" in refused.stderr
        assert "-> upgrade Docker here; or run this from a machine like the server; or IMAGE_MIRROR" in refused.stderr
        # With the older store the remedy is one command.
        refused = ship(shipping, {"XDG_CACHE_HOME": str(tmp_path)}, ok=False)
        assert (
            "and the server is linux/arm64\n  -> docker pull --platform linux/arm64 registry-sandbox/" in refused.stderr
        )
    finally:
        shipping.server(f"mv {program}.real {program}")
