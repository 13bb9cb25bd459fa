"""The part of `sync` that runs on the host: all or nothing, and a cut-off one is finished (S4)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from fabfile.machine.onhost.atomic import RefusedError
from fabfile.stack.onhost import sync
from fabfile.steps import sync as step


@pytest.fixture(autouse=True)
def roots_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory of a test is nobody's DEPLOY_DIR: what is above it belongs to all."""
    monkeypatch.setattr(sync, "strangers", lambda *_: [])


def payload(**files: str) -> dict[str, Any]:
    return {
        name: {
            "content": base64.b64encode(text.encode()).decode(),
            "mode": 0o640,
            "owner": os.geteuid(),
        }
        for name, text in files.items()
    }


def digests(**files: str) -> dict[str, str]:
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}


def apply(root: Path, remove: list[str] | None = None, **files: str) -> None:
    sync.apply(str(root), payload(**files), remove or [], digests(**files))


def test_state_before_the_first_sync(tmp_path: Path) -> None:
    state = sync.state(str(tmp_path / "none"), ["a"])
    assert (state["files"], state["ours"]) == ({}, {})
    assert (state["unfinished"], state["blocked"]) == (False, [])
    assert not (tmp_path / "none").exists()


def test_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("a file")
    (tmp_path / "c").mkdir()
    assert sync.state(str(tmp_path), ["a", "b/x", "c/x", "d/x"])["blocked"] == ["a", "b/x"]


def test_apply_then_state(tmp_path: Path) -> None:
    apply(tmp_path, a="1", b="2")
    state = sync.state(str(tmp_path), ["a", "b", "c"])
    assert state["files"]["a"] == {
        "digest": digests(a="1")["a"],
        "mode": 0o640,
        "owner": os.geteuid(),
    }
    assert state["ours"] == digests(a="1", b="2")
    assert not state["unfinished"]
    assert (tmp_path / "registry").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "certbot").stat().st_mode & 0o777 == 0o700


def test_what_is_ours_no_more_is_removed(tmp_path: Path) -> None:
    apply(tmp_path, a="1", b="2")
    (tmp_path / "foreign").write_text("not ours")
    sync.apply(str(tmp_path), {}, ["b"], digests(a="1"))
    assert not (tmp_path / "b").exists()
    assert (tmp_path / "foreign").read_text() == "not ours"


@pytest.mark.parametrize("moves", range(4))
def test_a_cut_between_two_renames_is_finished(tmp_path: Path, moves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(tmp_path, a="1", b="1", c="1")

    class CutError(Exception):
        pass

    done = 0

    def cut(_: Path) -> None:
        nonlocal done
        done += 1
        if done > moves:
            raise CutError

    with monkeypatch.context() as patch:
        patch.setattr(sync, "sync_directory", cut)
        if moves < 3:
            with pytest.raises(CutError):
                apply(tmp_path, a="2", b="2", c="2")
        else:
            apply(tmp_path, a="2", b="2", c="2")
    assert sync.state(str(tmp_path), [])["unfinished"] == (moves < 3)
    sync.finish(str(tmp_path))
    assert [(tmp_path / name).read_text() for name in "abc"] == ["2", "2", "2"]
    assert sync.state(str(tmp_path), [])["ours"] == digests(a="2", b="2", c="2")
    assert not (tmp_path / ".sync/stage").exists()


def test_a_cut_while_staging_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(tmp_path, a="1")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sync, "replace", full)
        with pytest.raises(RefusedError, match="No space left"):
            apply(tmp_path, a="2")
    assert (tmp_path / "a").read_text() == "1"
    assert not (tmp_path / ".sync/journal").exists()
    assert json.loads((tmp_path / ".sync/manifest").read_text()) == digests(a="1")


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_modes_are_what_they_must_be_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Containers read as others, or as a root without rights."""
    names = ["registry/config/config.yml", "certbot/acme/ca.pem", "nginx/conf.d/x.conf", "top"]
    files = dict.fromkeys(names, "1")
    before = os.umask(umask)
    try:
        apply(tmp_path, None, **files)
    finally:
        os.umask(before)
    wanted = sync.DIRECTORIES | dict.fromkeys(("registry/config", "certbot/acme", "nginx/conf.d"), 0o755)
    assert {name: (tmp_path / name).stat().st_mode & 0o777 for name in wanted} == wanted
    assert (tmp_path / "top").stat().st_mode & 0o777 == 0o640
    assert sync.state(str(tmp_path), names)["closed"] == []


def test_modes_of_an_earlier_run_are_mended(tmp_path: Path) -> None:
    files = {"registry/config/config.yml": "1"}
    apply(tmp_path, None, **files)
    for name in ("registry/config", "certbot/www", "registry/data"):
        (tmp_path / name).chmod(0o700)
    # What a container owns is seen to by `up`.
    assert sync.state(str(tmp_path), list(files))["closed"] == ["registry/config", "certbot/www"]
    sync.apply(str(tmp_path), {}, [], digests(**files))
    assert sync.state(str(tmp_path), list(files))["closed"] == []
    assert (tmp_path / "registry/config").stat().st_mode & 0o777 == 0o755


def test_many_files_of_the_tool_are_one_line() -> None:
    """After an update; but one that somebody had edited is named, as it is lost."""
    there: Any = {
        "files": {name: {"digest": name} for name in ("compose.yml", "fabfile/a.py", "fabfile/edited.py")},
        "ours": {"compose.yml": "compose.yml", "fabfile/a.py": "fabfile/a.py", "fabfile/edited.py": "of before"},
        "closed": ["inv"],
    }
    assert step._details([*there["files"], "fabfile/new.py"], ["old", "fabfile/old.py"], there) == [
        "changed  compose.yml", "changed  fabfile/edited.py (it had been edited on the server)", "removed  old",
        "mode     inv", "tool     3 files below fabfile/",
    ]  # fmt: skip
