"""What is seen before an order, and before `Ready`: a closed port 443, containers without a way out, a wrong clock."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.sandbox.commands import ROOT
from tests.sandbox.demo import DOMAIN, fab

from .test_certificate_faults import PROXY, acme, order, wants
from .world import DEPLOY_DIR, World, own_copy, wait_until

__all__ = ["acme"]

ATTEMPTS = f"cat {DEPLOY_DIR}/certbot/attempts.json 2>/dev/null"
# Through a bridge of Docker's the packets of others pass here.
CLOSED = "DOCKER-USER -i eth0 -p tcp --dport %d -j REJECT --reject-with tcp-reset"


def from_outside(world: World, directory: Path, *tasks: str) -> subprocess.CompletedProcess[str]:
    """Run tasks on an operator's machine whose DNS knows the server: with a hosts file of their own."""
    hosts = directory / "hosts"
    hosts.write_text(f"{Path('/etc/hosts').read_text()}\n{world.sandbox.address('server')} {DOMAIN}\n")
    mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
    script = 'mount --bind "$1" /etc/hosts; shift; exec "$@"'
    command = [
        "unshare",
        *mapped,
        "--mount",
        "sh",
        "-ec",
        script,
        "sh",
        str(hosts),
        *fab(world.sandbox, world.settings),
    ]
    return subprocess.run([*command, *tasks], capture_output=True, text=True, check=False, timeout=600)


@contextmanager
def closed(world: World, port: int) -> Iterator[None]:
    """A firewall between the server and everybody else."""
    world.server(f"iptables -I {CLOSED % port}")
    try:
        yield
    finally:
        world.server(f"iptables -D {CLOSED % port}")


def row(output: str, name: str) -> str:
    (line,) = (line for line in output.splitlines() if name in line)
    return line


def test_port_443_is_closed_and_port_80_is_open(deployed: World, tmp_path: Path) -> None:
    address = deployed.sandbox.address("server")
    words = f"port 443 of {address} ({DOMAIN}) does not answer: Connection refused"
    with closed(deployed, 443):
        looked = from_outside(deployed, tmp_path, "check")
        assert looked.returncode == 1
        assert row(looked.stdout, "port 443 from here").startswith("failed")
        assert words in row(looked.stdout, "port 443 from here")
        assert "open port 443 in the firewall of your provider" in looked.stdout
        assert row(looked.stdout, "port 80 from here").startswith("ok")
        assert f"from your machine: {words}" in from_outside(deployed, tmp_path, "push-test").stderr
        stopped = from_outside(deployed, tmp_path, "bootstrap")
        assert f"bootstrap stopped at push-test: from your machine: {words}" in stopped.stderr
        assert "Ready" not in stopped.stdout
        assert words in from_outside(deployed, tmp_path, "status").stdout
    looked = from_outside(deployed, tmp_path, "check")
    assert looked.returncode == 0, looked.stderr
    assert row(looked.stdout, "port 443 from here").startswith("ok")
    assert f"answers at {address}" in row(looked.stdout, "port 443 from here")
    done = from_outside(deployed, tmp_path, "bootstrap")
    assert "Ready" in done.stdout, done.stderr
    assert "unseen" not in done.stdout


@pytest.mark.long
def test_what_nobody_saw_from_outside_is_said(clean: World, tmp_path: Path) -> None:
    looked = from_outside(clean, tmp_path, "check")
    for port in (80, 443):
        line = row(looked.stdout, f"port {port} from here")
        assert line.startswith("unseen")
        assert "nothing answers there on the server yet" in line
    clean.bootstrap()
    # Without the hosts file this machine does not know the name.
    looked = clean.fab("check")
    assert row(looked.stdout, "port 443 from here").startswith("unseen")
    assert f"this machine finds no address of {DOMAIN}" in looked.stdout
    assert "unseen" in clean.fab("push-test").stdout


@pytest.mark.long
def test_containers_without_a_way_out(acme: World) -> None:
    """As after a `flush ruleset`: the server itself goes on, nginx is reached, and certbot reaches nobody."""
    wants(acme)
    words = "containers have no way out: this server reaches acme.test:14009, and its containers do not"
    acme.server("iptables-save -t nat >/tmp/nat; iptables -t nat -F POSTROUTING")
    try:
        refused = order(acme, ok=False)
        assert words in refused
        assert "-> on the server: systemctl restart docker, or take `iptables: false` out" in refused
        looked = acme.fab("check", ok=False).stdout
        assert row(looked, "way out").startswith("failed")
        acme.expire()
        assert words in acme.server(f"{DEPLOY_DIR}/inv renew 2>&1", check=False)
        # No failed try, no pause.
        assert acme.sandbox.orders() == 0
        assert '"failures": 1' not in acme.server(ATTEMPTS, check=False)
    finally:
        acme.server("iptables-restore </tmp/nat")
    assert row(acme.fab("check", ok=None).stdout, "way out").startswith("ok")
    assert "ordered" in order(acme)


def dated(world: World, behind: int) -> str:
    """An ACME server whose clock is so many seconds behind the server's; one that was started before ends."""
    source = (Path(__file__).parent / "dated.py").read_text()
    world.sandbox.exec("ca", "sh", "-c", "cat >/tmp/dated.py", input=source)
    script = (
        'test ! -f /tmp/dated.pid || kill "$(cat /tmp/dated.pid)"; '
        f"setsid python3 /tmp/dated.py 14010 14000 {behind} >/dev/null 2>&1 & echo $! >/tmp/dated.pid"
    )
    world.sandbox.exec("ca", "sh", "-c", script, check=False)
    answers = ("curl", "-fsS", "--cacert", "/pebble/acme-ca.pem", "-o", "/dev/null", "-w", "%{http_code}")
    url = "https://localhost:14010/dir"
    wait_until(lambda: world.sandbox.exec("ca", *answers, url, check=False).endswith("200"), "it answers", 20)
    return "https://acme.test:14010/dir"


def test_a_clock_that_is_off_orders_nothing(acme: World) -> None:
    """Ahead and behind, by hand and by cron. One that is 70 days ahead finds each new certificate due."""
    for days, words in ((70, "70 days ahead of"), (-70, "70 days behind")):
        acme.configure(ACME_SERVER=dated(acme, days * 86400))
        acme.fab("sync")
        count = acme.certificates()
        refused = order(acme, ok=False)
        assert f"nothing was ordered: the clock of this server is {words} that of the ACME server" in refused
        assert "timedatectl set-ntp true" in refused
        acme.server(
            f"sed -i 's#^server = .*#server = https://acme.test:14010/dir#' {DEPLOY_DIR}/certbot/conf/renewal/*.conf"
        )
        acme.expire()
        for _ in range(2):
            assert f"the clock of this server is {words}" in acme.server(f"{DEPLOY_DIR}/inv renew 2>&1", check=False)
        assert acme.certificates() == count
        assert '"failures": 1' not in acme.server(ATTEMPTS, check=False)
    # The clock is right again, and no pause is left over.
    acme.configure(ACME_SERVER=dated(acme, 0))
    acme.fab("sync")
    assert "renewed and served" in acme.server(f"{DEPLOY_DIR}/inv renew 2>&1")
    acme.configure(ACME_SERVER=PROXY)


@pytest.mark.long
def test_a_hook_that_fails_is_told_with_its_own_words(acme: World, tmp_path: Path) -> None:
    copy = own_copy(tmp_path)
    hooks = copy / "deploy/certbot/hooks"
    hooks.mkdir(parents=True)
    for name, text in (("dns-auth", "echo asking >&2; echo 'no such zone: example' >&2; exit 3"), ("dns-cleanup", ":")):
        (hooks / name).write_text(f"#!/bin/sh\n{text}\n")
        (hooks / name).chmod(0o755)
    command = [word.replace(str(ROOT / "fab"), str(copy / "fab")) for word in fab(acme.sandbox, acme.settings)]
    # A name that was never proven: an authority asks no second time for one that was.
    name = f"hook-{os.urandom(4).hex()}.{DOMAIN}"
    wants(acme, ACME_CHALLENGE="dns-01", REGISTRY_ALIASES=name)
    done = subprocess.run([*command, "sync", "init-letsencrypt"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"the hook dns-auth for {name} ended with status 3: no such zone: example" in done.stderr, done.stderr
    acme.configure(ACME_SERVER=PROXY)
    acme.fab("sync", "up")


@pytest.mark.long
def test_an_authority_of_your_own_without_key_usage(deployed: World, tmp_path: Path) -> None:
    """As `openssl req -x509` makes it. Docker takes it; so must our own proof, under the server's Python 3.13 too."""
    script = f"""
        cd {tmp_path}
        new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        openssl req -x509 $new -subj '/CN=Own CA' -days 30 -keyout ca.key -out ca.pem
        openssl req $new -subj /CN={DOMAIN} -keyout key.pem -out csr.pem
        echo subjectAltName=DNS:{DOMAIN} >names
        openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out leaf.pem
        cat leaf.pem ca.pem >own.pem
        ! openssl x509 -in ca.pem -noout -text | grep -q 'Key Usage'
    """
    subprocess.run(["sh", "-ec", script], check=True, capture_output=True)
    deployed.configure(TLS_CERTIFICATE=str(tmp_path / "own.pem"), TLS_KEY=str(tmp_path / "key.pem"))
    try:
        deployed.fab("sync", "up")
        done = deployed.fab("push-test", "--from", "host").stdout
        assert "pushed, pulled, equal, deleted" in done
    finally:
        deployed.configure()
        deployed.fab("sync", "up", "init-letsencrypt")
