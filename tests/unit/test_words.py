"""What is typed, and what is read: tasks by a wrong name, lines that break between words, logs, a diff of settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from invoke import Exit, Result

from fabfile import report
from fabfile.errors import StepError, UsageError, addressed, for_people, option
from fabfile.machine.host import Host
from fabfile.machine.onhost.atomic import exists
from fabfile.registry.proof import short
from fabfile.secret import Secret
from fabfile.settings import HOME, Settings
from fabfile.steps import bootstrap, logs, sync
from fabfile.text import wrapped

from .conftest import MANDATORY


def typed(tmp_path: Path, program: str, *args: str, hosts: str = "") -> subprocess.CompletedProcess[str]:
    settings = tmp_path / ".env"
    settings.write_text(MANDATORY + f"HOSTS={hosts}\n")
    return subprocess.run(
        [sys.executable, str(HOME / "fabfile"), program, "--search-root", str(HOME), *args],
        env={**os.environ, "ENV_FILE": str(settings)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("program", "args", "words"),
    [
        ("fab", ["bootstap"], "-> did you mean bootstrap? ./fab --list"),
        ("fab", ["-H", "root@x", "statsu"], "-> did you mean status? "),
        ("fab", ["--help", "init-letsencript"], "-> did you mean init-letsencrypt? "),
        ("fab", ["-H", "x", "htpasswd", "--gnerate"], "-> did you mean --generate? "),
        ("fab", ["--prompt-for-sudo-pasword", "up"], "-> did you mean --prompt-for-sudo-password? "),
        ("fab", ["zzzzzz"], "error: No idea what 'zzzzzz' is!\n  -> ./fab --list"),
        ("fab", ["-H", "bootstrap"], "-H bootstrap: that is a task, and the server is missing\n  -> ./fab -H root@"),
        ("fab", ["-H", "root@x"], "error: no task was named\n  -> ./fab -H root@x TASK"),
        ("inv", ["bootstrap"], "-> that is a task of ./fab; ./inv --list"),
        ("inv", ["dmeo"], "-> did you mean demo? ./inv --list"),
    ],
)
def test_what_was_meant(tmp_path: Path, program: str, args: list[str], words: str) -> None:
    done = typed(tmp_path, program, *args)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("program", ["fab", "inv"])
def test_without_a_task_the_tasks_are_shown(tmp_path: Path, program: str) -> None:
    done, listed = typed(tmp_path, program), typed(tmp_path, program, "--list")
    assert done.returncode == 0
    assert done.stdout.startswith(listed.stdout)
    assert "--ssh-config" not in done.stdout


def test_no_server_and_what_to_do_on_it(tmp_path: Path) -> None:
    done = typed(tmp_path, "fab", "check")
    assert done.returncode == 2
    assert "HOSTS=root@registry.example.com in .env" in done.stderr
    assert "you are on the server?" in done.stderr


def test_a_bad_hosts_is_told_with_its_line(tmp_path: Path) -> None:
    done = typed(tmp_path, "fab", "check", hosts="https://x")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/.env:4: HOSTS: 'https://x' is not allowed")


def test_each_of_several_servers_says_its_name(tmp_path: Path) -> None:
    done = typed(tmp_path, "fab", "-H", "me@127.0.0.1:1,me@127.0.0.1:2", "check")
    lines = [line for line in done.stderr.splitlines() if "  error: " in line]
    assert [line.partition("  error: ")[0] for line in lines] == ["127.0.0.1:1", "127.0.0.1:2"]
    assert done.stderr.endswith("error: check failed on 127.0.0.1:1, 127.0.0.1:2\n  -> what each of them says above\n")
    assert done.returncode == 1


class Connection:
    original_host, host, user, port, ssh_config = "server", "server", "root", 22, {"user": "root"}

    def __init__(self, *, usual: bool) -> None:
        self.config: Any = type("Config", (dict,), {"user": "me"})(usual=usual)


def test_what_is_proposed_names_the_server_unless_hosts_does() -> None:
    text = "./fab --force -H … up, or ./fab -H … down"
    assert addressed(text, option(Connection(usual=False))) == "./fab --force -H server up, or ./fab -H server down"
    assert addressed(text, option(Connection(usual=True))) == "./fab --force up, or ./fab down"
    assert addressed(text, option()) == text


@pytest.mark.parametrize("width", [40, 80])
def test_lines_break_between_words_and_a_command_stays_whole(width: int) -> None:
    command = "./fab -H root@registry.example.com htpasswd --user NAME"
    digest = "sha256:" + "0" * 64
    text = f"somebody else is at work on this server: {command} makes a new one, and {digest} is a digest"
    lines = wrapped(text, width, 4, start=6).split("\n")
    assert " ".join(line.strip() for line in lines) == text
    assert all(line.startswith("    ") for line in lines[1:])
    assert any(command in line for line in lines)
    for number, line in enumerate(lines):
        longest = max(len(command), len(digest)) if command in line or digest in line else 0
        assert len(line) + 6 * (number == 0) <= max(width, longest + 4)


def test_where_no_word_fits_behind_what_stands_there_the_text_begins_below() -> None:
    assert wrapped("client: this machine", 40, 4, start=35) == "\n    client: this machine"
    assert wrapped("client: this machine", 40, 4, start=32) == "client:\n    this machine"


@pytest.mark.parametrize("text", ["", "x", "  two  blanks", "a\ttab"])
def test_what_fits_is_as_it_was(text: str) -> None:
    assert wrapped(text, 80, 4, start=10).strip() == text.strip()


def test_without_a_terminal_nothing_is_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    text = "word " * 100
    report.line("ok", "sync", text, 1)
    report.paragraph(text, 4)
    report.table(("", "what", "do"), [("ok", text, text)])
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_twelve_digits_of_a_digest() -> None:
    assert short(f"pushed sha256:{'ab' * 32}, equal") == "pushed sha256:abababababab, equal"


def test_the_diff_of_settings_has_each_line_and_no_secret() -> None:
    before = ["HSTS_MAX_AGE='0'", "ALERT_COMMAND='curl -H token-1'", "GONE='1'", "IMAGES='pull'"]
    after = ["HSTS_MAX_AGE='60'", "ALERT_COMMAND='curl -H token-2'", "IMAGES='pull'", "NEW=''"]
    assert sync.settings_diff(before, after) == [
        "-HSTS_MAX_AGE='0'", "+HSTS_MAX_AGE='60'", "-ALERT_COMMAND=(hidden)", "+ALERT_COMMAND=(hidden)", "+NEW=''",
        "-GONE='1'",
    ]  # fmt: skip


ASKED = (
    'level=error msg="response completed with error" err.code="blob unknown" http.request.method=HEAD '
    'http.response.status=404 vars.name=x'
)  # fmt: skip


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f'registry-1  | 2026-11-27T02:54:20.939318502Z time="2026-11-27T02:54:20.93Z" {ASKED}',
         f'registry-1  | 2026-11-27T02:54:20Z {ASKED.replace("error", "info", 1)}'),
        ('registry-1  | 2026-11-27T02:54:20.939318502Z time="…" level=error msg="disk full" http.response.status=500 x',
         'registry-1  | 2026-11-27T02:54:20Z level=error msg="disk full" http.response.status=500 x'),
        ("nginx-1     | 2026-11-27T02:56:02.111Z 2026/11/27 02:56:02 [notice] 89#89: bye",
         "nginx-1     | 2026-11-27T02:56:02Z [notice] 89#89: bye"),
        ("something else", "something else"),
    ],
)  # fmt: skip
def test_a_line_of_the_log_has_one_time_and_no_false_alarm(line: str, shown: str) -> None:
    assert logs.readable(f"{line}\n{line}\n") == f"{shown}\n{shown}\n"


@pytest.mark.parametrize(
    ("end", "seen"),
    [
        (
            StepError("the port is taken", "stop it"),
            "error: bootstrap stopped at up: the port is taken\n  -> stop it\n",
        ),
        (KeyboardInterrupt(), "interrupted: run the same command again to go on\n"),
        (OSError("odd"), "error: unexpected OSError: odd\n"),
        (None, "Ready: docker login registry.example.org -u admin\n"),
    ],
)
def test_the_password_comes_last_whatever_happens(
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    end: BaseException | None,
    seen: str,
) -> None:
    """Below the error, too, which a person reads from the bottom."""

    def up(_: bootstrap.Run) -> None:
        if end:
            raise end

    @for_people
    def task() -> None:
        steps: dict[str, bootstrap.Step] = {"htpasswd": lambda run: run.made(Secret("the password")), "up": up}
        bootstrap.carry_out(
            bootstrap.Run(Host(lambda *_, **__: Result(), "far", local=False), settings), "bootstrap", steps
        )

    # In one stream, as on a terminal.
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    code = 0
    try:
        task()
    except Exit as told:
        code = told.code
    output = capsys.readouterr().out
    assert output.endswith("\naccount admin, password (shown this once): the password\n")
    assert output.count("the password") == 1
    assert seen in output
    assert bool(code) == (end is not None)


@pytest.mark.parametrize(
    ("status", "words"), [(127, "bash: line 1: python3: command not found"), (1, "sudo: python3: command not found")]
)
def test_where_there_is_no_python_nothing_is_deployed(status: int, words: str) -> None:
    def runner(_: str, **__: object) -> Result:
        return Result(stdout="\x1e", stderr=words, exited=status)

    with pytest.raises(UsageError) as told:
        Host(runner, "far", local=False).call(exists, "/x")
    assert str(told.value) == "far: nothing is deployed here: there is not even Python 3\n  -> ./fab -H … bootstrap"
