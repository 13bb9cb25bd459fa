"""An older tool and a server that a newer one deployed."""

from __future__ import annotations

import json

import pytest

from fabfile.layout import RECORD
from fabfile.version import VERSION

from .world import DEPLOY_DIR, World

NEWER = "999.0.1"
# All that change something; `check` and `status` are for everybody.
CHANGES = [
    ("provision",), ("sync",), ("htpasswd", "--user", "late", "--generate"), ("htpasswd", "--remove", "demo"),
    ("ship",), ("up",), ("init-letsencrypt", "--force"), ("renew",), ("schedule",), ("push-test",), ("bootstrap",),
    ("down",), ("adopt", "--back"),
]  # fmt: skip


@pytest.fixture
def later(deployed: World) -> World:
    """A server that a newer version deployed."""
    assert deployed.server(f"cat {DEPLOY_DIR}/{RECORD}").strip() == VERSION
    assert status(deployed) == {"server": VERSION, "tool": VERSION}
    deployed.server(f"echo {NEWER} >{DEPLOY_DIR}/{RECORD}")
    return deployed


def status(world: World) -> dict[str, str]:
    found: dict[str, str] = json.loads(world.fab("status", "--json").stdout)["version"]
    return found


def state(world: World) -> tuple[object, ...]:
    """All that a task could change."""
    log = world.server(f"cat {DEPLOY_DIR}/log/audit.log")
    return world.files(), world.containers(), world.nginx_pid(), world.serial(), world.certificates(), log


@pytest.mark.long
def test_an_older_tool_changes_nothing_unless_it_is_told_to(later: World) -> None:
    assert status(later) == {"server": NEWER, "tool": VERSION}
    assert f"{NEWER}; this tool is older" in later.fab("status").stdout
    before = state(later)
    for task in CHANGES:
        refused = later.fab(*task, ok=False)
        assert refused.returncode == 1
        assert f"nothing was changed: version {NEWER} of this tool deployed it, and this is {VERSION}" in refused.stderr
        assert "./fab --force -H" in refused.stderr
        assert state(later) == before, task
    # What only looks, and what cron runs there, which is what was deployed.
    later.fab("check")
    later.fab("sync", "--diff")
    later.fab("unlock", "--yes")
    later.server(f"cd {DEPLOY_DIR} && ./inv renew")
    assert f"private-docker-registry {VERSION}\nInvoke" in later.server(f"cd {DEPLOY_DIR} && ./inv --version")
    forced = later.fab("sync", "--force")
    assert f"version {NEWER} deployed" in forced.stderr
    assert f"changed  {RECORD}" in forced.stdout
    assert status(later) == {"server": VERSION, "tool": VERSION}
    later.fab("up")


def test_a_server_from_before_there_was_a_record(deployed: World) -> None:
    deployed.server(f"rm {DEPLOY_DIR}/{RECORD}")
    assert status(deployed) == {"server": "", "tool": VERSION}
    deployed.fab("up")
    deployed.fab("sync")
    assert status(deployed) == {"server": VERSION, "tool": VERSION}
