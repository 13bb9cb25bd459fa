"""Nothing that a server, a client or a stranger wrote does anything to a terminal, a log or an alert."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from invoke import Exit, Result

from fabfile import report
from fabfile.certificate import alerts
from fabfile.errors import StepError, for_people
from fabfile.machine import lock
from fabfile.machine.host import Host, here
from fabfile.machine.onhost import atomic
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.machine.sshconversation import SshConversation
from fabfile.settings import HOME, Settings
from fabfile.text import counted, one_line, printable

from .conftest import MANDATORY

HOSTILE = [
    ("plain, \t tab, é, 日本, 👍", "plain, \t tab, é, 日本, 👍"),
    ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
    ("failed\rok", r"failed\rok"),
    ("a\r\nb", "a\nb"),
    ("a\r\r\nb", "a\\r\nb"),
    ("over\b\b\b\bwritten", r"over\x08\x08\x08\x08written"),
    ("\x7f\x00\x0b\x0c\x85", r"\x7f\x00\x0b\x0c\x85"),
    ("\x9b31m one byte", r"\x9b31m one byte"),
    ("\u202etxt.exe\u2066\u200f", r"\u202etxt.exe\u2066\u200f"),
    ("two\u2028lines\u2029", r"two\u2028lines\u2029"),
]


@pytest.fixture(params=HOSTILE, ids=lambda pair: ascii(pair[0]))
def hostile(request: pytest.FixtureRequest) -> tuple[str, str]:
    return cast("tuple[str, str]", request.param)


def far(stdout: str = "", stderr: str = "", exited: int = 0) -> Host:
    """A server that answers every command with that."""

    def runner(command: str, **_: object) -> Result:
        return Result(stdout=f"\x1e{stdout}", stderr=stderr, exited=exited)

    return Host(runner, "far", local=False)


def test_each_is_shown(hostile: tuple[str, str]) -> None:
    text, shown = hostile
    assert printable(text) == shown
    assert printable(shown) == shown
    assert printable(f"{text}\n").endswith("\n")
    assert not re.search(r"[\t\n\r]", one_line(text))


def test_half_of_a_pair_can_be_written_out() -> None:
    """Python's own sign for a byte that is no text."""
    assert printable("name\udcff").encode() == rb"name\udcff"


def test_what_a_command_says(hostile: tuple[str, str]) -> None:
    text, shown = hostile
    result = far(text, text).run(["true"])
    assert (result.stdout, result.stderr) == (shown, shown)
    with pytest.raises(StepError) as error:
        far(stderr=text, exited=1).run(["true"])
    assert shown.splitlines()[-1].strip() in error.value.what
    if "\0" not in text:
        result = here().run(["printf", "%s", text])
        assert result.stdout == shown


def test_what_a_function_answers(hostile: tuple[str, str]) -> None:
    text, shown = hostile
    answers = [{"result": {text: [text, {"a": text}, 1, None, True]}}]
    answer: Any = far(json.dumps(answers)).call(atomic.exists, "/x")
    assert answer == {shown: [shown, {"a": shown}, 1, None, True]}
    # As it comes from LOADER: in ASCII, so that but for DEL nothing has to be done to the text itself.
    raw = json.dumps(answers, ensure_ascii=False)
    if not re.search("[\0-\x1f]", text):
        assert far(raw).call(atomic.exists, "/x") == answer
    machine = far(json.dumps(answers))
    machine.foresee([(atomic.exists, ("/x",), {})])
    assert machine.call(atomic.exists, "/x") == answer
    with pytest.raises(StepError) as error:
        far(stderr=text, exited=1).call(atomic.exists, "/x")
    assert printable(str(error.value)) == str(error.value)


def test_what_a_function_refuses(hostile: tuple[str, str]) -> None:
    text, shown = hostile

    def refuse(path: str) -> bool:
        raise RefusedError(path, f"do {path}")

    for machine in (far(json.dumps([{"refused": RefusedError(text, f"do {text}").refusal()}])), here()):
        with pytest.raises(StepError) as error:
            machine.call(refuse if machine.local else atomic.exists, text)
        assert error.value.what == f"{machine.name}: {shown}"
        assert error.value.remedies == (f"do {shown}",)
    assert here().call(lambda text: {"a": [text, (text,)]}, text) == {"a": [shown, [shown]]}


def test_what_is_said_in_a_conversation(hostile: tuple[str, str]) -> None:
    text, shown = hostile
    if "\0" not in text and "\r" not in text:
        conversation = here().converse(["printf", "%s\\n", text])
        assert conversation.receive() == shown
        conversation.close()
    conversation = SshConversation(cast("Any", FakeConnection(f"\x1e{text}\n")), "true")
    assert conversation.receive() == shown.splitlines()[0]


def test_a_strangers_mark_hides_nothing() -> None:
    """Our mark is the first; what the login shell printed before it is left out."""
    assert far("one\n\x1etwo\n").run(["true"]).stdout == "one\n\\x1etwo\n"
    assert here().run(["printf", "one\n\x1etwo"]).stdout == "one\n\\x1etwo"
    machine = Host(lambda _, **__: Result(stdout="Welcome\n\x1e"), "far", local=False)
    assert machine.run(["true"]).stdout == ""
    conversation = SshConversation(cast("Any", FakeConnection("Welcome\n\x1ebusy \x1e1\nbusy \x1e2\n")), "true")
    assert conversation.receive() == r"busy \x1e1"
    assert conversation.receive() == r"busy \x1e2"


def test_a_greeting_in_another_encoding_is_no_error() -> None:
    conversation = SshConversation(cast("Any", FakeConnection(b"Caf\xe9\n\x1eheld 0.1\n")), "true")
    assert conversation.receive() == "held 0.1"
    assert conversation.receive() == ""


def test_what_runs_in_place_of_ours_is_told_as_that() -> None:
    machine = Host(lambda _, **__: Result(stdout="Please\n", stderr="", exited=142), "far", local=False)
    for run in (lambda: machine.run(["true"], check=False), lambda: machine.call(atomic.exists, "/x")):
        with pytest.raises(StepError, match=r"far: the server ran nothing of ours: Please \(exit status 142\)"):
            run()


class FakeConnection:
    """As much of a fabric connection as SshConversation uses; what the server says is `text`."""

    def __init__(self, text: str | bytes) -> None:
        self.transport = self
        self.text = text.encode() if isinstance(text, str) else text

    def open_session(self, **_: object) -> FakeConnection:
        return self

    def exec_command(self, command: str) -> None:
        pass

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.text)

    def settimeout(self, seconds: float | None) -> None:
        pass


def test_what_reaches_a_person(hostile: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    text, shown = hostile

    def fail(error: type[Exception]) -> str:
        @for_people
        def task() -> None:
            raise error(text)

        with pytest.raises(Exit) as exit_:
            task()
        return str(exit_.value.message)

    assert fail(StepError) == f"error: {shown}"
    assert fail(OSError).startswith("error: unexpected OSError: ")
    assert printable(fail(OSError)) == fail(OSError)
    report.line("ok", text, text, 0.1)
    report.table((text, "x"), [("ok", text)])
    report.step("sync", lambda: report.Outcome(text, details=[text]))
    output = capsys.readouterr().out
    assert printable(output) == output
    assert output.count(shown) == 6
    assert alerts._message("registry.example.org", text) == f"registry.example.org: {shown}"


def test_what_somebody_says_on_port_22_and_what_debug_writes_of_it(tmp_path: Path) -> None:
    settings = tmp_path / ".env"
    settings.write_text(MANDATORY)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=banner, args=(server,), daemon=True).start()
        command = [sys.executable, str(HOME / "fabfile"), "fab", "--search-root", str(HOME)]
        command += ["--debug", "-H", f"root@127.0.0.1:{server.getsockname()[1]}", "check"]
        environment = {**os.environ, "ENV_FILE": str(settings), "PYTHONPATH": str(HOME)}
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
    text = done.stderr.decode()
    assert "Traceback" in text, "it is the debug log"
    assert r"no SSH connection: Incompatible version (\x1b[31m\x07 instead of 2.0)" in text
    assert printable(text) == text


def banner(server: socket.socket) -> None:
    client, _ = server.accept()
    with client:
        client.sendall(b"SSH-\x1b[31m\x07-red\r\n")


def test_our_own_colours_stay(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(report, "coloured", lambda: True)
    report.line("ok", "sync", "\x1b[31m", 0.1)
    report.table(("", "what"), [("ok", "\x1b[31m")])
    output = capsys.readouterr().out
    assert output.count("\x1b[32mok\x1b[0m") == 2
    assert output.count(r"\x1b[31m") == 2


AUDITED: list[Callable[[Host, Settings, str], Any]] = [lock.exclusive, lock.audited]


@pytest.mark.parametrize("kind", AUDITED)
def test_an_audit_line_is_one_line_of_four_fields(
    kind: Callable[[Host, Settings, str], Any],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    odd = "x\tok\n2027-01-01T00:00:00Z\troot@server\tdown\tok\x1b[1A\r\udcff"
    there = replace(settings, deploy_dir=str(tmp_path))
    (tmp_path / "log").mkdir()
    monkeypatch.setattr(lock, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(lock, "_user", lambda: odd)
    with pytest.raises(StepError), kind(here(), there, f"htpasswd {odd}"):
        raise StepError(f"no {odd}")
    (line,) = (tmp_path / "log/audit.log").read_text().splitlines()
    _, who, task, outcome = line.split("\t")
    assert who.startswith(r"x ok 2027-01-01T00:00:00Z root@server down ok\x1b[1A\r\udcff@")
    assert task == r"htpasswd x ok 2027-01-01T00:00:00Z root@server down ok\x1b[1A\r\udcff"
    assert outcome == "failed: no x ok"


@pytest.mark.parametrize(
    ("number", "word", "shown"),
    [(0, "tag", "0 tags"), (1, "tag", "1 tag"), (2, "repository", "2 repositories"), (1, "repository", "1 repository")],
)
def test_how_many_of_something(number: int, word: str, shown: str) -> None:
    assert counted(number, word) == shown
