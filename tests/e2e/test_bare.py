"""A server with nothing on it: `provision`, and images that come through SSH."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.sandbox.commands import ROOT, output
from tests.sandbox.demo import DOMAIN, USER, settings_text
from tests.sandbox.images import STACK

from .world import World, wait_until

CONTAINER = "{project}-bare-1"
MIRROR = (
    r'printf "version: 0.1\nstorage: {filesystem: {rootdirectory: /data}}\nhttp:\n  addr: :5000\n" >/c.yml; '
    "exec registry serve /c.yml"
)


class Bare:
    """A bare server beside the sandbox's own, on its network, with its domain."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world = world
        self.directory = directory
        self.name = CONTAINER.format(project=world.sandbox.project)
        self.ssh_config = directory / "ssh_config"
        self.settings = directory / "settings.env"

    def start(self) -> None:
        sandbox = self.world.sandbox
        key = (sandbox.directory / "id_ed25519.pub").read_text().strip()
        output("docker", "rm", "--force", "--volumes", self.name, check=False)
        output(
            "docker", "run", "--detach", "--name", self.name, "--network", f"{sandbox.project}_default",
            "--hostname", "bare", "--publish", "127.0.0.1::22", "--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE",
            "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
            "--security-opt", "systempaths=unconfined", "--cgroupns", "host",
            "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "registry-sandbox/bare", sandbox.address("ca"), key,
        )  # fmt: skip
        port = output("docker", "port", self.name, "22").strip().rpartition(":")[2]
        wait_until(
            lambda: self.shell("cat /etc/ssh/ssh_host_ed25519_key.pub", check=False) != "",
            "it has a host key",
        )
        kind, host_key = self.shell("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
        (self.directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {host_key}\n")
        text = (sandbox.directory / "ssh_config").read_text()
        text = re.sub(r"(?m)^(\s+Port) .*$", rf"\1 {port}", text)
        text = re.sub(r"(?m)^(\s+UserKnownHostsFile) .*$", rf"\1 {self.directory}/known_hosts", text)
        self.ssh_config.write_text(text)
        self.settings.write_text(settings_text(sandbox, IMAGES="ship"))
        sandbox.carry_stack("docker", "--host", f"unix://{sandbox.client_socket}")
        # Debian's packages are the only thing that it reaches outside.
        sandbox.dns("deb.debian.org", socket.gethostbyname("deb.debian.org"))
        sandbox.dns(DOMAIN, self.shell("hostname -i").split()[0])

    def stop(self) -> None:
        output("docker", "rm", "--force", "--volumes", self.name, check=False)
        self.world.sandbox.dns(DOMAIN, self.world.sandbox.address("server"))

    def shell(self, script: str, *, check: bool = True) -> str:
        return output("docker", "exec", self.name, "sh", "-c", script, check=check)

    def command(self, *args: str, host: str = "server") -> list[str]:
        """`fab` with the client's Docker as the operator's: it has the images and trusts the CA."""
        return [
            "env", f"ENV_FILE={self.settings}", f"XDG_CACHE_HOME={self.directory}",
            f"DOCKER_HOST=unix://{self.world.sandbox.client_socket}", str(ROOT / "fab"),
            "--ssh-config", str(self.ssh_config), *args[:-1], "--hosts", host, args[-1],
        ]  # fmt: skip

    def fab(self, task: str) -> str:
        done = subprocess.run(self.command(task), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def bare(world: World, tmp_path: Path) -> Iterator[Bare]:
    bare = Bare(world, tmp_path)
    bare.start()
    yield bare
    bare.stop()


def sent(output: str) -> int:
    """How many bytes `ship` says that it sent."""
    found = re.search(r"(\d+) bytes", output)
    assert found is not None, output
    return int(found[1])


@pytest.mark.long
def test_bootstrap_of_a_bare_server(bare: Bare) -> None:
    assert bare.shell("command -v docker python3 cron || true") == ""
    output = bare.fab("bootstrap")
    assert "installed docker.io" in output
    assert "equal" in output
    assert sent(output) > 10_000_000
    again = bare.fab("bootstrap")
    assert re.search(r"same .* provision +Docker, Compose, cron, Python and rsync are there", again)
    assert sent(again) == 0
    assert bare.shell("ls -A /docker-registry/.images") == ""


@pytest.mark.long
def test_bootstrap_of_a_bare_server_as_a_sudo_user(bare: Bare) -> None:
    argv = bare.command("--prompt-for-sudo-password", "bootstrap", host="anna@server")
    terminal = pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=300, env={**os.environ, "TERM": "dumb"})
    terminal.expect_exact("anna's password for sudo: ")
    terminal.sendline("anna-password")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0, terminal.before
    assert f"account {USER}, password (shown this once)" in (terminal.before or "")


@pytest.mark.long
def test_shipping_goes_on_after_a_cut(clean: World, tmp_path: Path) -> None:
    """First half of the bytes, then the connection is cut; then the rest; then none."""
    clean.configure(IMAGES="ship")
    clean.server("docker image rm --force $(docker images --quiet) >/dev/null")
    command = [
        "env", f"ENV_FILE={clean.settings}", f"XDG_CACHE_HOME={tmp_path}", str(ROOT / "fab"),
        "--ssh-config", str(clean.sandbox.directory / "ssh_config"), "--hosts", "server",
    ]  # fmt: skip
    subprocess.run([*command, "sync"], check=True, capture_output=True)
    with subprocess.Popen([*command, "ship"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        wait_until(
            lambda: int(clean.server("cat /docker-registry/.images/* 2>/dev/null | wc -c")) > 5_000_000,
            "some of it is there",
        )
        clean.cut(first)
    there = int(clean.server("cat /docker-registry/.images/* | wc -c"))
    whole = next((tmp_path / "private-docker-registry").glob("*.tar.gz")).stat().st_size
    assert 5_000_000 < there < whole
    # No room for the rest: nobody listens any more then, as after a cut, but it is told as what it is.
    clean.server("mount -t tmpfs -o size=8m tmpfs /docker-registry/.images")
    try:
        full = subprocess.run([*command, "ship"], check=False, capture_output=True, text=True)
    finally:
        clean.server("umount /docker-registry/.images")
    assert full.returncode == 1
    assert "could not be written" in full.stderr
    assert "df -h" in full.stderr
    done = subprocess.run([*command, "ship"], check=True, capture_output=True, text=True)
    # The others come whole.
    assert f": {whole - there} of {whole} bytes" in done.stdout
    assert sent(done.stdout) > whole - there
    done = subprocess.run([*command, "ship"], check=True, capture_output=True, text=True)
    assert sent(done.stdout) == 0
    assert not list((tmp_path / "private-docker-registry").iterdir())


@pytest.mark.long
def test_images_come_from_the_mirror(clean: World) -> None:
    """A registry of the server's own plays the mirror of Docker Hub; nothing else has these images."""
    mirror = "127.0.0.1:5001"
    clean.server(
        f"docker run -d --name mirror -p {mirror}:5000 --entrypoint sh registry-sandbox/registry "
        f"-c '{MIRROR}' >/dev/null; "
        "for name in registry nginx certbot; do "
        f"docker tag registry-sandbox/$name:latest {mirror}/mirrored/$name:1 && "
        f"timeout 60 sh -c 'until docker push -q {mirror}/mirrored/'$name':1 >/dev/null 2>&1; do sleep 0.2; done'; "
        f"docker image rm {mirror}/mirrored/$name:1 >/dev/null; done"
    )
    names = {f"{name.upper()}_IMAGE": f"mirrored/{name}:1" for name in STACK}
    clean.bootstrap(IMAGE_MIRROR=mirror, **names)
    used = clean.server("docker ps --format '{{.Image}}'").split()
    assert {f"{mirror}/mirrored/nginx:1", f"{mirror}/mirrored/registry:1"} < set(used)
    clean.server(f"docker image rm {' '.join(f'{mirror}/mirrored/{name}:1' for name in STACK)}", check=False)
