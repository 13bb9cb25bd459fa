"""C1-C14 of a certificate's life: whatever goes wrong, what works goes on, and no limit is spent in vain.

The ACME server is a real one (Pebble) behind a proxy that can do what Pebble cannot: be down, be slow,
say `rateLimited`. A probe asks port 443 all the while and must lose no request.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fabfile.certificate.onhost import certbot
from fabfile.errors import StepError
from fabfile.layout import Inside
from fabfile.machine.host import here
from tests.sandbox.commands import ROOT, output
from tests.sandbox.demo import DOMAIN, fab

from .probe import asking
from .test_certificates import B
from .world import DEPLOY_DIR, PASSWORD, PROJECT, USER, World, own_copy, wait_until

PROXY = "https://acme.test:14009/dir"
ARCHIVE = f"{DEPLOY_DIR}/certbot/conf/archive/{DOMAIN}"
LIVE = f"{DEPLOY_DIR}/certbot/conf/live/{DOMAIN}"
# As certbot would have left it a year ago: its own names and files, but long over.
Record = Callable[[str, object], None]
WORKERS = "ps -eo pid,args | grep '[n]ginx: worker process$' | sort"


RENEWAL = f"{DEPLOY_DIR}/certbot/conf/renewal/{DOMAIN}.conf"


@pytest.fixture
def acme(world: World) -> Iterator[World]:
    """A bootstrapped server whose ACME server is behind the proxy."""
    sandbox = world.sandbox
    sandbox.fault(None)
    world.standard(ACME_SERVER=PROXY)
    sandbox.clear_acme_log()
    yield world
    sandbox.fault(None)
    sandbox.dns(DOMAIN, sandbox.address("server"))
    world.server(f"sed -i 's#^server = .*#server = {PROXY}#' {RENEWAL}")


def wants(world: World, **settings: str) -> None:
    """Let the certificate be one of another authority, so that the next init-letsencrypt has to order."""
    world.configure(ACME_SERVER=PROXY, **settings)
    world.server(f"sed -i 's#^server = .*#server = https://elsewhere.test/dir#' {RENEWAL}")


def order(world: World, *options: str, ok: bool = True) -> str:
    done = world.fab("init-letsencrypt", *options, ok=ok)
    return done.stdout + done.stderr


def test_c1_the_server_is_down(acme: World, record_property: Record) -> None:
    wants(acme)
    serial = acme.serial()
    with asking(acme, record_property):
        acme.sandbox.fault("drop")
        assert "acme.test:14009 cannot be reached" in order(acme, ok=False)
        acme.sandbox.fault(None)
        acme.sandbox.clear_acme_log()
        assert "nothing was asked: the last try failed" in order(acme, ok=False)
        assert acme.sandbox.acme_log() == []
        assert acme.serial() == serial
        # A minute later, without the minute.
        acme.server(f'sed -i \'s/"next": .*,/"next": 1,/\' {DEPLOY_DIR}/certbot/attempts.json')
        assert "ordered" in order(acme)
    assert (acme.sandbox.orders(), acme.sandbox.issued()) == (1, 1)


@pytest.mark.long
def test_c2_rate_limited(acme: World, record_property: Record) -> None:
    wants(acme)
    with asking(acme, record_property):
        acme.sandbox.fault("rateLimited", retry_after=7200, path="/order-plz")
        refused = order(acme, ok=False)
        assert "too many certificates" in refused
        named = re.search(r"not asked again before (\S+ \S+) UTC", refused)
        assert named is not None
        until = time.strftime("%Y-%m-%d %H:%M", time.gmtime(time.time() + 7200))
        assert abs(int(named[1][-2:]) - int(until[-2:])) in (0, 1, 59)
        assert named[1][:13] in (
            until[:13],
            time.strftime("%Y-%m-%d %H", time.gmtime(time.time() + 7100)),
        )
        acme.sandbox.fault(None)
        acme.sandbox.clear_acme_log()
        again = order(acme, ok=False)
        assert f"the next one is not before {named[1]}" in again
        assert "--force" in again
        assert acme.sandbox.acme_log() == []
        assert "ordered" in order(acme, "--force")


@pytest.mark.long
def test_c3_c4_dns_or_port_80_lead_elsewhere(acme: World, record_property: Record) -> None:
    sandbox, client = acme.sandbox, acme.sandbox.address("client")
    wants(acme)
    with asking(acme, record_property):
        for addresses, told, found in (
            ((), f"{DOMAIN}: no DNS server says anything of it", "no A and no AAAA record"),
            (
                (client,),
                f"port 80 of {client} ({DOMAIN}) does not answer",
                f"{client}, but this server has",
            ),
            (
                (sandbox.address("server"), "2001:db8::1"),
                "port 80 of 2001:db8::1",
                "2001:db8::1, but this",
            ),
        ):
            sandbox.dns(DOMAIN, *addresses)
            assert told in order(acme, ok=False)
            assert found in acme.fab("check", ok=None).stdout
        # Ends by itself.
        stranger = ("timeout", "30", "python3", "-m", "http.server", "80", "--directory", "/pebble")
        output("docker", "exec", "--detach", sandbox.container("ca"), *stranger)
        sandbox.dns(DOMAIN, sandbox.address("ca"))
        wait_until(
            lambda: "answered by something else (HTTP 404)" in order(acme, ok=False),
            "it answers",
            20,
        )
    assert sandbox.orders() == 0


def test_caa_records_are_read_first(acme: World) -> None:
    wants(acme)
    sandbox = acme.sandbox
    sandbox.fault("meta", meta={"caaIdentities": ["ours.test"]})
    try:
        sandbox.caa(DOMAIN, "other.test")
        assert f"the CAA record of {DOMAIN} lets only other.test issue" in order(acme, ok=False)
        assert sandbox.orders() == 0
        sandbox.caa(DOMAIN, "other.test", "ours.test")
        assert "ordered" in order(acme)
    finally:
        sandbox.caa(DOMAIN)


@pytest.mark.long
def test_c6_another_certbot_holds_the_lock(acme: World, record_property: Record, tmp_path: Path) -> None:
    wants(acme)
    held = (
        "import fcntl,time; f=open('/c/.certbot.lock','w'); fcntl.lockf(f,fcntl.LOCK_EX); print('held', flush=True); "
        "time.sleep(600)"
    )
    argv = [*fab(acme.sandbox, acme.settings), "init-letsencrypt"]

    def at_work() -> bool:
        return "certbot certonly" in acme.server("ps -eo args")

    with asking(acme, record_property):
        acme.server(
            f"docker run -d --name holder -v {DEPLOY_DIR}/certbot/conf:/c --entrypoint python3 "
            "registry-sandbox/certbot "
            f'-c "{held}" >/dev/null; until docker logs holder | grep -q held; do sleep 0.1; done'
        )
        try:
            with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as waiting:
                wait_until(at_work, "certbot tries")
                wait_until(lambda: not at_work(), "it is refused")
                wait_until(at_work, "certbot tries again")
                acme.server("docker rm -f holder")
                output, _ = waiting.communicate(timeout=120)
        finally:
            acme.server("docker rm -f holder 2>/dev/null", check=False)
        assert "ordered" in output
    assert acme.sandbox.orders() == 1
    # Not for ever: one clear line when it does not end.
    busy = ["sh", "-c", f"echo '{certbot.BUSY}'; exit 1"]
    with pytest.raises(StepError) as refused:
        here().call(certbot.run, busy, "no-such-container", str(tmp_path), seconds=1)
    assert "another certbot works in the same directory" in str(refused.value)


def test_c7_the_disk_is_full(acme: World, record_property: Record) -> None:
    """A full disk of their own below the accounts and below certbot's directory."""
    wants(acme)
    serial = acme.serial()
    full = (
        "set -e; for d in registry/auth certbot/conf; do cd /docker-registry/$d; cp -a . /tmp/kept; "
        "mount -t tmpfs -o size=300k tmpfs .; cd .; cp -a /tmp/kept/. .; rm -r /tmp/kept; "
        "dd if=/dev/zero of=filler bs=1k 2>/dev/null || true; done"
    )
    look = (
        f"cd {DEPLOY_DIR} && find -L registry/auth certbot/conf -type f ! -name filler ! -name '.*' "
        "-exec sha256sum {} + | sort"
    )
    with asking(acme, record_property):
        before = acme.server(look)
        acme.server(full)
        try:
            failed = acme.fab("htpasswd", "--user", "late", input="password\n", ok=False)
            assert "No space left on device; nothing was changed" in failed.stderr
            assert "nothing was ordered: no room for an order" in order(acme, ok=False)
            # What certbot began with may lie beside them.
            assert set(before.splitlines()) <= set(acme.server(look).splitlines())
            assert acme.serial() == serial
            assert acme.login(USER, PASSWORD) == 200
        finally:
            acme.server("umount /docker-registry/registry/auth; umount /docker-registry/certbot/conf")
        assert "ordered" in order(acme, "--force")
        assert acme.serial() not in ("", serial)


def test_c10_an_expired_certificate_is_renewed_and_people_are_told_once(acme: World) -> None:
    """With the server down first: cron's own command fails, and ALERT_COMMAND hears of it once."""
    acme.configure(
        ACME_SERVER=PROXY,
        RETRY_PAUSES="0.03 0.03",
        ALERT_COMMAND="cat >>/tmp/alerts; echo . >>/tmp/alerts",
    )
    acme.fab("sync")
    acme.expire()
    acme.server("rm -f /tmp/alerts")
    acme.fab("up")
    assert "EXPIRED" in acme.fab("status", ok=False).stdout
    acme.sandbox.fault("drop")
    renew = f"{DEPLOY_DIR}/inv renew 2>&1; echo exit $?"
    for _ in range(3):
        assert "exit 1" in acme.server(renew)
    alerts = acme.server("cat /tmp/alerts")
    assert alerts.count("cannot be reached") == 1, alerts
    acme.sandbox.fault(None)
    acme.sandbox.clear_acme_log()
    wait_until(lambda: "exit 0" in acme.server(renew), "the pause is over", 30)
    assert acme.sandbox.issued() == 1
    assert acme.login(USER, PASSWORD) == 200
    assert "certificate    valid" in acme.fab("status").stdout
    # The same problem, once more after all was well, is news again.
    acme.expire()
    acme.sandbox.fault("drop")
    acme.server(renew)
    assert acme.server("cat /tmp/alerts").count("cannot be reached") == 2
    acme.sandbox.fault(None)
    wait_until(lambda: "exit 0" in acme.server(renew), "the pause is over", 30)


@pytest.mark.long
def test_a_bad_nonce_and_a_slow_server_are_borne(acme: World) -> None:
    wants(acme)
    acme.sandbox.fault("badNonce", count=1)
    assert "ordered" in order(acme)
    acme.sandbox.fault("delay", seconds=1, count=4)
    assert "ordered" in order(acme, "--force")
    assert acme.sandbox.issued() == 2


@pytest.mark.long
def test_a_first_order_is_rehearsed_elsewhere(acme: World) -> None:
    """Nothing reaches the real one unless the rehearsal went well."""
    acme.server(f"rm -rf {DEPLOY_DIR}/certbot/conf")
    acme.configure(ACME_SERVER=B, ACME_REHEARSAL=PROXY)
    acme.fab("sync", "up")
    acme.sandbox.fault("rateLimited", retry_after=60, path="/order-plz")
    refused = order(acme, ok=False)
    assert f"the rehearsal at {PROXY} failed, so nothing was ordered" in refused
    assert not acme.certificates()
    acme.sandbox.fault(None)
    acme.sandbox.clear_acme_log()
    assert "rehearsed first" in order(acme)
    assert acme.sandbox.issued() == 1
    assert acme.certificates() == 1
    assert "rehearsed" not in order(acme, "--force")


def test_a_profile_that_is_not_offered_is_refused(acme: World) -> None:
    wants(acme, ACME_PROFILE="shortlived")
    assert "ACME_PROFILE=shortlived: the ACME server acme.test:14009 offers none" in order(acme, ok=False)
    assert acme.sandbox.orders() == 0


@pytest.mark.long
def test_c12_a_reload_that_does_not_happen(acme: World) -> None:
    """nginx's master stands still: noticed, put back on disk, and done by the next run."""
    serial = acme.serial()
    master = "docker inspect --format '{{.State.Pid}}' private-docker-registry-nginx-1"
    acme.server(f"kill -STOP $({master})")
    try:
        live = acme.server(f"readlink {DEPLOY_DIR}/nginx/live")
        failed = order(acme, "--force", ok=False)
        assert "does not take over" in failed
        assert "what it ran before goes on" in failed
        assert acme.server(f"readlink {DEPLOY_DIR}/nginx/live") == live
        assert acme.serial() == serial
    finally:
        acme.server(f"kill -CONT $({master})")
    assert "nginx now serves what was on disk" in acme.fab("renew").stdout
    assert acme.serial() != serial


def test_c13_port_80_answers_at_once_without_any_certificate(clean: World) -> None:
    clean.fab("sync", "htpasswd", "--user", USER, "up", input=PASSWORD + "\n")
    clean.server(f"docker restart {PROJECT}-nginx-1")
    wait_until(lambda: clean.status("/", port=80) == 308, "port 80 answers", 5)
    assert clean.status("/v2/") == 0


@pytest.mark.long
def test_c14_a_long_push_during_five_reloads(acme: World, record_property: Record) -> None:
    layer = acme.sandbox.directory / "layer"
    layer.write_bytes(os.urandom(3_000_000))
    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    login = ("-u", f"{USER}:{PASSWORD}")
    head = acme.curl("/v2/c14/blobs/uploads/", "-X", "POST", "-D", "-", "-o", "/dev/null", *login)
    found = re.search(r"(?im)^location: https://[^/]+(\S+)", head)
    assert found is not None
    port = acme.sandbox.port(443)
    url = f"https://{DOMAIN}:{port}{found[1]}&digest=sha256:{digest}"
    argv = [
        "curl", "-sS", "--cacert", str(acme.sandbox.directory / "ca.pem"), "--resolve", f"{DOMAIN}:{port}:127.0.0.1",
        *login, "--limit-rate", "200k", "-X", "PUT", "-T", str(layer), "-o", "/dev/null", "-w", "%{http_code}", url,
    ]  # fmt: skip
    with (
        asking(acme, record_property),
        subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as push,
    ):
        for _ in range(5):
            assert push.poll() is None, "the push was too quick for this test"
            before = acme.server(WORKERS)
            acme.server(f"docker exec {PROJECT}-nginx-1 nginx -c {Inside.CONFIGURATION} -s reload")
            wait_until(
                lambda old=before: acme.server(WORKERS) != old,  # type: ignore[misc]
                "new workers are there",
                20,
            )
        answer, _ = push.communicate(timeout=120)
        assert answer == "201"
    pulled = acme.sandbox.directory / "pulled"
    acme.curl(f"/v2/c14/blobs/sha256:{digest}", *login, "-o", str(pulled))
    assert pulled.read_bytes() == layer.read_bytes()


HOOK = """\
#!/usr/bin/python3
import json, os, urllib.request
name = "_acme-challenge." + os.environ["CERTBOT_DOMAIN"] + "."
data = {"host": name, "value": os.environ["CERTBOT_VALIDATION"]}
urllib.request.urlopen("http://acme.test:8055/%s", json.dumps(data).encode())
"""


def test_a_wildcard_by_dns_01_with_port_80_closed(acme: World, tmp_path: Path) -> None:
    """With hooks that write to the sandbox's own DNS; from a copy, as they belong into deploy/."""
    copy = own_copy(tmp_path)
    command = [word.replace(str(ROOT / "fab"), str(copy / "fab")) for word in fab(acme.sandbox, acme.settings)]

    def run(*tasks: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *tasks], capture_output=True, text=True, check=False)

    acme.configure(ACME_SERVER=PROXY, ACME_CHALLENGE="dns-01", REGISTRY_ALIASES=f"*.{DOMAIN} any.{DOMAIN}")
    refused = run("sync")
    assert refused.returncode == 2
    assert "needs an executable" in refused.stderr
    hooks = copy / "deploy/certbot/hooks"
    hooks.mkdir(parents=True)
    for name, path in (("dns-auth", "set-txt"), ("dns-cleanup", "clear-txt")):
        (hooks / name).write_text(HOOK % path)
        (hooks / name).chmod(0o755)
    assert run("sync", "up").returncode == 0
    try:
        acme.sandbox.dns(DOMAIN, acme.sandbox.address("client"))
        done = run("init-letsencrypt")
        assert "ordered" in done.stdout, done.stderr
        assert acme.curl("/v2/", "-u", f"{USER}:{PASSWORD}", name=f"any.{DOMAIN}") == "{}"
        # The name that the wildcard covers is not in it a second time: Let's Encrypt refuses that.
        assert "nothing to order" in run("init-letsencrypt").stdout
        assert acme.server(f"stat -c %a {DEPLOY_DIR}/certbot/hooks/dns-auth") == "700\n"
        assert "nothing due" in acme.server(f"{DEPLOY_DIR}/inv renew")
    finally:
        acme.sandbox.dns(DOMAIN, acme.sandbox.address("server"))


def test_a_certificate_of_your_own(acme: World, tmp_path: Path) -> None:
    def make(name: str, days: int = 30, options: str = "") -> None:
        script = (
            f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=own -days {days} -addext subjectAltName=DNS:{name} "
            f"-keyout {tmp_path}/key.pem -out {tmp_path}/own.pem {options} 2>/dev/null"
        )
        subprocess.run(["sh", "-ec", script], check=True)

    own = {"TLS_CERTIFICATE": str(tmp_path / "own.pem"), "TLS_KEY": str(tmp_path / "key.pem")}
    make("other.test")
    acme.configure(**own)
    refused = acme.fab("sync", ok=False)
    assert refused.returncode == 2
    assert f"it is for other.test, not for {DOMAIN}" in refused.stderr
    make(DOMAIN)
    key = (tmp_path / "key.pem").read_text()
    make(DOMAIN)
    good = (tmp_path / "key.pem").read_text()
    (tmp_path / "key.pem").write_text(key)
    assert "is not the key of" in acme.fab("sync", ok=False).stderr
    (tmp_path / "key.pem").write_text(good)
    count = acme.certificates()
    acme.fab("sync", "up")
    assert "your own certificate, valid 30 days" in acme.fab("init-letsencrypt").stdout
    assert "nothing due" in acme.server(f"{DEPLOY_DIR}/inv renew")
    assert acme.certificates() == count
    assert acme.server(f"stat -c %a {DEPLOY_DIR}/tls/privkey.pem") == "600\n"
    assert "PRIVATE" not in acme.fab("sync", "--diff").stdout
    printed = subprocess.run(
        ["openssl", "x509", "-noout", "-serial", "-in", str(tmp_path / "own.pem")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert acme.serial() == printed.strip().partition("=")[2]
    # And back: the old lineage is still there and good.
    acme.configure(ACME_SERVER=PROXY)
    acme.fab("sync", "up")
    assert "nothing to order" in order(acme)
    assert acme.server(f"test -e {DEPLOY_DIR}/tls/privkey.pem || echo gone") == "gone\n"
