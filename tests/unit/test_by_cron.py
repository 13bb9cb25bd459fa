"""What by-cron.sh does when `./inv` does not come to its end. With the real cron: e2e/test_certificates.py."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fabfile import layout
from fabfile.certificate.cron import cron_text
from fabfile.settings import HOME, Settings, dump, load

HEARD = '#!/bin/sh\n[ "$4" = --heard ] && touch "$5"\nexit %d\n'


@pytest.fixture
def place(tmp_path: Path, env_file: Callable[[str], Path]) -> Path:
    """A DEPLOY_DIR whose ALERT_COMMAND has all that needs care between a .env and a shell."""
    command = "cat >>told; printf '%s\\n' \"it's \\\\\" >>told"
    settings: Settings = load(env_file(f"ALERT_COMMAND={command}\n"))
    directory = tmp_path / "deployed"
    directory.mkdir()
    (directory / "settings.env").write_text(dump(settings))
    shutil.copy(HOME / "deploy/by-cron.sh", directory)
    return directory


def test_the_server_has_every_task_that_cron_runs(settings: Settings) -> None:
    scripts = [(HOME / "deploy" / name).read_text() for name in (layout.CRON_SCRIPT, layout.MINUTE_SCRIPT)]
    copied = dataclasses.replace(settings, backup_to="/mnt/copies", standby="root@b.example.org")
    named = {name for text in (*scripts, cron_text(copied)) for name in re.findall(r"(?m)^[^#\n]*\./inv (\w+)", text)}
    spec = importlib.util.spec_from_file_location("of_the_server", HOME / "deploy/tasks.py")
    assert spec
    assert spec.loader
    there = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(there)
    by_cron = {"renew", "care", "quota", "page", "metrics", "notify", "backup", "follow", "accounts"}
    assert named | {"offer"} == set(there.ns.task_names) == {*by_cron, "offer"}


def inv(place: Path, text: str) -> None:
    (place / "inv").write_text(text)
    (place / "inv").chmod(0o755)


def run(place: Path) -> int:
    done = subprocess.run(["sh", "./by-cron.sh"], cwd=place, capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    return done.returncode


def told(place: Path) -> str:
    return (place / "told").read_text() if (place / "told").exists() else ""


@pytest.mark.parametrize("status", [0, 1, 2])
def test_what_inv_tells_is_told_by_inv_alone(place: Path, status: int) -> None:
    inv(place, HEARD % status)
    (place / "log").mkdir()
    (place / "log/renew.unheard").write_text("of before")
    assert run(place) == status
    assert told(place) == ""
    assert [path.name for path in (place / "log").iterdir()] == ["renew.log"]


def test_what_inv_cannot_tell_is_told_once(place: Path) -> None:
    assert run(place) == 127
    line = "registry.example.org: cron could not run ./inv renew (exit status 127): "
    first = told(place)
    assert first.startswith(line)
    assert "not found" in first
    assert first.endswith(
        "\n  -> ./fab -H registry.example.org sync, then ./fab -H registry.example.org status\nit's \\\n"
    )
    assert run(place) == 127
    assert told(place) == first
    # Another problem is news, and so is the same one after a good run.
    inv(place, "#!/bin/sh\necho 'a \x1b[31mtrace' >&2; exit 1\n")
    assert run(place) == 1
    assert told(place).removeprefix(first).startswith(line.replace("127", "1") + "a [31mtrace\n")
    inv(place, HEARD % 0)
    assert run(place) == 0
    (place / "inv").unlink()
    run(place)
    assert told(place).count("127") == 2


def test_an_alert_that_fails_is_tried_again(place: Path) -> None:
    text = (place / "settings.env").read_text()
    (place / "settings.env").write_text(
        text.replace("ALERT_COMMAND='cat", "ALERT_COMMAND='echo no mail; false; exit 1; cat")
    )
    assert run(place) == 127
    assert not (place / "log/renew.unheard").exists()
    assert "no mail" in (place / "log/renew.log").read_text()
    (place / "settings.env").write_text(text)
    assert run(place) == 127
    assert told(place) != ""
    assert (place / "log/renew.unheard").read_text().startswith("cron could not run")
