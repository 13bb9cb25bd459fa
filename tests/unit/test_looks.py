"""What a step asks of the server, it asks at once: each trip over SSH takes its time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile import layout
from fabfile.errors import StepError
from fabfile.machine.host import Host
from fabfile.machine.onhost import atomic, disk
from fabfile.settings import Settings
from fabfile.steps import check, doctor, down, logs, status

Trips = list[str]


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Host, Trips]:
    """A machine that is this one, with nothing but a trip to it: the real loader in a Python of its own. Every
    trip. No Docker is there but one that has no containers.
    """
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text("#!/bin/sh\n:\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:/usr/bin:/bin")
    trips: Trips = []

    def runner(command: str, *, in_stream: Any, **_: object) -> object:
        trips.append(command)
        done = subprocess.run(
            ["/bin/sh", "-c", command], input=in_stream.read(), capture_output=True, text=True, check=False
        )
        done.exited, done.ok = done.returncode, done.returncode == 0  # type: ignore[attr-defined]
        return done

    return Host(runner, "far", local=False), trips


@pytest.fixture
def there(settings: Settings, tmp_path: Path) -> Settings:
    """Of a registry that was deployed, and has neither accounts nor a certificate."""
    for name in (layout.AUTH, layout.DATA, layout.CERTIFICATES):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / layout.COMPOSE_FILE).touch()
    return replace(settings, deploy_dir=str(tmp_path))


def last_lines(host: Host, settings: Settings) -> str:
    return logs.logs(host, settings, 20)


@pytest.mark.parametrize("step", [status.status, down.down, last_lines])
def test_a_look_is_one_trip(far: tuple[Host, Trips], there: Settings, step: Callable[..., object]) -> None:
    host, trips = far
    step(host, there)
    assert len(trips) == (2 if step is down.down else 1)  # `down` then does something


def test_the_doctor_makes_two_trips(far: tuple[Host, Trips], there: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of `check`, and one for all else."""
    host, trips = far
    monkeypatch.setattr(check, "gathered", lambda host, _: host.run(["echo"]) and {})
    doctor.doctor(host, replace(there, registry_domain="localhost"))
    assert len(trips) == 2


def test_one_that_is_not_deployed_is_told_as_such(far: tuple[Host, Trips], there: Settings) -> None:
    """Though other questions, of the disk for example, break there."""
    with pytest.raises(Exception, match=r"far: nothing is deployed in .*/none"):
        status.status(far[0], replace(there, deploy_dir=f"{there.deploy_dir}/none"))


def test_a_question_that_breaks_leaves_the_others_their_answers(far: tuple[Host, Trips], there: Settings) -> None:
    host, trips = far
    file = f"{there.deploy_dir}/{layout.COMPOSE_FILE}"
    host.foresee([(atomic.exists, (file,), {}), (disk.usage, ("/none",), {})])
    assert host.call(atomic.exists, file)
    with pytest.raises(StepError, match="usage: FileNotFoundError"):
        host.call(disk.usage, "/none")
    assert len(trips) == 3


def test_what_status_finds_of_accounts_that_cannot_be_read_is_a_line(far: tuple[Host, Trips], there: Settings) -> None:
    Path(there.accounts_file).write_text("nonsense\n")
    found = status.status(far[0], there)
    assert "not an entry" in found["accounts"]
    assert json.dumps(found)
    assert len(far[1]) == 1
