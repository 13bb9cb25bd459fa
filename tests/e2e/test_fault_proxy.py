"""The proxy before the test authorities: that it passes on what it should, and each fault is real."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.sandbox import Sandbox, SandboxError

from .world import World

NAME = "proxy.test"
NEW_ORDER = "/order-plz"
# Asks for the CAA records of argv[1], and prints the whole answer of the DNS.
ASK_CAA = """
import socket, sys
name = b"".join(bytes([len(part)]) + part.encode() for part in sys.argv[1].split("."))
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(5)
asking.sendto(b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + name + b"\\0\\1\\1\\0\\1", ("127.0.0.1", 53))
print(asking.recv(4096))
"""


@pytest.fixture
def sandbox(world: World) -> Iterator[Sandbox]:
    """With nothing counted yet; no fault is left behind."""
    world.sandbox.clear_acme_log()
    yield world.sandbox
    for port in (14009, 14008):
        world.sandbox.fault(None, port=port)


def ask(sandbox: Sandbox, path: str, *options: str, port: int = 14009) -> str:
    """What curl prints, run in the container of the authorities."""
    return sandbox.exec(
        "ca", "curl", "-sS", "--max-time", "20", "--cacert", "/pebble/acme-ca.pem",
        "--resolve", f"acme.test:{port}:127.0.0.1", *options, f"https://acme.test:{port}{path}",
        check=False,
    )  # fmt: skip


def outcome(sandbox: Sandbox, path: str, *options: str) -> str:
    """HTTP status and curl's exit status."""
    return ask(sandbox, path, "-o", "/dev/null", "-w", "%{http_code} %{exitcode}", *options)


def certbot(sandbox: Sandbox, port: int = 14009) -> subprocess.CompletedProcess[str]:
    """Order a certificate for NAME, in a container that has the address and the DNS of `client`.

    Nothing is deployed there, so its port 80 is free.
    """
    sandbox.dns(NAME, sandbox.address("client"))
    return subprocess.run(
        [
            "docker", "run", "--rm", f"--network=container:{sandbox.container('client')}",
            f"--mount=type=bind,source={sandbox.directory}/acme-ca.pem,target=/ca.pem,readonly",
            "--env=REQUESTS_CA_BUNDLE=/ca.pem", "registry-sandbox/certbot", "certonly",
            "--standalone", "--non-interactive", "--agree-tos", "--register-unsafely-without-email",
            "--server", f"https://acme.test:{port}/dir", "-d", NAME,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_directory_names_the_proxy(sandbox: Sandbox) -> None:
    for port in (14009, 14008):
        directory = json.loads(ask(sandbox, "/dir", port=port))
        assert directory["newOrder"] == f"https://acme.test:{port}{NEW_ORDER}"
    seen = [{**entry, "time": 0} for entry in sandbox.acme_log()]
    assert seen == [
        {"port": port, "method": "GET", "path": "/dir", "status": 200, "time": 0} for port in (14009, 14008)
    ]


def test_drop_hangs_up_so_many_times(sandbox: Sandbox) -> None:
    sandbox.fault("drop", count=1)
    assert outcome(sandbox, "/dir") == "000 56"  # curl: nothing came
    assert outcome(sandbox, "/dir") == "200 0"
    assert [entry["status"] for entry in sandbox.acme_log()] == [0, 200]


def test_delay_is_for_one_path_of_one_port(sandbox: Sandbox) -> None:
    sandbox.fault("delay", seconds=2, path="/dir")
    took = ("-o", "/dev/null", "-w", "%{http_code} %{time_total}")
    asked = [("/dir", 14009), ("/nonce-plz", 14009), ("/dir", 14008)]
    answers = [ask(sandbox, path, *took, port=port).split() for path, port in asked]
    assert [float(seconds) >= 2 for _, seconds in answers] == [True, False, False]
    assert [status for status, _ in answers] == ["200", "204", "200"]


def test_a_request_is_in_the_log_before_its_answer(sandbox: Sandbox) -> None:
    sandbox.fault("delay", seconds=2)
    assert outcome(sandbox, NEW_ORDER, "-d", "{}", "--max-time", "0.5") == "000 28"  # time is up
    assert [entry["status"] for entry in sandbox.acme_log()] == [None]
    assert sandbox.orders() == 1


@pytest.mark.parametrize(
    ("after", "told"),
    [(120, " UTC: see"), ("Wed, 21 Oct 2099 07:28:00 GMT", "retry after 2099-10-21 07:28:00 UTC")],
)
def test_rate_limited(sandbox: Sandbox, after: int | str, told: str) -> None:
    sandbox.fault("rateLimited", retry_after=after)
    head, _, body = ask(sandbox, NEW_ORDER, "-i", "-d", "{}").partition("\n\n")
    assert head.startswith("HTTP/1.1 429 ")
    assert f"\nRetry-After: {after}\n" in head
    assert "\nReplay-Nonce: " in head
    problem = json.loads(body)
    assert problem["type"] == "urn:ietf:params:acme:error:rateLimited"
    assert told in problem["detail"]
    assert outcome(sandbox, "/dir") == "200 0"
    assert (sandbox.orders(), sandbox.issued()) == (1, 0)


def test_server_internal_hits_another_method_where_a_path_is_given(sandbox: Sandbox) -> None:
    sandbox.fault("serverInternal")
    assert outcome(sandbox, "/dir") == "200 0"
    assert outcome(sandbox, NEW_ORDER, "-d", "{}") == "500 0"
    sandbox.fault("serverInternal", path="/dir")
    assert outcome(sandbox, "/dir") == "500 0"
    sandbox.fault(None)
    assert outcome(sandbox, "/dir") == "200 0"


def test_meta_is_merged_into_the_directory(sandbox: Sandbox) -> None:
    before = json.loads(ask(sandbox, "/dir"))
    added = {"caaIdentities": ["letsencrypt.org"], "profiles": {"shortlived": "https://acme.test"}}
    sandbox.fault("meta", meta=added)
    assert json.loads(ask(sandbox, "/dir")) == {**before, "meta": before["meta"] | added}


def test_a_mistake_is_refused(sandbox: Sandbox) -> None:
    for name, options, words in (
        ("nonsense", {}, "no such fault: nonsense"),
        ("drop", {"seconds": 1}, "unexpected keyword argument 'seconds'"),
        ("drop", {"port": 14000}, "no such port: 14000"),
    ):
        with pytest.raises(SandboxError, match=words):
            sandbox.fault(name, **options)


@pytest.mark.long
def test_certbot_repeats_a_bad_nonce_and_gets_its_certificate(sandbox: Sandbox) -> None:
    sandbox.fault("badNonce", path=NEW_ORDER, count=1)
    done = certbot(sandbox, port=14009)
    assert done.returncode == 0, done
    assert (sandbox.orders(), sandbox.issued()) == (2, 1)


@pytest.mark.long
def test_certbot_gives_up_when_rate_limited(sandbox: Sandbox) -> None:
    sandbox.fault("rateLimited", retry_after=120, path=NEW_ORDER, port=14008)
    done = certbot(sandbox, port=14008)
    assert done.returncode == 1
    assert "too many certificates already issued, retry after" in done.stderr
    assert (sandbox.orders(port=14008), sandbox.issued(port=14008)) == (1, 0)
    assert sandbox.orders() == 0


def test_caa_records_come_and_go(sandbox: Sandbox) -> None:
    question = ("ca", "python3", "-c", ASK_CAA, NAME)
    sandbox.caa(NAME, "letsencrypt.org", "example.org")
    answer = sandbox.exec(*question)
    assert "issueletsencrypt.org" in answer
    assert "issueexample.org" in answer
    sandbox.caa(NAME)
    assert "issue" not in sandbox.exec(*question)
