"""The first command of the README, in a copy of what is committed or about to be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox import Sandbox
from tests.sandbox.commands import ROOT

from .world import World


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """The files that git would give to somebody else, and nothing that lies about here."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    copy = tmp_path / "registry"
    for name in filter(None, names.split("\0")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    yield copy
    subprocess.run(["./inv", "demo", "--stop"], cwd=copy, check=True)


def shell(clone: Path, script: str) -> str:
    """Run a script as somebody would type it in the clone."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SANDBOX_", "COMPOSE_"))}
    return subprocess.run(
        ["sh", "-ec", script],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_the_demo(world: World, clone: Path) -> None:
    """`world` comes first only so that the images are there."""
    output = shell(clone, "./inv demo </dev/null")
    # By `push-test`, and again at the end.
    assert len(re.findall(r"strangers refused, sha256:[0-9a-f]{12} pushed, pulled, equal, deleted", output)) == 2
    curl = "curl -s --cacert $CA_FILE --resolve $REGISTRY_DOMAIN:$HTTPS_PORT:127.0.0.1"
    url = "https://$REGISTRY_DOMAIN:$HTTPS_PORT"
    assert shell(clone, f". .sandbox/demo.env; {curl} -u $REGISTRY_USER:$REGISTRY_PASSWORD {url}/v2/") == "{}"
    assert shell(clone, f". .sandbox/demo.env; {curl} -o /dev/null -w '%{{http_code}}' {url}/v2/") == "401"
    assert "running healthy" in shell(clone, ". .sandbox/demo.env; $FAB status")
    environment = (clone / ".sandbox/demo.env").read_text()
    assert set(re.findall(r"^(\w+)=", environment, re.M)) == {
        "SSH_HOST",
        "SSH_PORT",
        "SSH_USER",
        "SSH_KEY",
        "KNOWN_HOSTS",
        "REGISTRY_DOMAIN",
        "HTTPS_PORT",
        "HTTP_PORT",
        "CA_FILE",
        "REGISTRY_USER",
        "REGISTRY_PASSWORD",
        "DEPLOY_DIR",
        "FAB",
    }
    again = shell(clone, "./inv demo </dev/null")
    assert not re.search(r"^ok +[\d.]+ s  (sync|up|init-letsencrypt|schedule) ", again, re.M), again
    assert (clone / ".sandbox/demo.env").read_text() == environment

    shell(clone, "./inv demo --stop; ./inv demo --stop")
    project = "label=com.docker.compose.project"
    left = shell(
        clone,
        f"docker ps -a --filter {project} --format '{{{{.Names}}}}'; docker volume ls -q; "
        f"docker network ls --format '{{{{.Name}}}}'",
    )
    # That of this clone: somebody's own demo may run beside it.
    assert Sandbox("demo", clone).project not in left
    assert not list((clone / ".sandbox").glob("demo*"))
