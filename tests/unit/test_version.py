"""One version, told everywhere the same; an older tool leaves a server of a newer one alone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from invoke import Context

from fabfile.errors import StepError
from fabfile.layout import RECORD
from fabfile.machine import lock
from fabfile.machine.conversation import LocalConversation
from fabfile.machine.host import Host, here
from fabfile.settings import HOME, Settings
from fabfile.stack import capacity, templates
from fabfile.steps import status
from fabfile.version import VERSION, newer

FAR_AHEAD = "999.0"


@pytest.mark.parametrize(
    ("other", "than", "expected"),
    [
        ("0.10.0", "0.9.9", True), ("0.9.9", "0.10.0", False), ("1", "0.99", True), ("0.2.1", "0.2", True),
        ("0.2.0", "0.2", False), ("0.2", "0.2.0", False), ("0.2.0", "0.2.0", False), ("10.0", "9.0", True),
        ("0.2.0rc1", "0.2.0", False), ("0.3rc1", "0.2.9", True),
        ("", "0.0.1", False), ("0.0.1", "", True), ("nonsense", "0.0.1", False), ("-1", "0.0.1", False),
    ],
)  # fmt: skip
def test_newer_goes_by_the_numbers(other: str, than: str, expected: bool) -> None:
    assert newer(other, than) is expected


def test_a_record_that_never_ends_is_no_accident() -> None:
    assert newer("9" * 100_000)


def test_pyproject_names_this_version() -> None:
    # No tomllib before Python 3.11.
    found = dict(re.findall(r'(?m)^(name|version) = "(.*)"$', (HOME / "pyproject.toml").read_text("utf-8")))
    assert found == {"name": "private-docker-registry", "version": VERSION}


def test_the_changelog_begins_with_this_version() -> None:
    """Its topmost section with a number; above it only what has none yet. Each has a date but the topmost."""
    titles = re.findall(r"(?m)^## (.*)$", (HOME / "CHANGELOG.md").read_text("utf-8"))
    sections = [re.fullmatch(r"(\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d|not released yet)", title) for title in titles]
    if titles[0] == "Unreleased":
        del sections[0]
    numbered = [(found[1], found[2]) for found in sections if found]
    assert len(numbered) == len(sections), titles
    assert numbered[0][0] == VERSION
    assert all(newer(above, below) for (above, _), (below, _) in pairwise(numbered))
    assert "not released yet" not in [when for _, when in numbered[1:]]


@pytest.mark.parametrize(("program", "maker"), [("fab", "Fabric 3"), ("inv", "Invoke 2")])
def test_both_programs_tell_it(program: str, maker: str) -> None:
    argv = [sys.executable, str(HOME / "fabfile"), program, "--version"]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0] == f"private-docker-registry {VERSION}"
    assert lines[1].startswith(maker)


def test_sync_brings_the_record(settings: Settings) -> None:
    machine = capacity.derived({"memory": 2 << 30, "cores": 2})
    assert templates.tree(settings, machine)[RECORD].content.decode() == f"{VERSION}\n"


@pytest.mark.parametrize(
    ("server", "mark", "words"),
    [
        (VERSION, "ok", VERSION),
        (FAR_AHEAD, "warn", "git pull"),
        ("0.0.1", "ok", "bootstrap"),
        ("", "ok", "not recorded"),
    ],
)
def test_status_has_a_line_for_it(server: str, mark: str, words: str) -> None:
    found, name, text = status.version_row({"server": server, "tool": VERSION})
    assert (found, name) == (mark, "version")
    assert words in text


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A server that is this machine."""
    monkeypatch.setattr(lock, "LOCK", str(tmp_path / "lock"))
    (tmp_path / "log").mkdir()

    def begin(command: str) -> LocalConversation:
        return LocalConversation(command.removeprefix("printf '\\036' && "))

    return Host(Context().run, "far", local=False, begin=begin)


KINDS: list[Callable[[Host, Settings, str], Any]] = [lock.exclusive, lock.audited]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_newer_version_deployed_is_left_alone(
    kind: Callable[[Host, Settings, str], Any],
    far: Host,
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = replace(settings, deploy_dir=str(tmp_path))
    log = tmp_path / "log/audit.log"
    done = []
    (tmp_path / RECORD).write_text(f"{FAR_AHEAD}\n")
    with pytest.raises(StepError, match=f"version {FAR_AHEAD} .* this is {VERSION}") as refused, kind(far, there, "up"):
        done.append("older")
    assert "--force" in refused.value.remedies[0]
    assert done == []
    assert not log.exists()
    assert not (tmp_path / "lock.holder").exists()
    with kind(replace(far, forced=True), there, "up"):
        done.append("forced")
    assert FAR_AHEAD in capsys.readouterr().err
    # What cron runs there is the version that is recorded, whatever is being put there meanwhile.
    with kind(here(), there, "renew"):
        done.append("cron")
    assert done == ["forced", "cron"]
    assert [line.split("\t")[2:] for line in log.read_text().splitlines()] == [["up", "ok"], ["renew", "ok"]]


@pytest.mark.parametrize("record", [None, "0.0.1\n", VERSION, "", "nonsense\n", "fifo", "link"])
def test_any_other_record_stops_nobody(
    record: str | None, far: Host, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / RECORD
    if record == "fifo":
        subprocess.run(["mkfifo", str(file)], check=True)
    elif record == "link":
        (tmp_path / "elsewhere").write_text(FAR_AHEAD)
        file.symlink_to("elsewhere")
    elif record is not None:
        file.write_text(record)
    there = replace(settings, deploy_dir=str(tmp_path))
    with lock.exclusive(far, there, "up"):
        pass
    assert capsys.readouterr().err == ""
    with lock.exclusive(replace(far, forced=True), there, "up"):
        pass
    assert "not needed" in capsys.readouterr().err


def test_the_record_is_read_where_deploy_dir_is_a_link(far: Host, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o755)
    (tmp_path / "real" / RECORD).write_text(FAR_AHEAD)
    (tmp_path / "link").symlink_to("real")
    with (
        pytest.raises(StepError, match=FAR_AHEAD),
        lock.exclusive(far, replace(settings, deploy_dir=str(tmp_path / "link")), "up"),
    ):
        pass
