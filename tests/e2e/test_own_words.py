"""`fab -H host bootstrap` and `invoke renew` as they stand, with a distribution's own packages (Debian 13)."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.commands import ROOT, output
from tests.sandbox.demo import DOMAIN, settings_text

from .world import DEPLOY_DIR, World

LIBRARIES = "python3-bcrypt python3-dotenv python3-jinja2 python3-passlib python3-rich"
INSTALL = (
    "apt-get -qq update >/dev/null 2>&1; DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y"
)


def reach_debian(world: World) -> None:
    """Its packages are the only thing outside that a machine of the sandbox reaches."""
    world.sandbox.dns("deb.debian.org", socket.gethostbyname("deb.debian.org"))


@pytest.fixture
def laptop(deployed: World, tmp_path: Path) -> Iterator[World]:
    """The client's machine with a clone in /root/registry, which has no .venv, and Debian's `fab`."""
    sandbox = deployed.sandbox
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        (tmp_path / "registry" / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy2(ROOT / name, tmp_path / "registry" / name, follow_symlinks=False)
    settings = settings_text(sandbox, ACME_CA_BUNDLE="acme-ca.pem")
    (tmp_path / "registry/.env").write_text(settings)
    shutil.copy(sandbox.directory / "acme-ca.pem", tmp_path / "registry/acme-ca.pem")
    client = sandbox.container("client")
    sandbox.exec("client", "sh", "-c", "rm -rf /root/registry /root/.ssh; mkdir -m 700 /root/.ssh")
    output("docker", "cp", "-q", f"{tmp_path}/registry", f"{client}:/root/registry")
    output("docker", "cp", "-q", f"{sandbox.directory}/id_ed25519", f"{client}:/root/.ssh/id_ed25519")
    kind, key = sandbox.exec("server", "cat", "/etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
    script = f"chown -R root: /root/.ssh /root/registry; echo '{DOMAIN} {kind} {key}' >/root/.ssh/known_hosts"
    sandbox.exec("client", "sh", "-c", script)
    reach_debian(deployed)
    yield deployed
    packages = f"fabric invoke python3-fabric python3-invoke {LIBRARIES}"
    sandbox.exec("client", "sh", "-c", f"apt-get -qq purge -y {packages} >/dev/null; rm -rf /root/registry /root/.ssh")


def typed(world: World, command: str) -> str:
    """What a command prints, and its exit status, in the clone on the client's machine."""
    told = world.sandbox.exec("client", "sh", "-c", f"cd /root/registry && {command} 2>&1; echo status $?", check=False)
    assert "Traceback" not in told
    assert "ModuleNotFoundError" not in told
    return told


@pytest.mark.long
def test_fab_and_invoke_on_a_laptop(laptop: World) -> None:
    laptop.sandbox.exec("client", "sh", "-c", f"{INSTALL} fabric python3-invoke")
    listed = typed(laptop, "invoke --list")
    assert "demo" in listed
    assert listed.endswith("status 0\n")
    assert "bootstrap" in typed(laptop, "fab --list")

    # Without the libraries our own launcher takes over; it has no way to PyPI here, and says what is missing.
    for command in (f"fab -H root@{DOMAIN} bootstrap", "fab status", "invoke renew", "invoke lint"):
        told = typed(laptop, command)
        own = "fab" if command.startswith("fab") else "inv"
        assert f": going on as ./{own}\n{own}: setting up .venv" in told, command
        assert "-> on Debian and Ubuntu: apt-get install python3-venv" in told
        assert told.endswith("status 2\n")

    # With them the distribution's own program does it all.
    laptop.sandbox.exec("client", "sh", "-c", f"{INSTALL} {LIBRARIES}")
    told = typed(laptop, f"fab -H root@{DOMAIN} bootstrap")
    assert "going on as" not in told
    assert "pushed, pulled, equal, deleted" in told
    assert f"Ready: docker login {DOMAIN} -u demo" in told
    assert told.endswith("status 0\n")


def test_invoke_on_the_server(deployed: World) -> None:
    """In DEPLOY_DIR, with a distribution's invoke, beside our own `inv` for cron."""
    reach_debian(deployed)
    deployed.server(f"{INSTALL} python3-invoke")
    try:
        files = f"cd {DEPLOY_DIR} && find . -path ./registry/data -prune -o -path ./log -prune -o -type f -print | sort"
        before = deployed.server(files)
        assert "renew" in deployed.server(f"cd {DEPLOY_DIR} && invoke --list")
        renewed = deployed.server(f"cd {DEPLOY_DIR} && invoke renew")
        assert renewed.startswith("same")
        assert "nothing due" in renewed
        assert deployed.server(f"cd {DEPLOY_DIR} && ./inv renew").startswith("same")
        left = set(deployed.server(files).split()) - set(before.split())
        assert {name for name in left if "certbot" not in name} == set()
        unknown = deployed.server(f"cd {DEPLOY_DIR} && ./inv bootstrap 2>&1; echo $?")
        assert "-> that runs on your own machine, as ./fab; ./inv --list" in unknown
        assert unknown.endswith("2\n")
    finally:
        deployed.server("apt-get -qq purge -y python3-invoke >/dev/null", check=False)
