"""What is looked at before an order, and from where: ports from outside, clocks, a way out, room."""

from __future__ import annotations

import datetime
import email.utils
import http.server
import os
import socket
import ssl
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fabfile import layout
from fabfile.certificate import outside
from fabfile.certificate.onhost import acme, half_made, probe
from fabfile.machine.host import Host
from fabfile.machine.rows import Facts, Row
from fabfile.registry.proof import Receipt, Tell
from fabfile.settings import Settings
from fabfile.steps import check, push_test
from tests.nginx import pair, self_signed

NOTHING: probe.Knocked = {"nameless": [], "unanswered": [], "wrong": {}, "right": [], "unreachable": [], "own": []}


def test_what_answers_here_says_nothing_about_outside() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert probe.knock(["127.0.0.1"], port) == {**NOTHING, "own": ["127.0.0.1"]}
    assert probe.knock(["127.0.0.1"], port) == {**NOTHING, "own": ["127.0.0.1"]}
    assert probe.knock(["no-such-name.invalid"], port)["right"] == []


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own addresses count as another one's."""
    monkeypatch.setattr(probe, "_own", lambda _: False)


@pytest.mark.usefixtures("elsewhere")
def test_a_port_is_named_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert probe.knock(["127.0.0.1"], port)["right"] == ["127.0.0.1"]
    found = probe.knock(["127.0.0.1"], port)["wrong"]
    assert found == {"127.0.0.1": f"port {port} of 127.0.0.1 (127.0.0.1) does not answer: Connection refused"}


@pytest.mark.parametrize(
    ("found", "marks"),
    [
        (None, ["unseen"]),
        ({**NOTHING, "own": [""]}, ["unseen"]),
        ({**NOTHING, "right": ["192.0.2.1"]}, ["ok"]),
        ({**NOTHING, "right": ["192.0.2.1"], "unreachable": ["2001:db8::1"]}, ["ok", "unseen"]),
        ({**NOTHING, "right": ["192.0.2.1"], "wrong": {"2001:db8::1": "closed"}}, ["failed", "ok"]),
        ({**NOTHING, "nameless": ["a.test"]}, ["unseen"]),
        ({**NOTHING, "unanswered": ["a.test"]}, ["unseen"]),
    ],
)
def test_what_nobody_looked_at_is_never_green(found: probe.Knocked | None, marks: list[str]) -> None:
    lines = outside.lines(443, found)
    assert [mark for mark, *_ in lines] == marks
    assert all(text for _, text, _ in lines)
    assert all(bool(remedy) is (mark == "failed") for mark, _, remedy in lines)


def test_port_80_is_for_the_authority_alone(settings: Settings) -> None:
    assert outside.ports(settings) == (80, 443)
    assert outside.ports(replace(settings, acme_challenge="dns-01")) == (443,)
    assert outside.ports(replace(settings, tls_certificate="/own.pem")) == (443,)


def test_what_nobody_saw_is_said_although_all_went_well(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line of `push-test`, and what is no detail: also where the proof went on with another client."""

    def proof(_host: Host, _machine: Host, _settings: Settings, tell: Tell, _receipt: Receipt) -> None:
        tell(outside.UNSEEN, "port 443", outside.ITSELF, 0.0)
        tell("ok", "login", "as somebody", 0.1)
        tell("warn", "client", "no docker here; going on from the server", 0.0)
        tell("ok", "login", "as somebody", 0.1)

    monkeypatch.setattr(push_test, "push_test", proof)
    push_test.prove(Host(lambda *_: None, "a.test", local=False), settings)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["unseen", "warn", "ok"]


@pytest.mark.parametrize(("mark", "expected"), [(outside.UNSEEN, "same"), ("warn", "warn")])
def test_a_check_with_what_nobody_saw_is_no_warning(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mark: str,
    expected: str,
) -> None:
    rows = [Row("system", "ok", "debian 13"), Row("port 443 from here", mark, "why", later=True)]
    monkeypatch.setattr(check, "check", lambda *_: rows)
    assert check.require(Host(lambda *_: None, "a.test", local=False), settings)
    first, detail = capsys.readouterr().out.splitlines()
    assert first.split()[0] == expected
    assert detail.split()[0] == mark


@pytest.mark.parametrize(
    ("facts", "mark", "words"),
    [
        ({}, "", ""),
        ({"acme_host": ["yes"]}, "", ""),
        ({"acme_host": ["yes"], "acme_container": ["yes"]}, "ok", "containers reach acme-v02.api.letsencrypt.org"),
        ({"acme_host": ["yes"], "acme_container": [""]}, "failed", "containers have no way out"),
        ({"acme_host": [""], "acme_container": [""]}, "warn", "this server does not reach"),
        ({"acme_host": ["yes"], "no_iptables": ["yes"]}, "warn", "`iptables: false` is in"),
        ({"acme_host": ["yes"], "acme_container": ["yes"], "no_iptables": ["yes"]}, "ok", "containers reach"),
    ],
)
def test_a_way_out_is_judged(settings: Settings, facts: Facts, mark: str, words: str) -> None:
    rows = [row for row in check.judged({"python": ["3.13"]} | facts, settings, 0.0) if row.name == "way out"]
    assert [row.mark for row in rows] == ([mark] if mark else [])
    assert all(words in row.found for row in rows)


def test_a_dns_that_is_silent_is_not_a_missing_record(settings: Settings) -> None:
    name = settings.registry_domain
    (row,) = (row for row in check.judged({"dns_silent": [name]}, settings, 0.0) if row.name == f"DNS {name}")
    assert (row.mark, row.found) == ("failed", "no A and no AAAA record: no DNS server says anything of it")


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (0, ""),
        (3599, ""),
        (-3599, ""),
        (70 * 86400, "70 days ahead of that of the ACME server acme.test"),
        (-2.5 * 3600, "2.5 hours behind that of the ACME server acme.test"),
    ],
)
def test_a_clock_is_compared_with_that_of_the_acme_server(ahead: float, words: str) -> None:
    problem = acme.wrong_clock(ahead, "acme.test")
    assert words in problem
    assert bool(problem) is bool(words)


def over() -> tuple[str, str]:
    """A certificate for localhost that nobody signed, over since a year, and its key."""
    return self_signed("localhost", datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=360))


@pytest.fixture
def dated(tmp_path: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """An ACME server with TLS whose clock is what a test says; its certificate is over."""
    told = {"ahead": 0.0}

    class Dated(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Date", email.utils.formatdate(time.time() - told["ahead"], usegmt=True))
            self.end_headers()
            self.wfile.write(b'{"meta": {"externalAccountRequired": true}}')

        def log_message(self, *_: object) -> None:
            pass

    certificate, key = over()
    (tmp_path / "over.pem").write_text(certificate)
    (tmp_path / "key.pem").write_text(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "over.pem", tmp_path / "key.pem")
    with http.server.ThreadingHTTPServer(("localhost", 0), Dated) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_port}/dir", told
        server.shutdown()


def test_a_certificate_that_is_over_by_our_clock_alone_names_the_clock(
    dated: tuple[str, dict[str, float]], tmp_path: Path
) -> None:
    """Of the server itself: with a clock that is a year ahead its certificate seems to be over."""
    url, told = dated
    bundle = str(tmp_path / "over.pem")
    told["ahead"] = 365 * 86400.0
    assert abs(acme.directory(url, bundle)["ahead"] - told["ahead"]) < 60
    told["ahead"] = 0.0
    assert "ACME_CA_BUNDLE" in acme.directory(url, bundle)["refused"]


def test_an_authority_without_key_usage_is_taken(tmp_path: Path) -> None:
    """As `openssl req -x509` makes one; Python 3.13 refuses it by itself, and no client does."""
    context = acme._context("")
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    certificate, _ = pair()
    (tmp_path / "ca.pem").write_text(certificate)
    assert not acme._context(str(tmp_path / "ca.pem")).verify_flags & ssl.VERIFY_X509_STRICT


Space = namedtuple("Space", "f_bfree f_frsize f_files f_ffree")


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Space(1 << 20, 4096, 1000, 900), ""),
        (Space(100, 4096, 1000, 900), "400 KB are free"),
        (Space(1 << 20, 4096, 1000, 3), "3 more files can be made"),
        (Space(1 << 20, 4096, 0, 0), ""),
    ],
)
def test_room_is_looked_for_in_bytes_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: Space, words: str
) -> None:
    (tmp_path / layout.CERTIFICATES).mkdir(parents=True)
    monkeypatch.setattr(os, "statvfs", lambda _: space)
    problem = half_made.no_room(str(tmp_path))
    assert words in problem
    assert bool(problem) is bool(words)
    # What is kept for orders is room, too.
    (tmp_path / layout.RESERVE).write_bytes(b"x" * (3 << 20))
    assert ("KB are free" in half_made.no_room(str(tmp_path))) is False
