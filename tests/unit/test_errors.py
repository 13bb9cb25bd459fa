"""How an error reaches a person, and how code tells one from another: by its reason, never by its text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from invoke import Config, Exit, Result

from fabfile import report
from fabfile.accounts import htpasswd_file
from fabfile.certificate import alerts
from fabfile.certificate.onhost import attempts
from fabfile.copies.onhost import behind
from fabfile.errors import ExpectedError, StepError, UsageError, addressed, for_people
from fabfile.machine.host import Host, here
from fabfile.machine.onhost import atomic
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.machine.rows import Row
from fabfile.report import Outcome
from fabfile.settings import HOME, Settings
from fabfile.stack import logins
from fabfile.steps import bootstrap, check, status

KINDS = [StepError, UsageError, RefusedError]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("remedies", "shown"),
    [
        ((), "a: no"),
        (("",), "a: no"),
        (("do b",), "a: no\n  -> do b"),
        (("do b", "", "./fab -H … c"), "a: no\n  -> do b\n  -> ./fab -H … c"),
    ],
)
def test_a_line_and_a_line_for_each_remedy(
    kind: type[ExpectedError | RefusedError], remedies: tuple[str, ...], shown: str
) -> None:
    error = kind("a: no", *remedies)
    assert str(error) == shown
    assert error.reason == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_reason_is_for_code_and_not_shown(kind: type[ExpectedError | RefusedError]) -> None:
    error = kind("a: no", "do b", reason="a reason")
    assert error.reason == "a reason"
    error.add("all is as before")
    assert str(error) == "a: no; all is as before\n  -> do b"
    assert error.reason == "a reason"


@pytest.mark.parametrize("remedies", [(), ("do b",), ("do b", "do c")])
def test_stopped_at_says_where_and_adds_how_to_go_on(remedies: tuple[str, ...]) -> None:
    error = StepError("a: no", *remedies, reason="a reason")
    error.stopped_at("adopt --yes", "up")
    first, *rest = str(error).split("\n  -> ")
    assert first == "adopt --yes stopped at up: a: no"
    assert rest == [*remedies, "then ./fab -H … adopt --yes again: what is done stays done"]
    assert error.reason == "a reason"


@pytest.mark.parametrize("far", [True, False])
def test_a_refusal_comes_whole_from_the_server(far: bool) -> None:
    def refuse(path: str) -> bool:
        raise RefusedError(f"{path} is no file", "do b", "./fab -H … c", reason="no file")

    answer = json.dumps(
        [{"refused": RefusedError("/x is no file", "do b", "./fab -H … c", reason="no file").refusal()}]
    )
    machine = Host(lambda _, **__: Result(stdout="\x1e" + answer), "far", local=False) if far else here()
    with pytest.raises(StepError) as told:
        machine.call(atomic.exists if far else refuse, "/x")
    assert str(told.value) == f"{machine.name}: /x is no file\n  -> do b\n  -> ./fab -H … c"
    assert told.value.reason == "no file"


def connection(host: str) -> SimpleNamespace:
    """As much of a fabric connection as errors.address looks at."""
    return SimpleNamespace(original_host=host, ssh_config={}, user="root", config=Config({"user": "me"}), port=2222)


@pytest.mark.parametrize(("c", "typed"), [(connection("a.test"), "root@a.test:2222"), (object(), "…")])
def test_the_server_is_filled_in_where_an_error_is_shown(c: object, typed: str) -> None:
    @for_people
    def task(_: object) -> None:
        raise StepError("a: no; ./fab -H … b", "./fab -H … c, then ./fab -H … d", "./fab -H … e")

    with pytest.raises(Exit) as told:
        task(c)
    assert told.value.message == (
        f"error: a: no; ./fab -H {typed} b\n  -> ./fab -H {typed} c, then ./fab -H {typed} d\n  -> ./fab -H {typed} e"
    )
    assert told.value.code == 1


def test_the_server_is_filled_in_what_tables_and_steps_show(capsys: pytest.CaptureFixture[str]) -> None:
    report.step("renew", lambda: Outcome("nothing due", details=["warn     late: ./fab -H … check"]), "-H a.test")
    row = Row("docker", "failed", "missing", "./fab -H … provision")
    with pytest.raises(StepError) as told:
        check.show([row], as_json=False, option="-H a.test")
    found: status.Status = {
        "registry": "r.test", "version": {"server": "", "tool": "0.1"}, "containers": [],
        "certificate": {"on_disk": None, "served": None}, "from_here": {}, "last_renewal": None,
        "failed_orders": attempts.remembered("/nonexistent", ""), "accounts": [],
        "cron": {"daemon": False, "changed": False, "age": 0, "twice_a_day": True, "inv": "", "unheard": ""},
        "disk": {
            "free": 0, "total": 1, "inodes": 0, "all_inodes": 0, "data": 0, "images": None,
            "store": ["another", "./fab -H … up"],
        },
        "care": None, "pushes": None, "page": None,
        "backup": {"wanted": False, "to": False, "period": 1.0, "last": None},
        "standby": behind.report("/nonexistent"), "held": {}, "where": {"moved": None, "frozen": False},
    }  # fmt: skip
    with pytest.raises(StepError):
        status.show(found, as_json=False, option="-H a.test")
    output = capsys.readouterr().out
    assert "…" not in output
    for command in ("check", "provision", "up", "init-letsencrypt", "htpasswd"):
        assert f"./fab -H a.test {command}" in output
    assert told.value.remedies == ("do what the table says, then ./fab -H … check again",)
    assert addressed("./fab -H … up", None) == "./fab -H … up"
    assert alerts._message("r.test", "no\n  -> ./fab -H … renew") == "r.test: no\n  -> ./fab -H r.test renew"


def test_one_place_fills_the_server_in() -> None:
    places = [
        f"{path.relative_to(HOME)}:{number}"
        for path in sorted((HOME / "fabfile").rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"""replace\(["'][^"']*-H …""", line)
    ]
    (place,) = places
    assert place.startswith("fabfile/errors.py:")


TEXT = r"(str\((error|refused|fault|told|exc|e)\)|\b\w+\.(what|remedies|remedy)\b)"
BY_TEXT = "|".join(
    (
        rf"\bin {TEXT}",
        rf"{TEXT}\.(startswith|endswith|partition|rpartition|split|removeprefix|removesuffix|replace)\(",
        rf"re\.\w+\(.*{TEXT}",
        rf"{TEXT} (==|!=|\+=) ",
    )
)


def test_no_code_decides_by_the_text_of_an_error() -> None:
    """It asks for the reason. Another program's words are looked at where that program ran."""
    # What invoke says of a command line has no reason.
    own = ("fabfile/errors.py", "fabfile/machine/onhost/atomic.py", "fabfile/command.py")
    found = [
        f"{path.relative_to(HOME)}:{number}: {line.strip()}"
        for path in sorted((HOME / "fabfile").rglob("*.py"))
        if str(path.relative_to(HOME)) not in own
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(BY_TEXT, line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        'if "No such image" not in error.what:',
        "error.what += undone",
        'remedy = self.remedy.removeprefix("-> ")',
        'told = re.sub("/x/", "", error.what)',
        'if str(error).startswith("a"):',
    ],
)
def test_such_code_would_be_found(line: str) -> None:
    assert re.search(BY_TEXT, line)


def test_what_came_of_a_failure_is_said_and_its_kind_stays(settings: Settings) -> None:
    def fail(_: bootstrap.Run) -> None:
        raise logins.UntoldError("far: no", "do b", reason="a reason")

    run = bootstrap.Run(here(), settings)
    with pytest.raises(logins.UntoldError) as told:
        bootstrap.carry_out(run, "adopt --yes", {"htpasswd": fail}, lambda: "all is as it was before")
    assert told.value.what == "adopt --yes stopped at htpasswd: far: no; all is as it was before"
    assert told.value.remedies[0] == "do b"
    assert told.value.reason == "a reason"


def test_each_red_line_of_check_has_a_remedy_of_its_own(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        Row("system", "ok", "debian 13"),
        Row("port 80", "failed", "taken by apache2 (process 7)", "kill 7"),
        Row("clock", "failed", "9000 s off yours", "timedatectl set-ntp true"),
        Row("disk", "warn", "2 GB", "./fab -H … status"),
    ]
    monkeypatch.setattr(check, "check", lambda *_: rows)
    with pytest.raises(StepError) as told:
        check.require(Host(lambda *_: None, "a.test", local=False), settings)
    assert str(told.value) == (
        "a.test: not fit yet, nothing was changed: port 80, clock\n"
        "  -> port 80 (taken by apache2 (process 7)): kill 7\n"
        "  -> clock (9000 s off yours): timedatectl set-ntp true"
    )
    monkeypatch.setattr(check, "check", lambda *_: rows[:1] + rows[3:])
    assert check.require(Host(lambda *_: None, "a.test", local=False, option="-H a.test"), settings)
    assert "warn     disk: 2 GB; ./fab -H a.test status" in capsys.readouterr().out


def test_a_line_that_is_not_taken_says_why(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    file.write_text("push-test-x:y\n")
    why = "names that begin with push-test- belong to the push-test task"
    assert htpasswd_file.read(str(file)) == ({}, [f"{file}:1: push-test-x: {why}"])
