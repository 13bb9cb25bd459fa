"""What decides about a certificate: its lifetime, pauses after failures, CAA records, the self-test."""

from __future__ import annotations

import http.server
import json
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fabfile.accounts.onhost.accounts_file import Rights
from fabfile.certificate import alerts, lifetime, orders, rows
from fabfile.certificate.onhost import acme, attempts, caa, certbot, probe
from fabfile.layout import ACCOUNTS
from fabfile.machine.host import here
from fabfile.machine.onhost import atomic, audit
from fabfile.secret import Secret
from fabfile.settings import Settings
from fabfile.stack.logins import UntoldError
from fabfile.stack.onhost import lineage, logins
from fabfile.steps import htpasswd

DAY = 86400
SERVER = "https://acme.test/dir"


def facts(lifetime: float, left: float) -> lineage.Facts:
    end = time.time() + left * lifetime
    return {
        "serial": "1", "names": [], "issuer": "nobody",
        "not_before": round(end - lifetime), "not_after": round(end),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("left", "mark"),
    [(0.9, "ok"), (0.34, "ok"), (0.32, "warn"), (0.21, "warn"), (0.19, "failed"), (-0.1, "failed")],
)
@pytest.mark.parametrize("whole", [90 * DAY, 45 * DAY, 160 * 3600])
def test_what_is_left_is_judged_by_the_lifetime(whole: float, left: float, mark: str) -> None:
    assert lifetime.judged(facts(whole, left))[0] == mark


@pytest.mark.parametrize(
    ("days", "left", "due"),
    [(90, 0.36, False), (90, 0.33, True), (6.67, 0.53, False), (6.67, 0.49, True)],
)
def test_due_as_certbot_sees_it(days: float, left: float, due: bool) -> None:
    assert lifetime.due(facts(days * DAY, left)) is due


def test_pauses_grow_and_end_with_a_success(tmp_path: Path) -> None:
    file = str(tmp_path / "attempts.json")
    pauses = [60.0, 600.0, 6000.0, 86400.0]
    for number, pause in enumerate([*pauses, 86400.0], 1):
        memory = attempts.failed(file, SERVER, "why", pauses, 0)
        assert memory["failures"] == number
        assert abs(memory["next"] - time.time() - pause) < 5
    attempts.succeeded(file, SERVER)
    assert attempts.remembered(file, SERVER)["next"] == 0
    attempts.failed(file, SERVER, "why", pauses, 0)
    attempts.unseen(file, SERVER, ["192.0.2.1"])
    memory = attempts.remembered(file, SERVER)
    assert (memory["failures"], memory["unseen"]) == (1, ["192.0.2.1"])
    attempts.succeeded(file, SERVER)
    later = time.time() + 7200
    assert attempts.failed(file, SERVER, "why", pauses, later)["next"] == later
    assert attempts.remembered(file, "https://another.test")["failures"] == 0


def test_a_pause_of_a_day_is_over_when_cron_comes_the_next_day() -> None:
    """It comes at the same minute, and may be a moment early."""
    (pause,) = lifetime.paused([float(DAY)])
    assert DAY - 3600 < pause < DAY - 60


@pytest.mark.parametrize(
    ("since", "ends", "paused"),
    [(0, 0, False), (-60, 30, True), (-60, -30, False), (-60, 30 * DAY, True), (DAY, 2 * DAY, False)],
)
def test_a_pause_lasts_unless_the_clock_was_wrong(since: float, ends: float, paused: bool) -> None:
    now = time.time()
    memory = attempts.remembered("/nonexistent", SERVER)
    memory.update({"now": now, "since": now + since, "next": now + ends})
    assert orders.paused(memory) is paused


def test_each_problem_is_told_once(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "certbot").mkdir()
    told = tmp_path / "told"
    settings = replace(settings, deploy_dir=str(tmp_path), alert_command=f"cat >>{told}")
    memory = (settings.attempts_file, settings.acme_directory)
    attempts.failed(*memory, "port 80 is closed", [60.0], 0)
    problem, other = "nothing was ordered: port 80 is closed; not before 12:00", "Docker is missing"
    for text in (problem, "", problem.replace("12", "15"), "", other, other):
        alerts.tell(here(), settings, text, orders.FAILED if "port 80" in text else "")
    # A run that asked nothing, as a pause lasts, is no good news; another problem is news.
    assert told.read_text().splitlines() == [f"{settings.registry_domain}: {t}" for t in (problem, other)]
    # That one was over, though the pause was not, and comes back.
    alerts.tell(here(), settings, "")
    alerts.tell(here(), settings, other)
    assert len(told.read_text().splitlines()) == 3
    attempts.succeeded(*memory)
    alerts.tell(here(), settings, "")
    alerts.tell(here(), settings, other)
    assert len(told.read_text().splitlines()) == 4


def test_an_old_failed_order_silences_nothing_about_a_certificate_of_your_own(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "certbot").mkdir()
    told = tmp_path / "told"
    settings = replace(settings, deploy_dir=str(tmp_path), alert_command=f"cat >>{told}", tls_certificate="own")
    attempts.failed(settings.attempts_file, settings.acme_directory, "port 80 is closed", [60.0], 0)
    for text in ("it ends in 3 days", "it ends in 2 days", "", "it ends in 3 days"):
        alerts.tell(here(), settings, text)
    assert len(told.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("found", "last_days_ago", "mark"),
    [
        ({}, 0.5, "ok"), ({"daemon": False}, 0.5, "failed"), ({"changed": True}, 0.5, "warn"), ({}, 3, "warn"),
        ({"inv": "./inv: not found (exit status 127)"}, 0, "failed"), ({"unheard": "cron could not run"}, 0, "failed"),
        ({"age": 3600}, 3, "ok"), ({"twice_a_day": False}, 3, "ok"), ({}, None, "warn"), ({"age": 60}, None, "ok"),
    ],
)  # fmt: skip
def test_a_cron_that_is_silent_is_named(found: rows.Cron, last_days_ago: float | None, mark: str) -> None:
    facts: rows.Cron = {
        "daemon": True,
        "changed": False,
        "age": 30 * DAY,
        "twice_a_day": True,
        "inv": "",
        "unheard": "",
    }
    facts.update(found)
    last: audit.Last | None = None
    if last_days_ago is not None:
        when = time.strftime(audit.WHEN, time.gmtime(time.time() - last_days_ago * DAY))
        last = {"when": when, "who": "root@server", "outcome": "ok"}
    assert rows.schedule(facts, last)[0] == mark


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """nginx cannot be told of a changed account."""

    def refuse(*_: object) -> None:
        raise atomic.RefusedError("nginx is busy", "wait")

    monkeypatch.setattr(logins, "refresh", refuse)


@pytest.mark.usefixtures("busy")
def test_a_changed_account_is_told_of_although_nginx_was_not(tmp_path: Path) -> None:
    file = tmp_path / ACCOUNTS
    file.parent.mkdir(parents=True)
    answer = logins.put(str(tmp_path), {"anna": "anna:$2y$05$" + "a" * 53}, {"role": "pull", "repositories": None})
    assert answer == {"done": ["added"], "untold": atomic.RefusedError("nginx is busy", "wait").refusal()}
    assert "anna:" in file.read_text()


@pytest.mark.usefixtures("busy")
def test_a_password_that_was_made_is_told_but_not_in_the_line_of_the_audit_log(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / ACCOUNTS).parent.mkdir(parents=True)
    settings = replace(settings, deploy_dir=str(tmp_path))
    rights: Rights = {"role": "pull", "repositories": None}
    with pytest.raises(UntoldError) as told:
        htpasswd.put(here(), settings, "anna", Secret("canary"), rights, show=True)
    assert "shown this once: canary" in str(told.value)
    assert "canary" not in str(told.value).splitlines()[0]


@pytest.mark.parametrize("part", ["cert", "privkey"])
@pytest.mark.parametrize("how", ["copied", "gone"])
def test_files_that_certbot_does_not_take_for_its_own_are_named(tmp_path: Path, part: str, how: str) -> None:
    live, archive, renewal = (tmp_path / each for each in ("live/a.test", "archive/a.test", "renewal"))
    for directory in (live, archive, renewal):
        directory.mkdir(parents=True)
    (renewal / "a.test.conf").write_text("archive_dir = …\n")
    for name in ("cert", "chain", "fullchain", "privkey"):
        (archive / f"{name}1.pem").write_text("")
        (live / f"{name}.pem").symlink_to(f"../../archive/a.test/{name}1.pem")
    assert lineage.damage(str(tmp_path), "a.test") == ""
    if how == "gone":
        (archive / f"{part}1.pem").unlink()
    else:
        (live / f"{part}.pem").unlink()
        (live / f"{part}.pem").write_text("")
    assert f"{part}.pem is no link" in lineage.damage(str(tmp_path), "a.test")


def test_a_refusal_of_the_directory_keeps_its_retry_after() -> None:
    class Busy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.send_header("Retry-After", "3600")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        offered = acme.directory(f"http://127.0.0.1:{server.server_port}/dir", "")
    assert "answers HTTP 503" in offered["refused"]
    assert abs(offered["retry_after"] - time.time() - 3600) < 5


def test_a_failing_alert_is_tried_again_and_a_sent_one_is_not(tmp_path: Path) -> None:
    file, mails = str(tmp_path / "attempts.json"), tmp_path / "mails"
    assert attempts.alert(file, "problem", "echo no >&2; exit 3", "text") == "exit status 3: no"
    for outcome in ("sent", "known"):
        assert attempts.alert(file, "problem", f"cat >>{mails}", "it's $broken") == outcome
    assert mails.read_text() == "it's $broken\n"
    attempts.alert(file, "", "", "")
    assert attempts.alert(file, "problem", "true", "text") == "sent"


def test_one_problem_is_the_same_at_another_time() -> None:
    first = alerts._same("serial 7D5A3C9E1F2D1F2E is on disk until 2026-11-25 03:58 UTC")
    assert first == alerts._same("serial 5B99AA3E1F2D1F2E is on disk until 2027-01-01 13:08 UTC")
    assert first != alerts._same("the ACME server cannot be reached")
    invalid = "192.0.2.7: Invalid response from http://registry.test/.well-known/acme-challenge/%s: 404"
    tokens = (
        "kA00GiMtyvQf3xWmZyJ8-sTqkDPq0eRrW5vYbN_aCWA",
        "Zq81hLpUwN2c-RkVJm6aHtE9yXsDgQ4fB7oTiP0uKvI",
    )
    assert alerts._same(invalid % tokens[0]) == alerts._same(invalid % tokens[1])


@pytest.mark.parametrize(("header", "seconds"), [("120", 120), ("Fri, 31 Dec 2100 23:59:59 GMT", None), ("soon", 0)])
def test_retry_after_is_found_in_certbots_log(tmp_path: Path, header: str, seconds: int | None) -> None:
    log = tmp_path / "letsencrypt.log"
    log.write_text(
        "2026-11-25 03:54:02,591:DEBUG:acme.client:Received response:\nHTTP 200\nRetry-After: 9\n\n{}\n"
        f"2026-11-25 03:54:02,591:DEBUG:acme.client:Received response:\nHTTP 429\nServer: x\nRetry-After: {header}\n"
        'Content-Type: application/problem+json\n\n{"type": "urn:ietf:params:acme:error:rateLimited"}\n'
    )
    found = certbot._retry_after(log.parent)
    expected = 4133980799 if seconds is None else time.time() + seconds if seconds else 0
    assert abs(found - expected) < 5


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3600", 3600),
        ("0", 0),
        ("3153600000", None),
        ("9" * 30, None),
        ("9" * 5000, None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -9999", 0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 0),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 0),
        ("Mon, 01 Jan 0001 00:00:00", 0),
        ("Thu, 01 Jan 2026 00:00:00 +99999999999999999999", 0),
        ("-5", 0),
        ("1e9", 0),
        ("inf", 0),
        ("nan", 0),
        ("²", 0),
        ("٣٦٠٠", 0),
        ("\0", 0),
        (" ", 0),
        ("", 0),
    ],
)
def test_no_authority_stops_renewal_for_longer_than_eight_days(
    tmp_path: Path, header: str, seconds: int | None
) -> None:
    """seconds: of the pause; None: of eight days."""
    # Over JSON, as from a server.
    named = json.loads(json.dumps(acme.retry_after(header)))
    memory = attempts.failed(str(tmp_path / "attempts.json"), SERVER, "why", [60.0], named)
    pause = 8 * DAY if seconds is None else max(seconds, 60)
    assert abs(memory["next"] - time.time() - pause) < 5
    assert attempts.remembered(str(tmp_path / "attempts.json"), SERVER)["next"] == memory["next"]
    lifetime.moment(named)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01 00:00 UTC"),
        (1803117600, "2027-02-20 10:00 UTC"),
        (253402300799, "9999-12-31 23:59 UTC"),
        (1e30, "9999-12-31 23:59 UTC"),
        (10**30, "9999-12-31 23:59 UTC"),
        (float("inf"), "9999-12-31 23:59 UTC"),
        (-1e30, "1970-01-01 00:00 UTC"),
        (float("nan"), "1970-01-01 00:00 UTC"),
    ],
)
def test_any_moment_has_words(seconds: float, text: str) -> None:
    assert lifetime.moment(seconds) == text


class Names:
    """A DNS server for CAA questions, on a port of this machine: no real one is asked."""

    def __init__(self, records: dict[str, list[tuple[str, str]]]) -> None:
        self.records = records

    def __call__(self, name: str) -> list[tuple[str, str]]:
        def label(text: str) -> bytes:
            return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".")) + b"\0"

        found = self.records.get(name, [])
        answer = b"\1\2" + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0)
        answer += label(name) + struct.pack(">HH", 257, 1)
        for tag, value in found:
            data = b"\0" + bytes([len(tag)]) + tag.encode() + value.encode()
            answer += b"\xc0\x0c" + struct.pack(">HHIH", 257, 1, 60, len(data)) + data
        return caa._records(answer)


@pytest.mark.parametrize(
    ("records", "names", "problems"),
    [
        ({}, ["a.example.org"], 0),
        ({"example.org": [("issue", "ours.test")]}, ["a.example.org"], 0),
        (
            {"example.org": [("issue", "Ours.test; validationmethods=http-01")]},
            ["a.example.org"],
            0,
        ),
        ({"example.org": [("issue", "other.test")]}, ["a.example.org"], 1),
        ({"example.org": [("issue", ";")]}, ["a.example.org"], 1),
        (
            {"a.example.org": [("issue", "ours.test")], "example.org": [("issue", "other.test")]},
            ["a.example.org"],
            0,
        ),
        (
            {"example.org": [("issue", "ours.test"), ("issuewild", "other.test")]},
            ["*.example.org", "example.org"],
            1,
        ),
        ({"example.org": [("iodef", "mailto:me@example.org")]}, ["a.example.org"], 0),
        ({"org": [("issue", "other.test")]}, ["a.example.org"], 1),
        ({"org": [("issue", "other.test")], "example.org": [("issue", "ours.test")]}, ["a.example.org"], 0),
        ({"example.org": [("issue", "ours.test; ValidationMethods=dns-01")]}, ["a.example.org"], 1),
        ({"example.org": [("issue", "ours.test;a=b; validationmethods = dns-01,HTTP-01")]}, ["a.example.org"], 0),
        (
            {"example.org": [("issue", "ours.test;validationmethods=dns-01"), ("issue", "ours.test")]},
            ["a.example.org"],
            0,
        ),
    ],
)
def test_caa_records_are_judged(
    monkeypatch: pytest.MonkeyPatch,
    records: dict[str, list[tuple[str, str]]],
    names: list[str],
    problems: int,
) -> None:
    monkeypatch.setattr(caa, "_ask", Names(records))
    assert len(caa.forbidden(names, ["ours.test"], "http-01")) == problems


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A web server on 127.0.0.1 and its directory."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, server.server_address[1]
        server.shutdown()


def test_the_probe_from_outside(web: tuple[Path, int]) -> None:
    """As the operator's machine fetches it; the sandbox's names are unknown there."""
    directory, port = web
    token = probe.place(str(directory))
    assert probe.fetch(["127.0.0.1"], token, port)["right"] == ["127.0.0.1"]
    probe.remove(str(directory), token)
    assert "answered by something else" in probe.fetch(["127.0.0.1"], token, port)["wrong"]["127.0.0.1"]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        number = closed.getsockname()[1]
    assert "does not answer" in probe.fetch(["127.0.0.1"], token, number)["wrong"]["127.0.0.1"]
    assert json.dumps(probe.fetch(["no-such-name.invalid"], token)) == json.dumps(
        {"nameless": ["no-such-name.invalid"], "unanswered": [], "wrong": {}, "right": [], "unreachable": []}
    )


def test_certbot_is_ended_with_all_that_it_started() -> None:
    """A child that holds its output must not keep cron's renewal, and the lock, for ever."""
    started = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        certbot.bounded(["sh", "-c", "sleep 60 & wait"], 0.5)
    assert time.monotonic() - started < 30
    code, output = certbot.bounded(["sh", "-c", "yes | head -c 3000000; echo the end >&2; exit 3"], 60)
    assert (code, output.endswith("the end\n"), len(output)) == (3, True, certbot.OUTPUT_BYTES)


def test_a_retry_after_of_a_million_spaces(tmp_path: Path) -> None:
    (tmp_path / "letsencrypt.log").write_text("HTTP 429\nRetry-After: a" + " " * 900_000 + "b\n\n")
    started = time.monotonic()
    assert certbot._retry_after(tmp_path) == 0
    assert time.monotonic() - started < 10


def test_a_good_run_in_a_pause_keeps_what_was_told_of_the_failed_order(tmp_path: Path) -> None:
    """Nothing was asked, so the failure that began the pause is no news when it comes again."""
    file = str(tmp_path / "attempts.json")
    assert attempts.alert(file, "ok no", "true", "text", orders.FAILED) == "sent"
    assert attempts.alert(file, "", "true", "", orders.FAILED) == "known"
    assert attempts.alert(file, "ok no", "true", "text", orders.FAILED) == "known"
    attempts.alert(file, "", "true", "")
    assert attempts.alert(file, "ok no", "true", "text", "") == "sent"
    attempts.alert(file, "", "true", "", orders.FAILED)
    assert attempts.alert(file, "ok no", "true", "text", orders.FAILED) == "sent"
