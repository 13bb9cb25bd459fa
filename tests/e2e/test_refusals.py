"""When the answer is no: one line, a remedy, the right exit status, and nothing was changed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.sandbox.commands import ROOT
from tests.sandbox.demo import DOMAIN

from .world import DEPLOY_DIR, World, wait_until


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a launcher on this machine; there must never be a stack trace."""
    done = subprocess.run(
        argv,
        input="",
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **env},
        cwd="/",
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


FAB, INV = str(ROOT / "fab"), str(ROOT / "inv")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([FAB, "bootstrap"], "./fab -H root@registry.example.com"),
        ([FAB, "nonsense"], "No idea what 'nonsense' is"),
        ([FAB, "sync", "--nonsense"], "No idea what '--nonsense' is"),
        ([FAB, "--nonsense"], "nonsense"),
        ([INV, "nonsense"], "No idea what 'nonsense' is"),
        ([FAB, "-H", "server", "push-test", "--from"], "Flag --from needed value"),
        ([FAB, "-H", "server", "logs", "--lines", "abc"], "abc"),
        ([FAB, "-H", "root@127.0.0.1:abc", "check"], "'abc' is no port\n  -> ./fab -H root@127.0.0.1 TASK"),
        (
            [FAB, "-H", "https://registry.test/v2/", "check"],
            "without https:// and /\n  -> ./fab -H root@registry.test TASK",
        ),
        ([FAB, "-H", "server,ssh://me@registry.test", "check"], "-> ./fab -H me@registry.test TASK"),
        ([FAB, "-H", "root@", "check"], "no name stands behind the @"),
        ([FAB, "-S", "/nonexistent", "-H", "server", "check"], "/nonexistent"),
        ([FAB, "--dry", "-H", "server", "sync"], "--dry"),
        ([FAB, "-H", "server", "check", "--", "uptime"], "nothing may follow --"),
    ],
)
def test_a_mistake_on_the_command_line_exits_2(argv: list[str], words: str) -> None:
    refused = run(*argv)
    assert refused.returncode == 2, refused
    assert words in refused.stderr


def test_a_bad_setting_is_found_before_ssh(world: World, tmp_path: Path) -> None:
    """A1: the host does not even exist."""
    settings = tmp_path / "bad.env"
    settings.write_text("REGISTRY_DOMAIN=registry.example.org\nACME_EMAIL=nobody\nREGISTRY_USER=a\n")
    refused = run(FAB, "-H", "root@192.0.2.1", "bootstrap", ENV_FILE=str(settings))
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: {settings}:2: ACME_EMAIL: 'nobody' is not allowed")


def test_inv_renew_refuses_where_nothing_is_deployed(world: World) -> None:
    refused = run(INV, "renew", ENV_FILE=str(world.settings))
    assert refused.returncode == 2
    assert f"nothing is deployed in {DEPLOY_DIR}" in refused.stderr


def test_steps_refuse_where_nothing_is_deployed(clean: World) -> None:
    for task in (
        "up",
        "init-letsencrypt",
        "renew",
        "schedule",
        "status",
        "push-test",
        "logs",
        "down",
    ):
        refused = clean.fab(task, ok=False)
        assert re.search("nothing is deployed", refused.stderr), task
    assert clean.server(f"test -e {DEPLOY_DIR} || echo absent") == "absent\n"
    assert "nothing is deployed" in clean.fab("htpasswd", "--user", "ci", input="x\n", ok=False).stderr


@contextmanager
def ssh_config(world: World, tmp_path: Path, **changes: str) -> Iterator[list[str]]:
    """The sandbox's ssh configuration with some lines changed."""
    text = (world.sandbox.directory / "ssh_config").read_text()
    for key, value in changes.items():
        text = re.sub(rf"(?m)^(\s+{key}) .*$", rf"\1 {value}", text)
    path = tmp_path / "ssh_config"
    path.write_text(text)
    yield [FAB, "--ssh-config", str(path), "-H", "server", "check"]


def test_an_unknown_host_key_is_refused_before_authentication(world: World, tmp_path: Path) -> None:
    """S1: with a key that the server would not accept either, it is the host key that is named."""
    wrong = tmp_path / "wrong"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(wrong)], check=True)
    empty = tmp_path / "known_hosts"
    empty.touch()
    real = world.server("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    with ssh_config(world, tmp_path, UserKnownHostsFile=str(empty), IdentityFile=str(wrong)) as command:
        refused = run(*command, ENV_FILE=str(world.settings))
    assert refused.returncode == 1
    assert f"unknown host key ssh-ed25519 {real}; nothing was run" in refused.stderr
    assert "-> compare the fingerprint" in refused.stderr
    assert empty.read_text() == ""

    port = world.sandbox.port(22)
    other = wrong.with_suffix(".pub").read_text().split()[1]
    empty.write_text(f"[127.0.0.1]:{port} ssh-ed25519 {other}\n")
    with ssh_config(world, tmp_path, UserKnownHostsFile=str(empty), IdentityFile=str(wrong)) as command:
        refused = run(*command, ENV_FILE=str(world.settings))
    assert refused.returncode == 1
    assert f"the host key has CHANGED to ssh-ed25519 {real}, known is SHA256:" in refused.stderr
    assert f"ssh-keygen -R '[127.0.0.1]:{port}'" in refused.stderr


def test_marked_lines_and_revoked_keys_mean_what_they_mean_to_ssh(world: World, tmp_path: Path) -> None:
    """A revoked host key is refused before it shows that the server would not accept our own key either."""
    wrong, known = tmp_path / "wrong", tmp_path / "known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(wrong)], check=True)
    other = wrong.with_suffix(".pub").read_text()
    real = " ".join(world.server("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2])
    plain = f"[127.0.0.1]:{world.sandbox.port(22)} {real}\n"
    changes = {"UserKnownHostsFile": str(known)}
    for line in (f"@cert-authority * {other}", f"@revoked * {other}"):
        known.write_text(line + plain)
        with ssh_config(world, tmp_path, **changes) as command:
            done = run(*command[:-1], "unlock", ENV_FILE=str(world.settings))
            ssh = run("ssh", "-F", command[2], "-o", "BatchMode=yes", "server", "true")
        assert done.returncode == ssh.returncode == 0, (done.stderr, ssh.stderr)

    listed = tmp_path / "listed"
    listed.write_text(f"{real}\n")
    for line, file, words in (
        (f"@revoked * {real}\n", known, "REVOKED HOST KEY"),
        ("", listed, "revoked by file"),
    ):
        known.write_text(plain + line)
        if file == listed:
            changes["UserKnownHostsFile"] = f"{known}\n  RevokedHostKeys {listed}"
        with ssh_config(world, tmp_path, **changes, IdentityFile=str(wrong)) as command:
            refused = run(*command, ENV_FILE=str(world.settings))
            ssh = run("ssh", "-F", command[2], "-o", "BatchMode=yes", "server", "true")
        assert refused.returncode == 1
        assert f"was REVOKED in {file}; nothing was run" in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 2
        assert words in ssh.stderr


def test_servers_that_cannot_be_reached(world: World, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(wrong)], check=True)
    for changes, words in (
        ({"IdentityFile": str(wrong)}, "does not accept your SSH key"),
        ({"Port": "1"}, "no SSH connection"),
        (
            {"HostName": "nowhere.invalid"},
            "-> is nowhere.invalid spelt right? If its DNS record is new: ./fab -H root@ADDRESS check",
        ),
    ):
        with ssh_config(world, tmp_path, **changes) as command:
            refused = run(*command, ENV_FILE=str(world.settings), SSH_AUTH_SOCK="")
        assert refused.returncode == 1
        assert words in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 2


def test_docker_is_not_there_or_not_as_needed(clean: World) -> None:
    """S5: missing, stopped, no Compose 2."""
    plugin = clean.server("find / -xdev -name docker-compose -path '*cli-plugins*' 2>/dev/null").split()[0]
    for path, words in (("/usr/bin/docker", "docker: missing"), (plugin, "compose: missing")):
        clean.server(f"mv {path} /root/moved")
        try:
            looked = clean.fab("check")
            assert f"warn: {words}: bootstrap installs it" in re.sub(r"  +", ": ", looked.stdout)
        finally:
            clean.server(f"mv /root/moved {path}")
    clean.server("service docker stop")
    try:
        wait_until(
            lambda: not clean.server("docker version --format '{{.Server.Version}}' 2>/dev/null", check=False).strip(),
            "Docker has stopped",
        )
        assert "the engine does not run" in clean.fab("check").stdout
        assert "started docker" in clean.fab("provision").stdout
    finally:
        clean.server("service docker start")
    assert clean.fab("provision").stdout.startswith("same")
    assert clean.server(f"test -e {DEPLOY_DIR} || echo absent") == "absent\n"


def test_a_cron_in_a_container_is_not_the_servers(deployed: World) -> None:
    """Its process is in /proc as any other."""
    deployed.server("service cron stop")
    deployed.server(
        "docker run --detach --name other --entrypoint sh registry-sandbox/nginx:latest "
        "-c 'cp /bin/sleep /tmp/crond; exec /tmp/crond 600'"
    )
    try:
        wait_until(lambda: "crond" in deployed.server("cat /proc/[0-9]*/comm", check=False), "it runs")
        rows = {row["name"]: row for row in json.loads(deployed.fab("check", "--json", ok=None).stdout)}
        assert rows["cron"]["mark"] != "ok"
        assert "no cron daemon runs" in deployed.fab("schedule", ok=False).stderr
        assert "started cron" in deployed.fab("provision").stdout
        assert "same" in deployed.fab("schedule").stdout
    finally:
        deployed.server("docker rm --force other; service cron start")


def states(world: World) -> str:
    """What would tell of each container that it was touched."""
    form = "{{.Name}} {{.Id}} {{.State.Status}} {{.State.StartedAt}} {{.RestartCount}}"
    return world.server(f"docker ps --all --quiet | xargs docker inspect --format '{form}' | sort")


def test_a_port_that_somebody_else_has_is_named(clean: World) -> None:
    """S6: a program, then a container of another project; neither is touched."""
    clean.server("cd /root && nohup python3 -m http.server 80 >/dev/null 2>&1 & echo $! >/root/web.pid")
    wait_until(lambda: clean.server("ss -Hltn 'sport = :80'") != "", "the other program listens")
    try:
        refused = clean.fab("bootstrap", ok=False)
        assert "port 80 (taken by python3 (process " in refused.stderr
        assert clean.server("kill -0 $(cat /root/web.pid) && echo alive") == "alive\n"
    finally:
        clean.server("kill $(cat /root/web.pid)")
    clean.server("docker run -d --name neighbour -p 443:443 --entrypoint sleep registry-sandbox/nginx 600")
    before = states(clean)
    refused = clean.fab("bootstrap", ok=False)
    assert "port 443 (taken by the container neighbour" in refused.stderr
    assert states(clean) == before
    assert clean.server(f"test -e {DEPLOY_DIR} || echo absent") == "absent\n"


def test_dns_that_points_elsewhere_is_named(clean: World) -> None:
    """C3: no record, another address, a stale AAAA; no order is made."""
    for addresses, words in (
        ((), f"DNS {DOMAIN} (no A and no AAAA record"),
        (
            (clean.sandbox.address("server"), "2001:db8::5"),
            f"AAAA {DOMAIN} (2001:db8::5, but this server has",
        ),
    ):
        clean.sandbox.dns(DOMAIN, *addresses)
        refused = clean.fab("bootstrap", ok=False)
        assert words in refused.stderr
    clean.sandbox.dns(DOMAIN, "192.0.2.9")
    assert f"warn  A {DOMAIN}" in re.sub(
        " +", lambda m: "  " if len(m[0]) > 1 else " ", clean.fab("check", ok=None).stdout
    )


def test_neighbours_are_untouched(clean: World) -> None:
    """S7: a project, a container and a cron entry with similar names; files beside ours."""
    clean.server(
        "mkdir -p /srv/docker-registry /docker-registry/registry/data && cd /srv/docker-registry && "
        "printf 'services:\\n  registry:\\n    image: registry-sandbox/nginx\\n"
        '    entrypoint: [sleep, "600"]\\n\' >compose.yml && '
        "docker compose up -d 2>&1; "
        "docker run -d --name docker-registry-nginx-1 --entrypoint sleep registry-sandbox/nginx 600; "
        "echo '0 0 * * * root true' >/etc/cron.d/docker-registry; echo mine >/docker-registry/notes.txt"
    )
    before = states(clean)
    look = (
        "for f in /etc/cron.d/docker-registry /docker-registry/notes.txt /srv/docker-registry/*; do "
        "stat -c '%n %i %Y' $f; sha256sum $f; done"
    )
    files = clean.server(look)
    clean.bootstrap()
    clean.fab("down")
    assert states(clean) == before
    assert clean.server(look) == files
    clean.server("rm -rf /etc/cron.d/docker-registry /srv/docker-registry")


def test_a_file_that_is_not_ours_is_not_overwritten(clean: World) -> None:
    clean.server(f"mkdir -p {DEPLOY_DIR} && echo 'services: {{}}' >{DEPLOY_DIR}/compose.yml")
    refused = clean.fab("sync", ok=False)
    assert f"{DEPLOY_DIR}/compose.yml is there already and was not made by sync" in refused.stderr
    assert clean.server(f"ls -A {DEPLOY_DIR}; cat {DEPLOY_DIR}/compose.yml") == "compose.yml\nservices: {}\n"
    # Docker makes a directory where a file is missing that it should mount.
    clean.server(f"rm {DEPLOY_DIR}/compose.yml; mkdir -p {DEPLOY_DIR}/nginx/nginx.conf")
    refused = clean.fab("sync", ok=False)
    assert f"{DEPLOY_DIR}/nginx/nginx.conf is there already" in refused.stderr
    assert clean.server(f"ls -A {DEPLOY_DIR}") == "nginx\n"
