"""A6 to A9: accounts that go, storms of wrong passwords, strangers; and crowds that are none of these."""

from __future__ import annotations

import base64
import collections
import contextlib
import hashlib
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fabfile.layout import AWAY_FILE
from tests.sandbox.commands import ROOT
from tests.sandbox.demo import DOMAIN

from .world import DEPLOY_DIR, PASSWORD, PROJECT, USER, World, first, wait_until

LOAD = Path(__file__).with_name("load.py")
Answers = list[tuple[float, int, str]]


@contextlib.contextmanager
def load(world: World, **job: Any) -> Iterator[Answers]:
    """Requests from the client's machine as long as the block lasts; then their answers are there."""
    answers: Answers = []
    job = {"host": DOMAIN, "threads": 10, "pause": 0, "rounds": 0, "paths": ["/v2/"], **job}
    argv = [
        "docker",
        "exec",
        "-i",
        world.sandbox.container("client"),
        "python3",
        "-c",
        LOAD.read_text(),
    ]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "going\n"
        try:
            yield answers
        finally:
            process.stdin.close()
            answers += [tuple(answer) for answer in json.loads(process.stdout.read())]


def forget_storms(world: World) -> None:
    """What is counted of addresses is in nginx's memory, over reloads too."""
    world.server(f"docker restart -t 2 {PROJECT}-nginx-1")
    wait_until(lambda: world.status("/v2/") == 401, "nginx is back")


def counted(answers: Answers) -> dict[int, int]:
    return dict(collections.Counter(status for _, status, _ in answers))


@pytest.mark.parametrize("how", first(["removed", "changed", "role"]))
def test_a6_an_account_that_goes_is_gone_under_load(deployed: World, how: str, record_property: Any) -> None:
    """50 requests a second by the user; not one is answered later than a second after the command's end."""
    leaver = f"leaver-{how}"
    deployed.fab("htpasswd", "--user", leaver, "--role", "admin", input="secret\n")
    path = "/v2/_catalog" if how == "role" else "/v2/"
    with load(deployed, pause=0.2, logins=[f"{leaver}:secret"], paths=[path]) as answers:
        time.sleep(2)
        change = {
            "removed": (["--remove", leaver], ""),
            "changed": (["--user", leaver], "another\n"),
            "role": (["--user", leaver, "--role", "pull", "--keep"], ""),
        }[how]
        deployed.fab("htpasswd", *change[0], input=change[1])
        ended = time.time()
        time.sleep(3)
    good = [when for when, status, _ in answers if status == 200]
    refused = 403 if how == "role" else 401
    assert len(good) > 5
    assert max(good) < ended + 1
    # In the end it is one more address that tries a wrong password too often.
    assert set(counted(answers)) - {429} == {200, refused}
    assert counted(answers)[refused] >= 5
    record_property("last 200, seconds after the end", round(max(good) - ended, 3))
    print(f"\n{how}: {counted(answers)}, last 200 {max(good) - ended:+.3f} s after the command's end")
    # Nothing of it is remembered, not even where nobody asks.
    assert how == "role" or f"{leaver}:secret" not in remembered(deployed)
    deployed.fab("htpasswd", "--remove", leaver)


def test_a6_a_request_that_began_before_has_the_new_rights(deployed: World) -> None:
    """An old worker of nginx waits for the rest of it, and knows the old roles."""
    deployed.fab("htpasswd", "--user", "early", "--role", "admin", input="secret\n")
    assert deployed.status("/v2/_catalog", "-u", "early:secret") == 200
    token = base64.b64encode(b"early:secret").decode()
    head = f"GET /v2/_catalog HTTP/1.1\r\nHost: {DOMAIN}\r\nAuthorization: Basic {token}\r\nConnection: close\r\n"
    with connected(deployed) as one, connected(deployed) as other:
        for each in (one, other):
            each.sendall(head.encode())
        deployed.fab("htpasswd", "--user", "early", "--role", "pull", "--keep")
        one.sendall(b"\r\n")
        assert b" 503 " in one.recv(4096).partition(b"\r\n")[0]
        deployed.fab("htpasswd", "--remove", "early")
        other.sendall(b"\r\n")
        assert b" 401 " in other.recv(4096).partition(b"\r\n")[0]


def connected(world: World) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(world.sandbox.directory / "ca.pem"))
    plain = socket.create_connection(("127.0.0.1", world.sandbox.port(443)), 60)
    return context.wrap_socket(plain, server_hostname=DOMAIN)


def remembered(world: World) -> str:
    """What nginx has in memory of passwords, decoded."""
    script = (
        "import base64, pathlib, re\n"
        "for path in pathlib.Path('/proc/%s/root/run/accounts').rglob('*'):\n"
        "    if path.is_file():\n"
        "        for found in re.findall(rb'KEY: \\S+ Basic (\\S+)', path.read_bytes()):\n"
        "            print(base64.b64decode(found))\n"
    )
    return world.server('python3 -c "$1"', script % world.nginx_pid())


def test_passwords_are_remembered_in_memory_alone(deployed: World) -> None:
    canary = "canary-5b1e77f0a2"
    deployed.fab("htpasswd", "--user", "canary", input=canary + "\n")
    assert deployed.login("canary", canary) == 200
    assert canary in remembered(deployed)
    mounted = deployed.server(f"docker exec {PROJECT}-nginx-1 cat /proc/mounts")
    assert " /run tmpfs " in mounted
    encoded = deployed.server(f"printf %s 'canary:{canary}' | base64").strip()
    left = deployed.server(f"grep -rlFs -e {canary} -e {encoded} / --exclude-dir=proc --exclude-dir=sys", check=False)
    assert left == ""
    deployed.fab("htpasswd", "--remove", "canary")
    assert canary not in remembered(deployed)


def test_a7_a_storm_of_wrong_passwords(deployed: World) -> None:
    forget_storms(deployed)
    wrong = [f"{USER}:wrong-{number}" for number in range(200)]
    right = ("-u", f"{USER}:{PASSWORD}")
    assert deployed.status("/v2/", *right) == 200
    deployed.fab("htpasswd", "--user", "calm", input="secret\n")
    with load(deployed, logins=wrong, spread=True, rounds=20) as answers:
        # Another address: a password that nginx knows already, and one that has to be checked in the storm.
        took = []
        for login in (*[right] * 5, ("-u", "calm:secret")):
            started = time.monotonic()
            assert deployed.status("/v2/", *login) == 200
            took.append(time.monotonic() - started)
    print(f"\nfrom another address, in the storm: {max(took[:5]):.2f} s, a new password {took[5]:.2f} s")
    assert max(took) < 10
    seen = counted(answers)
    print(f"\nstorm: {seen}")
    assert set(seen) == {401, 429}
    assert 20 <= seen[401] <= 60
    # A stranger from there is told to wait, but for one try each 3 s; whoever is known there already goes on.
    for _ in range(20):
        told = from_client(deployed, "-u", f"{USER}:wrong", "-D", "-")
        if "429" in told.splitlines()[0]:
            break
    assert "429" in told.splitlines()[0]
    assert "retry-after: 60" in told.lower()
    assert '"code":"TOOMANYREQUESTS"' in told
    assert from_client(deployed, *right) == "{}"
    # Another name from there is another matter, and so is another address.
    deployed.fab("htpasswd", "--user", "late", input="secret\n")
    assert from_client(deployed, "-u", "late:secret") == "{}"
    assert deployed.status("/v2/", *right) == 200
    deployed.fab("htpasswd", "--remove", "late")
    deployed.fab("htpasswd", "--remove", "calm")


@pytest.mark.long
def test_a7_many_names_from_one_address(deployed: World) -> None:
    """An office may be many names; who tries hundreds is told to wait, and others are not."""
    forget_storms(deployed)
    wrong = [f"name{number}:wrong" for number in range(200)]
    start = time.monotonic()
    with load(deployed, logins=wrong, spread=True, rounds=20) as answers:
        pass
    seconds = time.monotonic() - start
    seen = counted(answers)
    print(f"\nmany names: {seen} in {seconds:.0f} s")
    # 121 at once and then one a second: on a busy machine the tries themselves take long.
    assert 100 <= seen[401] <= 121 + seconds
    assert seen[401] + seen.get(429, 0) == 200
    assert deployed.login(USER, PASSWORD) == 200
    forget_storms(deployed)


def from_client(world: World, *options: str) -> str:
    return world.sandbox.exec("client", "curl", "-sS", *options, f"https://{DOMAIN}/v2/")


@pytest.mark.long
def test_a7_a_gateway_is_never_shut_out(deployed: World) -> None:
    """From the server itself all come through Docker's own proxy, like everyone over IPv6 would."""
    curl = f"curl -sk -o /dev/null -w '%{{http_code}} ' --resolve {DOMAIN}:443:127.0.0.1"
    storm = f"for n in $(seq 12); do {curl} -u {USER}:wrong-$1-$n https://{DOMAIN}/v2/; done"
    codes = deployed.server(f"storm() {{ {storm}; }}; for i in 1 2 3 4; do storm $i & done; wait").split()
    assert collections.Counter(codes) == {"401": 48}
    assert deployed.server(f'{curl} -u "$1" https://{DOMAIN}/v2/', f"{USER}:{PASSWORD}").strip() == "200"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"])
def test_a8_strangers_get_401(deployed: World, method: str) -> None:
    """TRACE nginx itself refuses, before anything else."""
    paths = (
        "/", "/v1/", "/v2", "/v2/", "/v2/_catalog", "/v2/a/b/manifests/latest", "/v2/a/b/tags/list",
        "/v2/a/blobs/uploads/", "/v2/a/blobs/uploads/uuid?digest=sha256:0", "/token", "/authenticate",
        "/authenticate-or-nobody", "/metrics", "/debug/health",
        "//v2//_catalog", "/v2/%2e%2e/", "/v2/../../etc/passwd", "/.well-known/acme-challenge/x", "/nginx.conf",
    )  # fmt: skip
    how = ("-I",) if method == "HEAD" else ("-X", method)
    for path in paths:
        status = deployed.status(path, *how, "--path-as-is")
        # Above the root there is nothing to ask for.
        expected = 400 if ".." in path else 405 if method == "TRACE" else 401
        if path == "/" and method in ("GET", "HEAD"):
            # The page for people, which says the same to all.
            expected = 200
        assert status == expected, path
        basic = ("-H", "Authorization: Basic")
        assert deployed.status(path, *how, *basic, "--path-as-is") in (400, 401, 405, expected), path


def test_a8_port_80_redirects_and_answers_the_authority_alone(deployed: World) -> None:
    assert deployed.status("/.well-known/acme-challenge/x", port=80) == 404
    for path in ("/", "/v2/", "/v2/_catalog"):
        assert deployed.status(path, port=80) == 308
        location = deployed.curl(path, "-o", "/dev/null", "-w", "%{redirect_url}", port=80)
        assert location == f"https://{DOMAIN}{path}"


def test_no_version_is_told(deployed: World) -> None:
    for port in (80, 443):
        head = deployed.curl("/", "-I", port=port)
        assert "Server: nginx\n" in head.replace("\r", "")


@pytest.mark.long
def test_slow_clients_go_and_slow_pushes_stay(deployed: World) -> None:
    login = ("-u", f"{USER}:{PASSWORD}")
    path = deployed.begin_upload("slow", *login)
    token = deployed.server('printf %s "$1" | base64 -w0', f"{USER}:{PASSWORD}")
    with connected(deployed) as slow, connected(deployed) as push:
        push.sendall(
            f"PATCH {path} HTTP/1.1\r\nHost: {DOMAIN}\r\nAuthorization: Basic {token}\r\n"
            "Content-Type: application/octet-stream\r\nContent-Length: 700\r\n\r\n".encode()
        )
        started = time.monotonic()
        slow.sendall(f"GET /v2/ HTTP/1.1\r\nHost: {DOMAIN}\r\n".encode())
        slow.settimeout(0.2)
        gone = False
        sent = 0
        # A byte now and then, by both: one is a header without end, the other a body.
        while not gone and time.monotonic() - started < 90:
            with contextlib.suppress(TimeoutError):
                gone = slow.recv(1) == b""
            if sent < 600:
                push.sendall(b"x")
                sent += 1
            with contextlib.suppress(OSError):
                slow.sendall(b"x")
        assert gone
        push.sendall(b"x" * (700 - sent))
        assert b" 202 " in push.recv(4096).partition(b"\r\n")[0]


@pytest.mark.long
def test_bodies_that_nobody_reads_fill_no_memory(deployed: World) -> None:
    """nginx's temporary files are in memory: what it would keep there is refused, the rest streams."""
    deployed.configure(ANONYMOUS_PULL="public/*")
    deployed.fab("sync", "up")
    deployed.fab("htpasswd", "--user", "filler", "--repository", "team-a/*", input="secret\n")
    used = (
        f"docker exec {PROJECT}-nginx-1 cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes "
        "/sys/fs/cgroup/memory.peak 2>/dev/null"
    )
    login = ("-u", "filler:secret")
    zeros = f"sha256:{'0' * 64}"
    for method, path, who in (
        ("GET", "/token", ()),
        ("GET", f"/v2/public/x/blobs/{zeros}", ("-H", "Authorization: Bearer anonymous")),
        ("POST", "/v2", login),
        ("DELETE", f"/v2/team-a/x/blobs/{zeros}", login),
        ("PUT", "/v2/other/x/manifests/1", login),
        ("POST", "/v2/team-a/x/blobs/uploads/", login),
    ):
        send = "head -c 150000000 /dev/zero | curl -sS -o /dev/null -w '%{http_code}' --data-binary @- -H 'Expect:' -X"
        status = deployed.sandbox.exec(
            "client", "sh", "-c", f'{send} "$@" || true', "sh", method, *who, f"https://{DOMAIN}{path}"
        )
        assert status in ("202", "403", "413", "000", "400", "404"), (path, status)
        peak = deployed.server(used, check=False).split()
        assert all(int(number) < 100e6 for number in peak), (path, peak)
    assert deployed.login("filler", "secret") == 200
    deployed.fab("htpasswd", "--remove", "filler")
    deployed.configure()
    deployed.fab("sync", "up")


@pytest.mark.long
def test_crowds_are_not_attacks(deployed: World) -> None:
    """50 pulls at once from one address, by 20 accounts that nobody knows yet, and pulls of 100 layers."""
    layers = [f"layer {number}".encode() for number in range(100)]
    digests = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    script = (
        'for n in $(seq 0 99); do printf "layer %d" $n >/tmp/layer; '
        "to=$(curl -sS -o /dev/null -w '%header{location}' -X POST $ask http://x/v2/crowd/blobs/uploads/); "
        "curl -sS -o /dev/null -X PUT --data-binary @/tmp/layer -H 'Content-Type: application/octet-stream' $ask "
        '"$to&digest=sha256:$(sha256sum </tmp/layer | cut -c-64)"; done'
    )
    # Past nginx, as this is not about pushing.
    socket_file = f"{DEPLOY_DIR}/registry/sockets/registry/registry.sock"
    deployed.server(f"ask='--unix-socket {socket_file}'; {script}")
    theirs = deployed.sandbox.directory / "crowd"
    line = deployed.server(f"sed -n 's/^{USER}://p' {DEPLOY_DIR}/registry/auth/htpasswd").strip()
    theirs.write_text("".join(f"crowd{number}:{line}\n" for number in range(20)))
    deployed.fab("htpasswd", "--import", str(theirs), "--role", "pull")
    paths = ["/v2/", *(f"/v2/crowd/blobs/{digest}" for digest in digests)]
    logins = [f"crowd{number}:{PASSWORD}" for number in range(20)]
    for threads, asked in ((50, paths[:8]), (3, paths)):
        with load(deployed, threads=threads, rounds=1, logins=logins, paths=asked) as answers:
            pass
        assert counted(answers) == {200: threads * len(asked)}
    deployed.server(f"sed -i '/^# crowd/d; /^crowd/d' {DEPLOY_DIR}/registry/auth/htpasswd")
    deployed.fab("up")


@pytest.mark.long
def test_no_secret_is_printed_or_left(deployed: World) -> None:
    """A canary in each secret; then every command; then everything that they printed or left, here and there."""
    alert, password = "canary-of-the-alert", "canary-of-an-account"
    deployed.configure(ALERT_COMMAND=f"true {alert}")
    commands: list[tuple[str, ...]] = [
        ("sync", "--diff"), ("--debug", "bootstrap"), ("htpasswd", "--user", "canary"),
        ("--debug", "htpasswd", "--user", "canary"),
        ("htpasswd", "--list", "--json"), ("renew",), ("status", "--json"), ("logs",),
        ("htpasswd", "--user", "canary", "--role", "nonsense"), ("htpasswd", "--remove", "canary"),
    ]  # fmt: skip
    key = deployed.server(f"cat {DEPLOY_DIR}/certbot/conf/live/{DOMAIN}/privkey.pem").split("\n")[1]
    http = deployed.server(f"cat {DEPLOY_DIR}/registry/secrets/http-secret").strip()
    printed = ""
    for command in commands:
        done = deployed.fab(*command, input=password + "\n", ok=None)
        printed += done.stdout + done.stderr
        if command[:2] == ("htpasswd", "--user"):
            deployed.login("canary", password)
            deployed.login("canary", password + "x")
    printed += deployed.server(f"cd / && {DEPLOY_DIR}/inv renew 2>&1; {DEPLOY_DIR}/inv --debug renew 2>&1")
    printed += deployed.server(
        "docker inspect $(docker ps -aq); for c in $(docker ps -aq); do docker logs $c 2>&1; done"
    )
    for secret in (alert, password, key, http):
        assert secret not in printed, secret
    # Where each may be: readable by its owner alone.
    allowed = {
        alert: {f"{DEPLOY_DIR}/settings.env", AWAY_FILE},
        password: set(),
        http: {f"{DEPLOY_DIR}/registry/secrets/http-secret"},
    }
    options = " ".join(f"-e '{secret}'" for secret in (*allowed, key))
    # What has changed since the server began (Docker writes this file then), each file once: the layers
    # of containers are all there without the views that join them.
    there = deployed.server(
        r"find / \( -fstype proc -o -fstype sysfs -o -fstype cgroup2 -o -name merged \) -prune -o "
        f"-type f -cnewer /etc/hostname -exec grep -lFs {options} {{}} +",
        check=False,
    ).split()
    for secret, files in allowed.items():
        assert set(deployed.server(f"grep -lF '{secret}' {' '.join(there)}", check=False).split()) == files
    holding = deployed.server(f"grep -lF '{key}' {' '.join(there)}").split()
    assert all(name.startswith(DEPLOY_DIR) for name in holding)
    for name in [
        *holding,
        f"{DEPLOY_DIR}/settings.env",
        f"{DEPLOY_DIR}/registry/secrets/http-secret",
    ]:
        assert deployed.server(f"stat -L -c %a {name}").strip() == "600", name
    here = subprocess.run(
        ["find", str(ROOT), str(Path.home()), "(", "-name", ".git", "-o", "-name", ".venv", ")", "-prune", "-o",
         "-type", "f", "-cnewer", str(deployed.sandbox.directory / "known_hosts"), "!", "-name", "*.py",
         "-exec", "grep", "-lFs", "-e", password, "-e", key, "-e", http, "{}", "+"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert here.stdout == ""
