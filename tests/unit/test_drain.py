"""A server takes leave where there are others, and only there; and it comes back whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from fabfile import layout
from fabfile.machine.host import Host
from fabfile.settings import Settings
from fabfile.stack import drain
from fabfile.stack.onhost import drain as onhost

from .test_accord import Near


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / layout.FULL).mkdir(parents=True)
    return tmp_path


def leaving(root: Path) -> bool:
    return (root / layout.DRAINING).exists()


def test_one_of_several_takes_leave_and_comes_back(
    root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    host, alone = cast("Host", Near("a")), replace(settings, deploy_dir=str(root))
    with drain.leaving(host, alone):
        # There is nobody else to be sent to.
        assert not leaving(root)
    several = replace(alone, fleet=("a", "b"))
    with drain.leaving(host, several):
        assert leaving(root)
    assert (leaving(root), waited) == (False, [])
    with contextlib.suppress(ZeroDivisionError), drain.leaving(host, replace(several, load_balancer=("10.0.0.5",))):
        assert (leaving(root), waited) == (True, [drain.NOTICED])
        raise ZeroDivisionError
    assert not leaving(root)


def test_what_never_was_there_takes_no_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onhost.begin(str(tmp_path))
    assert not onhost.end(str(tmp_path))
    monkeypatch.setattr(onhost, "nginx_container", lambda: "")
    assert onhost.leave(str(tmp_path), 300) == 0
