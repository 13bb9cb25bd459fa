"""`inv care`: what fails is told, and the rest is done."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from invoke import Context

from fabfile import layout, running, store_tasks
from fabfile.certificate.cron import cron_text
from fabfile.errors import StepError, UsageError
from fabfile.machine.host import here
from fabfile.settings import Settings
from fabfile.store import care as told
from fabfile.store.onhost import care, collect, uses
from tests.unit.stores import sha
from tests.unit.test_collect import DAY, Server


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Its nginx does not run, and it does not wait."""
    server = Server(tmp_path)
    now = server.now
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(care, "nginx_container", lambda: "")
    monkeypatch.setattr(collect, "collect", partial(collect.collect, pauses=()))
    return server


def test_a_night(server: Server) -> None:
    for number in range(3):
        server.store.now = number + 1.0
        server.store.image("app", [b"%d" % number], f"1.{number}")
    server.store.blob(b"nobody's")
    server.used("app", sha(b"2"), server.now)
    (server.root / "retention.ini").write_text("[app]\nkeep = 2 newest\n")
    found = care.care(str(server.root))
    assert (found["removed"], found["problems"], found["held"], found["left"]) == (1, [], {}, [])
    assert found["waiting"] == len(b"nobody's")
    assert (server.root / layout.USES / uses.FOLDED).read_text() == f"{server.now:.0f}\tapp\t{sha(b'2')}\n"
    assert found["when"] == server.now
    assert care.last(str(server.root)) == found
    assert told.row(care.last(str(server.root)))[0] == "ok"


def test_a_night_with_mistakes(server: Server) -> None:
    """A wrong rule, and a manifest that cannot be read: garbage goes all the same."""
    bad = server.store.image("bad", [b"x"], "1")
    server.store.blob_path(bad).write_bytes(b"{}")
    server.store.blob(b"nobody's")
    (server.root / "retention.ini").write_text("[app]\nkeep = many newest\n")
    found = care.care(str(server.root))
    assert found["problems"][0].startswith("retention.ini:2: ")
    assert (found["left"], server.has(b"nobody's")) == (["bad"], False)
    mark, name, text = told.row(care.last(str(server.root)))
    assert (mark, name) == ("warn", "care")
    assert "retention.ini:2: keep: many newest" in text
    assert "cannot be read in bad" in text


def test_a_night_without_rules_takes_nothing(server: Server) -> None:
    """After an update, for example: nobody asked for it."""
    server.store.image("app", [b"no tag"])
    server.store.blob(b"nobody's")
    server.used("app", sha(b"2"), server.now)
    found = care.care(str(server.root))
    assert (found["by_hand"], found["waiting"], server.has(b"nobody's")) == (True, 0, True)
    assert (server.root / layout.USES / uses.FOLDED).read_text() == f"{server.now:.0f}\tapp\t{sha(b'2')}\n"
    assert told.row(care.last(str(server.root))) == ("ok", "care", "only by hand: ./fab -H … gc")
    found["when"] -= 3 * DAY
    assert told.row(found)[0] == "warn", "cron does not run it"
    assert told.row({**found, "problems": ["it is locked"]})[0] == "warn"


def test_a_night_without_rules_empties_the_trash(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody took by hand is gone for good a day later; what is fresh there waits."""
    server.store.blob(b"nobody's")
    assert server.gc()["counts"] == {"blob": 1}
    found = care.care(str(server.root))
    assert (found["by_hand"], found["freed"], found["waiting"]) == (True, 0, len(b"nobody's"))
    assert told.row(found)[2] == "only by hand: ./fab -H … gc; 0 B in the trash were freed, 8 B wait there"
    later = server.now + 1.5 * DAY
    monkeypatch.setattr(time, "time", lambda: later)
    server.store.blob(b"nobody's either")
    found = care.care(str(server.root))
    assert (found["freed"], found["waiting"], found["removed"]) == (len(b"nobody's"), 0, 0)
    assert server.has(b"nobody's either")


def test_a_night_without_rules_puts_back_before_it_purges(server: Server) -> None:
    """What a push needs of it is brought back first."""
    digest = server.store.blob(b"layer")
    server.gc()
    server.fresh().write(server.store.part("app", "_layers", digest), digest.encode())
    server.now += 2 * DAY
    found = collect.emptied(str(server.root), hold=0.0)
    assert (found["restored"], found["purged"], server.has(b"layer")) == (1, 0, True)


def test_a_problem_with_other_numbers_is_told_once(settings: Settings, tmp_path: Path) -> None:
    """Days and sizes change each night."""
    told_to = tmp_path / "told"
    (tmp_path / layout.LOG).mkdir()
    host = here()
    there = replace(settings, deploy_dir=str(tmp_path), alert_command=f"cat >>{told_to}")
    assert told.tell(host, there, "app was left: 5 of 9 tags would go") == "ALERT_COMMAND was told"
    assert told.tell(host, there, "app was left: 6 of 10 tags would go") == ""
    assert told.tell(host, there, "other was left: 6 of 10 tags would go") == "ALERT_COMMAND was told"
    assert told.tell(host, there, "") == ""
    assert told.tell(host, there, "other was left: 1 of 1 tags would go") == "ALERT_COMMAND was told"
    assert told_to.read_text().count("would go") == 3


def test_a_rule_that_would_take_all_does_not_count_at_night(server: Server) -> None:
    server.store.now = 1.0
    server.store.image("app", [b"1"], "1")
    (server.root / "retention.ini").write_text("[app]\nkeep = pushed 1d\n")
    found = care.care(str(server.root))
    assert (found["removed"], found["held"]) == (0, {"app": "its only tag would go"})


def test_what_status_says() -> None:
    night: care.Night = {
        "when": time.time() - 3 * DAY, "removed": 2, "freed": 5_000_000, "waiting": 0,
        "left": [], "held": {}, "problems": [], "by_hand": False,
    }  # fmt: skip
    assert told.row(None) == ("ok", "care", "not yet: cron runs it at night")
    mark, _, text = told.row(night)
    assert mark == "warn"
    assert text.startswith("3 d ago: 2 tags removed, 5.0 MB freed, 0 B in the trash; cron did not run it since")
    assert told.row({**night, "when": time.time() - 7200}) == (
        "ok", "care", "2 h ago: 2 tags removed, 5.0 MB freed, 0 B in the trash"
    )  # fmt: skip


def test_a_failure_is_an_error_with_what_to_do(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    night = {
        "removed": 0,
        "freed": 0,
        "waiting": 0,
        "left": [],
        "held": {},
        "problems": ["it is locked"],
        "by_hand": False,
    }
    monkeypatch.setattr(care, "care", lambda *_: night)
    with pytest.raises(StepError, match="it is locked"):
        told.care(here(), settings)
    monkeypatch.setattr(care, "care", lambda *_: night | {"problems": []})
    assert told.care(here(), settings).changed is False
    monkeypatch.setattr(care, "care", lambda *_: night | {"problems": [], "by_hand": True})
    said = "nothing was taken, as there is no retention.ini; the log of uses was folded"
    assert told.care(here(), settings).summary == said


def test_gc_by_hand_takes_nothing_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal it shows what would go and asks; elsewhere it wants --yes."""
    done: list[tuple[str, bool]] = []
    monkeypatch.setattr(running, "run", lambda _, name, __, **options: done.append((name, options["dry"])))
    monkeypatch.setattr(
        running, "change", lambda _, name, __, **options: done.append((name, options.get("dry", False)))
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\ny\n"))

    def typed(**options: bool) -> list[tuple[str, bool]]:
        done.clear()
        store_tasks.gc(Context(), **options)
        return [*done]

    with pytest.raises(UsageError, match="needs a yes"):
        store_tasks.gc.body.__wrapped__(Context())
    assert done == []
    assert typed(dry_run=True) == [("gc", True)]
    assert typed(yes=True) == [("gc", False)]
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: sys.stdin.readline())
    assert typed() == [("gc", True)]
    assert typed() == [("gc", True), ("gc", False)]


def test_at_night_nothing_is_made_where_the_disk_is_away(settings: Settings, tmp_path: Path) -> None:
    """Cron's own line, as a shell runs it: with the directory there it would begin a log."""
    directory = tmp_path / "mount"
    directory.mkdir()
    job = cron_text(replace(settings, deploy_dir=str(directory))).splitlines()[-1].split(" root ", 1)[1]
    assert "./inv care" in job
    subprocess.run(["sh", "-c", job], check=True)
    assert list(directory.iterdir()) == []
    (directory / layout.CRON_SCRIPT).touch()
    (directory / "inv").write_text('#!/bin/sh\necho "$@"\n')
    (directory / "inv").chmod(0o755)
    subprocess.run(["sh", "-c", job], check=True)
    assert (directory / layout.CARE_LOG).read_text() == f"care --log {layout.CARE_LOG}\n"
