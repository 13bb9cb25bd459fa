"""`push-test` proves what it says, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.sandbox.demo import DOMAIN, fab

from .test_certificates import B
from .world import DEPLOY_DIR, PASSWORD, USER, World, first


def traces(world: World) -> dict[str, object]:
    """Everything that a push-test could leave: accounts, tags, images, containers, trust."""
    listing = "docker images --all --quiet | sort; docker ps --all --format '{{.Names}}' | sort"
    tags = world.curl("/v2/push-test/tags/list", "-u", f"{USER}:{PASSWORD}")
    return {
        "accounts": world.fab("htpasswd", "--list").stdout,
        "tags": json.loads(tags).get("tags"),
        "client": world.sandbox.exec("client", "sh", "-c", listing),
        "server": world.server(listing),
        "trust": world.server("find /etc/docker; ls -d /tmp/tmp.* 2>/dev/null; true"),
    }


def test_from_here(deployed: World, tmp_path: Path) -> None:
    deployed.fab("push-test")
    before = traces(deployed)
    assert before["tags"] is None
    home = tmp_path / "home"
    (home / ".docker").mkdir(parents=True)
    (home / ".docker/config.json").write_text("{}")
    receipt = json.loads(deployed.fab("push-test", "--json", env={"HOME": str(home)}).stdout)
    assert receipt["ok"]
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", receipt["digest"])
    assert str(deployed.sandbox.client_socket) in receipt["client"]
    # All of it, where people see twelve digits of it.
    assert receipt["digest"] in {line["text"] for line in receipt["lines"]}
    texts = {line["name"]: line["text"] for line in receipt["lines"]}
    assert texts["no credentials"].startswith("refused")
    assert texts["wrong password"].startswith("refused")
    assert texts["push"] + ", equal" == texts["pull"]
    assert traces(deployed) == before
    assert [path.name for path in (home / ".docker").iterdir()] == ["config.json"]
    assert (home / ".docker/config.json").read_text() == "{}"


def test_from_host_trusts_the_issuer_for_the_test_alone(deployed: World) -> None:
    before = traces(deployed)
    output = deployed.fab("push-test", "--from", "host", "--verbose").stdout
    assert "Docker trusts the issuer for this test alone" in output
    assert traces(deployed) == before


@pytest.mark.long
def test_an_engine_that_does_not_trust_the_issuer_falls_back(clean: World) -> None:
    """The client machine trusts authority A and not B."""
    output = clean.bootstrap(ACME_SERVER=B)
    assert "its Docker engine does not trust the certificate's issuer; going on from the server" in output
    assert "equal" in output


@pytest.mark.long
def test_without_a_client_it_falls_back(deployed: World, tmp_path: Path) -> None:
    for name in ("python3", "env", "sh", "cmp", "dirname", "basename"):
        program = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / name).symlink_to(program)
    output = deployed.fab("push-test", env={"PATH": str(tmp_path)}).stdout
    assert "there is no docker client; going on from the server" in output
    assert "equal" in output


@pytest.mark.long
def test_without_an_engine_it_falls_back(deployed: World) -> None:
    command = ["env", "DOCKER_HOST=unix:///nonexistent.sock", f"ENV_FILE={deployed.settings}"]
    done = subprocess.run(
        [*command, str(Path(__file__).parents[2] / "fab"),
         "--ssh-config", str(deployed.sandbox.directory / "ssh_config"),
         "--hosts", "server", "push-test"],
        capture_output=True, text=True, check=True, env=dict(os.environ),
    )  # fmt: skip
    assert "there is no Docker engine; going on from the server" in done.stdout


def test_a_failure_leaves_nothing_either(deployed: World) -> None:
    """nginx refuses the manifest: the push fails half way, and all is taken back."""
    before = traces(deployed)
    deployed.server(
        f"sed -i 's/client_max_body_size 0;/&\\nif ($request_method = PUT) {{ return 403; }}/' "
        f"{DEPLOY_DIR}/nginx/https.conf"
    )
    deployed.fab("up")
    try:
        failed = deployed.fab("push-test", "--json", ok=False)
        assert failed.returncode == 1
        assert "docker" in failed.stderr
        receipt = json.loads(failed.stdout)
        assert not receipt["ok"]
        assert [line["name"] for line in receipt["lines"]][-1] == "login"
    finally:
        assert "had been edited on the server" in deployed.fab("sync", "up").stdout
    assert traces(deployed) == before


@pytest.mark.long
def test_a_registry_that_names_no_digest_of_a_tag(deployed: World) -> None:
    """The header is optional. Docker's own client needs it and says so; our part gets by, and takes all back."""
    before = traces(deployed)
    override = f"{DEPLOY_DIR}/nginx/override.conf"
    deployed.server(f"echo 'proxy_hide_header Docker-Content-Digest;' >{override}")
    try:
        deployed.fab("up")
        failed = deployed.fab("push-test", ok=False)
        assert failed.returncode == 1
        assert "docker: invalid checksum digest format" in failed.stderr
        assert "taken back" not in failed.stderr
        assert "Error:" not in failed.stderr
    finally:
        deployed.server(f"rm {override}")
        deployed.fab("up")
    assert traces(deployed) == before


@pytest.mark.parametrize("line_before", ["login: accepted", "push: sha256:"])
@pytest.mark.parametrize("number", first([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))
def test_an_interrupted_one_leaves_nothing_either(deployed: World, number: int, line_before: str) -> None:
    before = traces(deployed)
    # What runs in the background may have been told to ignore some of these.
    argv = ["env", "--default-signal", *fab(deployed.sandbox, deployed.settings), "push-test", "--verbose"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line_before in line:
                break
        running.send_signal(number)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert "interrupted" in errors
    assert traces(deployed) == before


def test_a_wrong_source_is_refused(deployed: World) -> None:
    refused = deployed.fab("push-test", "--from", "nowhere", ok=False)
    assert refused.returncode == 2


@pytest.mark.parametrize("size", [1, 50])
def test_what_a_client_pushes_another_pulls(deployed: World, size: int) -> None:
    """The real thing without our help: log in, push megabytes, pull them elsewhere by digest."""
    docker = f"docker --config /root/config-{size}"
    image = f"{DOMAIN}/team/app:{size}"
    client = deployed.sandbox.exec
    client("client", "sh", "-c", f"{docker} login -u {USER} --password-stdin {DOMAIN}", input=PASSWORD)
    pushed = client("client", "sh", "-c",
        f"head -c {size}M /dev/urandom >/tmp/random && tar -C /tmp -c random | {docker} import - {image} >/dev/null && "
        f"sha256sum </tmp/random && {docker} push {image} && {docker} image rm {image}")  # fmt: skip
    digest = re.search(r"sha256:[0-9a-f]{64} size", pushed)
    assert digest is not None
    by_digest = f"{DOMAIN}/team/app@{digest[0].split()[0]}"
    pulled = client("client", "sh", "-c",
        f"{docker} pull {by_digest} >/dev/null && {docker} create --name pulled {by_digest} x >/dev/null && "
        f"{docker} cp pulled:/random - | tar -xO | sha256sum; {docker} rm pulled >/dev/null; "
        f"{docker} image rm {by_digest} >/dev/null; rm -rf /root/config-{size} /tmp/random")  # fmt: skip
    assert pulled.split()[0] == pushed.split()[0]
