"""What `ship` has a Docker of 28 or later do, which keeps several platforms under one name: the exact commands.

No such Docker is in the sandbox; tests/e2e/test_ship.py has the older one, with both of its stores, and Podman.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import pytest

from fabfile.errors import StepError
from fabfile.machine.host import Host
from fabfile.settings import Settings
from fabfile.stack.onhost import images
from fabfile.steps import ship

# $LOG has its calls; the images of a processor are here once they were pulled for it.
DOCKER = """#!/bin/sh
echo "$*" >>"$LOG"
case "$*" in
"info "*) echo '[["driver-type","io.containerd.snapshotter.v1"]]' ;;
*--help) echo "      --platform string   $HELP" ;;
"version "*) echo linux/amd64 ;;
"image inspect "*) for name; do :; done
    [ -e "$LOG.$(echo "$name" | tr / _)" ] || { echo "Error: No such image: $name" >&2; exit 1; }
    echo "arm64 [\\"$name\\"]" ;;
"pull "*) for name; do :; done; : >"$LOG.$(echo "$name" | tr / _)" ;;
"save "*) echo archive ;;
esac
"""


class Server:
    """It has no image, and is of another processor. Or it is full."""

    name = "server"

    def __init__(self, refuses: str = "") -> None:
        self.refuses = refuses

    def foresee(self, _: object) -> None:
        pass

    def call(self, function: Callable[..., Any], *_: object) -> object:
        answers = {images.identities: {}, images.platform: "linux/arm64", images.received: 0, images.load: self.refuses}
        return answers[function]

    def append(self, _path: str, _offset: int, blocks: Iterable[bytes]) -> None:
        assert b"".join(blocks)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setattr(ship, "CACHE", tmp_path / "cache")
    return lambda: (tmp_path / "log").read_text().splitlines()


def test_another_processors_images_are_packed_by_platform(settings: Settings, calls: Callable[[], list[str]]) -> None:
    done = ship.ship(cast("Host", Server()), settings)
    names = list(settings.stack_images.values())
    assert [call for call in calls() if call.startswith(("pull ", "save --p"))] == [
        *(f"pull --quiet --platform linux/arm64 {name}" for name in names),
        *(f"save --platform linux/arm64 {name}" for name in names),
    ]
    assert all(f"--platform linux/arm64 {name}" in "".join(calls()) for name in names)
    assert done.changed


def test_a_full_server_is_told_as_such(settings: Settings, calls: Callable[[], list[str]], tmp_path: Path) -> None:
    with pytest.raises(StepError, match="no space left on device") as refused:
        ship.ship(cast("Host", Server("write /x: no space left on device")), settings)
    assert "df -i show which disk is full; docs/care.md, When the disk is full; then run it" in str(refused.value)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    ("printed", "last"),
    [
        ("", ""),
        ("WARNING: a\n", ""),
        ("WARNING: a\nError: b\nc\n\n", "c"),
        ('time="x" level=warning msg="permission denied"\nError: b\nWARNING: c\n', "Error: b"),
    ],
)
def test_a_warning_is_no_answer(printed: str, last: str) -> None:
    assert images.said_last(printed) == last
