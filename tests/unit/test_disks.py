"""Disks that are away or full: what is said, and what tells one store from another."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fabfile import layout
from fabfile.certificate.cron import away_text
from fabfile.machine import away, host, scripts
from fabfile.machine.onhost import atomic, disk, store
from fabfile.machine.rows import Facts
from fabfile.old_registry.onhost import crontab
from fabfile.settings import Settings, load
from fabfile.steps import check

from .test_pure import FACTS

NAMES = "/etc/cron.d/private-docker-registry private-docker-registry-auth-1 private-docker-registry-nginx-1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (layout.DATA, "registry/secrets"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_a_store_is_known_again(root: Path) -> None:
    assert store.problem(root) == []
    assert not store.marked(root)
    store.mark(root)
    assert store.marked(root)
    assert store.problem(root) == []
    (root / layout.DATA).rename(root / "away")
    (root / layout.DATA).mkdir()
    what, remedy = store.problem(root)
    assert "not the store that was there before" in what
    assert "is its disk mounted?" in remedy
    with pytest.raises(atomic.RefusedError, match="nothing was changed"):
        store.require(root)
    # What the message says is enough.
    command = re.search(r"rm (\S+)", remedy)
    assert command is not None
    Path(command[1]).unlink()
    store.require(root)


def test_a_copy_that_was_left_below_is_another_store(root: Path) -> None:
    store.mark(root)
    (root / layout.STORE_RECORD).write_text(f"{store.OWN}\n")
    assert store.problem(root)


@pytest.mark.parametrize("made", ["link", "fifo", "directory", "large"])
def test_what_the_registry_may_put_there_leads_nowhere(root: Path, made: str) -> None:
    store.mark(root)
    mark = root / layout.DATA / layout.STORE_MARK
    mark.unlink()
    if made == "link":
        mark.symlink_to(root / layout.STORE_RECORD)
    elif made == "fifo":
        os.mkfifo(mark)
    elif made == "directory":
        mark.mkdir()
    else:
        mark.write_bytes(b"x" * 1_000_000)
    assert store.problem(root)


def run_away(directory: Path) -> str:
    return host.here().script(scripts.AWAY, str(directory), *scripts.AWAY_KNOWS).strip()


def test_only_an_empty_directory_can_be_away(tmp_path: Path) -> None:
    """And with nobody who names it, it is just empty."""
    assert run_away(tmp_path) == ""
    assert run_away(tmp_path / "none") == ""
    (tmp_path / "file").touch()
    assert run_away(tmp_path) == ""


def test_the_words_for_a_directory_that_is_away() -> None:
    error = away.error("server", "/docker-registry", NAMES)
    assert error.what == (
        "server: nothing was changed: /docker-registry is empty, but /etc/cron.d/private-docker-registry and the "
        "containers private-docker-registry-auth-1, private-docker-registry-nginx-1 belong to it"
    )
    assert "is its disk mounted? on the server: findmnt -T /docker-registry, mount -a; " in error.remedies[0]
    assert "rm /etc/cron.d/private-docker-registry && docker rm -f private-docker-registry-auth-1 " in error.remedies[0]
    assert away.found(NAMES.split(maxsplit=1)[0]) == "/etc/cron.d/private-docker-registry"


@pytest.mark.parametrize(
    ("changes", "name", "mark", "words"),
    [
        ({"inodes": ["900 1000000"]}, "free disk", "failed", "only 900 more files"),
        ({"inodes": ["40000 1000000"]}, "free disk", "warn", "only 40000 more files"),
        ({"inodes": ["900000 1000000"]}, "free disk", "ok", "21.5 GB"),
        ({"inodes": ["0 0"]}, "free disk", "ok", "21.5 GB"),
        ({"images_kib": ["1000"]}, "images' disk", "failed", "0.0 GB"),
        ({"images_kib": ["20971520"], "images_inodes": ["1 9"]}, "images' disk", "failed", "only 1 more files"),
        ({"other_store": ["a disk of its own"]}, "images", "failed", "on a disk of its own"),
        ({"away": [NAMES]}, "directory", "failed", "/docker-registry is empty"),
    ],
)
def test_check_has_a_row(settings: Settings, changes: Facts, name: str, mark: str, words: str) -> None:
    (row,) = (row for row in check.judged(FACTS | changes, settings, 1010.0) if row.name == name)
    assert (row.mark, words in row.found) == (mark, True), row
    assert bool(row.remedy) == (mark != "ok")


def test_disk_usage_tells_files_too(root: Path) -> None:
    found = disk.usage(str(root))
    assert {"free", "total", "inodes", "all_inodes", "data", "store"} <= found.keys()
    assert found["images"] is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_program_that_says_what_is_wrong_with_a_disk(number: int) -> None:
    said = f"OCI runtime exec failed: open /tmp/runc-process12: {os.strerror(number).lower()}: unknown"
    assert atomic.told_remedy(said) == atomic.disk_remedy(number) != ""
    assert atomic.told_remedy("nginx: [emerg] unknown directive") == ""
    assert atomic.disk_remedy(errno.ENOENT) == ""


LINES = [
    b"# Gr\xfc\xdfe, in Latin-1",
    b"0 5 * * * cd /docker-registry && docker-compose exec nginx nginx -s reload\r",
    b"1 5 * * * echo a form feed \x0c and a vertical \x0b tab \xe2\x80\xa8 in /docker-registry",
    b"# taken over by private-docker-registry: somebody's own words",
    b"7 5 * * * echo /docker-registry-backup",
    b"",
]


def test_a_crontab_of_any_bytes_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written, written down and restored, but for cron itself: tests/e2e/test_adopt.py has that."""
    now = list(LINES)
    monkeypatch.setattr(crontab, "lines", lambda: list(now))
    monkeypatch.setattr(crontab, "_write", lambda content: now.__setitem__(slice(None), content))
    root = Path("/docker-registry")
    planned = crontab.plan(root, None)
    assert planned is not None
    planned = json.loads(json.dumps(planned))
    crontab.carry_out(planned)
    assert [line.startswith(crontab.MARK) for line in now] == [False, True, True, True, False, False]
    assert crontab.plan(root, planned) is None
    # Somebody adds a line, and another one of ours is taken: the first ones are not forgotten.
    now.insert(0, b"9 9 * * * ls /docker-registry")
    again = crontab.plan(root, planned)
    assert again is not None
    crontab.carry_out(again)
    crontab.restore(again)
    assert now == [b"9 9 * * * ls /docker-registry", *LINES]
    # And where it was changed since.
    crontab.carry_out(planned)
    now.append(b"# new")
    crontab.restore(planned)
    assert now == [*LINES, b"# new"]


def test_cron_tells_once_that_the_directory_is_away(env_file: Callable[[str], Path], tmp_path: Path) -> None:
    told, out = tmp_path / "told", tmp_path / "out"
    command = f'cat >>{out}; echo "it\'s $HOME" >>{out}'
    quoted = command.replace("'", "\\'")
    text = away_text(load(env_file(f"ALERT_COMMAND='{quoted}'\n")))
    text = text.replace(layout.AWAY_TOLD, str(told))
    for _ in range(2):
        subprocess.run(["sh", "-c", text], env={"PATH": os.environ["PATH"], "HOME": "/root"}, check=True)
    first, second = out.read_text().splitlines()
    assert first.startswith("registry.example.org: cron found no registry in /docker-registry")
    assert second == "it's /root"
