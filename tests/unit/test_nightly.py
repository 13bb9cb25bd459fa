"""The copies that the server makes by itself: what `status` says of them, and when nothing may be written."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile import layout
from fabfile.certificate.cron import cron_text
from fabfile.copies import nightly
from fabfile.copies.onhost import last
from fabfile.errors import StepError
from fabfile.machine.host import here
from fabfile.settings import Settings

from .far import deployed
from .stores import sha

DAY = 86400.0


@pytest.mark.parametrize(
    ("ago", "changes", "mark", "words"),
    [
        (0.2, {}, "ok", "5 h ago: 3 tags, 5.0 MB; the last drill: 5 h ago"),
        (2.1, {}, "warn", "cron did not run it since: log/backup.log on the server"),
        (0.2, {"problem": "full"}, "warn", "5 h ago: full; the last good one: 5 h ago"),
        (0.2, {"problem": "full", "good": 0.0}, "warn", "the last good one: never"),
        (0.2, {"drilled": 0.0}, "warn", "the last drill: never"),
        (0.2, {"drilled": time.time() - 31 * DAY}, "warn", "the last drill: 31 d ago"),
    ],
)
def test_what_status_says(settings: Settings, ago: float, changes: dict[str, Any], mark: str, words: str) -> None:
    when = time.time() - ago * DAY
    found: last.Last = {**last.NOTHING, "when": when, "good": when, "drilled": when, "tags": 3, "bytes": 5_000_000}
    found.update(changes)  # type: ignore[typeddict-item]
    row = nightly.row(nightly.found(replace(settings, backup_to="/mnt/copies"), found))
    assert row[:2] == (mark, "backup")
    assert words in row[2]


def test_what_status_says_where_there_is_nothing(settings: Settings) -> None:
    assert nightly.row(nightly.found(settings, None))[0] == "ok"
    wanted = replace(settings, backup_command="true")
    assert nightly.row(nightly.found(wanted, None))[0] == "warn"
    # A command's copies lie elsewhere, and nobody here can drill them.
    assert nightly.row(nightly.found(wanted, {**last.NOTHING, "when": time.time()}))[0] == "ok"


@pytest.mark.parametrize(
    ("schedule", "days"),
    [("", 1), ("5 4 * * *", 1), ("5 */6 * * *", 1), ("5 4 * * 0", 7), ("5 4 1 * *", 31), ("5 4 1 1 *", 366)],
)
def test_how_long_it_is_between_two(schedule: str, days: int) -> None:
    assert nightly.period(schedule) == days * DAY


def test_cron_is_told_only_where_there_is_something_to_do(settings: Settings) -> None:
    assert "inv backup" not in cron_text(settings)
    (line,) = [row for row in cron_text(replace(settings, backup_to="/mnt/a")).splitlines() if "inv backup" in row]
    assert line.split()[1:5] == ["5", "*", "*", "*"]
    text = cron_text(replace(settings, backup_command="true", backup_schedule="1 2 * * 3"))
    assert "\n1 2 * * 3 root if [ -f " in text


def test_a_command_gets_a_whole_copy_and_what_has_rotted_is_named(settings: Settings, tmp_path: Path) -> None:
    root = tmp_path / "deploy"
    root.mkdir()
    store = deployed(root)
    (root / layout.LOG).mkdir()
    store.image("app", [b"one"], "1")
    store.image("app", [b"rotten"], "2")
    seen = tmp_path / "seen"
    command = f'cp -a . {seen} && test "$PWD" = "$BACKUP_DIRECTORY"'
    own = replace(settings, deploy_dir=str(root), backup_command=command)
    assert "BACKUP_COMMAND took 2 tags" in nightly.backup(here(), own).summary
    assert json.loads((seen / layout.SNAPSHOT).read_text())["tags"] == 2
    assert not (root / layout.DATA / layout.COPY / layout.COPY_OUT).exists()
    # Read once; what is new is read, and what has rotted is not handed over.
    store.image("app", [b"new"], "3")
    store.blob_path(sha(b"new")).write_bytes(b"now")
    with pytest.raises(StepError, match=f"{sha(b'new')} has rotted: app:3"):
        nightly.backup(here(), replace(own, backup_command=f"test -z \"$(find . -path '*{sha(b'new')[7:]}/data')\""))
    assert store.blob_path(sha(b"new")).exists()
    found = last.last(str(root))
    assert found is not None
    assert "has rotted" in found["problem"]
    with pytest.raises(StepError, match="BACKUP_COMMAND: exit status 3: no room"):
        nightly.backup(here(), replace(own, backup_command="echo no room >&2; exit 3"))
