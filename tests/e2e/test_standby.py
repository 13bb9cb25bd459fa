"""A second server follows the first one, serves pulls, and takes over."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.sandbox.commands import output

from .history import Client
from .pair import NAME, Second
from .people import Pushes
from .test_care import push_image
from .world import DEPLOY_DIR, PASSWORD, USER, World, wait_until

LOGIN = ("-u", f"{USER}:{PASSWORD}")
HEAD = ("-I", *LOGIN, "-H", "Accept: application/vnd.oci.image.manifest.v1+json")


@pytest.fixture
def second(deployed: World) -> Iterator[Second]:
    other = Second(deployed)
    other.start()
    deployed.configure(STANDBY=NAME)
    yield other
    other.stop()
    deployed.configure()
    deployed.fab("sync", "up", "schedule")


def pushed(place: World | Second) -> tuple[int, str]:
    """What a push is answered with."""
    path, options = "/v2/twice/app/blobs/uploads/", ("-X", "POST", *LOGIN, "-w", "\n%{http_code}")
    said = place.curl(path, *options)
    text = said if isinstance(said, str) else said.stdout
    body, _, status = text.rpartition("\n")
    return int(status), body


def test_a_standby_follows_serves_and_takes_over(second: Second) -> None:
    world = second.world
    push_image(world, "twice/app", b"before it was there")
    print(world.fab("standby").stdout)
    assert second.status("/v2/twice/app/manifests/1", *HEAD) == 200
    status, said = pushed(second)
    assert status == 403
    assert "this server stands by and takes no push and no delete: both go to server" in said
    manifest, layer = push_image(world, "twice/app", b"while it follows", tag="2")
    assert second.status("/v2/twice/app/manifests/2", *HEAD) == 404
    print(second.follow())
    assert second.status("/v2/twice/app/manifests/2", *HEAD) == 200
    assert second.curl(f"/v2/twice/app/blobs/{layer}", *LOGIN).stdout == "while it follows"
    assert second.status(f"/v2/twice/app/blobs/{layer}", "-X", "DELETE", *LOGIN) == 403
    assert second.status(f"/v2/twice/app/manifests/{manifest}", "-X", "DELETE", *LOGIN) == 403
    assert "nothing is new" in second.follow()
    push_image(world, "twice/app", b"at the last moment", tag="3")
    print(world.fab("promote").stdout)
    assert second.status("/v2/twice/app/manifests/3", *HEAD) == 200
    assert pushed(second)[0] == 202
    status, said = pushed(world)
    assert status == 403
    assert f"{NAME} took over from this server: pushes and deletes go there" in said
    # Pulls go on.
    assert world.status("/v2/twice/app/manifests/3", *HEAD) == 200
    assert second.shell(f"cd {DEPLOY_DIR} && ./inv follow 2>&1") == ""


def tags(second: Second) -> list[str]:
    said = second.curl("/v2/twice/app/tags/list", *LOGIN).stdout
    return list(json.loads(said).get("tags") or [])


# Of pushes; STANDBY_SECONDS: where nobody has that long.
SECONDS = int(os.environ.get("STANDBY_SECONDS", "600"))


@pytest.mark.long
def test_d18_the_first_server_dies(second: Second) -> None:
    """Ten minutes of pushes, cron follows, `kill -9`; nothing older than the last copy is lost; D19: it comes back."""
    world = second.world
    pushes = Pushes(world)
    end = time.monotonic() + SECONDS
    print(world.fab("standby").stdout)
    wait_until(lambda: time.monotonic() > end, "the minutes", SECONDS + 60)
    container = world.sandbox.container("server")
    output("docker", "kill", "--signal", "KILL", container)
    killed = time.time()
    pushes.stop()
    try:
        assert "promote --lost" in world.fab("promote", ok=False).stderr
        done = world.fab("promote", "--lost")
        print(done.stdout)
        state = json.loads(second.shell(f"cat {DEPLOY_DIR}/standby/state.json"))
        there = tags(second)
        lost = sorted(set(pushes.acknowledged) - set(there), key=int)
        older = [tag for tag in lost if pushes.acknowledged[tag][0] < state["copied"]]
        client = Client(world, f"{USER}:{PASSWORD}")
        client.port = second.port(443)
        wrong = [tag for tag in there if client.pull("twice/app", tag) != ""]
        print(
            f"{len(pushes.acknowledged)} pushes acknowledged in {SECONDS} s; the last copy "
            f"{killed - state['copied']:.0f} s before the kill; {len(there)} tags on the standby, "
            f"pulled whole all but {len(wrong)}; lost: {len(lost)}, of these older than the last copy: {len(older)}"
        )
        assert (older, wrong) == ([], [])
        assert pushed(second)[0] == 202
    finally:
        output("docker", "start", container)
    wait_until(world.sandbox.ready, "the first one is back", 120)
    back = time.monotonic()
    wait_until(lambda: pushed(world)[0] == 403, "it takes no push", 150)
    print(f"it takes no push {time.monotonic() - back:.0f} s after it was back: {pushed(world)[1]}")
    told = world.fab("status", ok=False).stdout
    print(next(line for line in told.splitlines() if " standby " in line))
    named = json.loads(world.server(f"cat {DEPLOY_DIR}/standby/lost.json"))
    missing = [tag for tag in lost if f"twice/app:{tag}" not in named]
    print(f"lost {len(lost)}, named {len(named)}, of the lost not named: {len(missing)}")
    assert missing == []
    assert all(name in told for name in named[:20])


@pytest.mark.long
def test_there_and_back_killed_on_the_way(second: Second) -> None:
    world = second.world
    push_image(world, "twice/app", b"the first")
    killed(world, second, "standby", lambda: second.shell(f"ls {DEPLOY_DIR}/standby/key", check=False) != "")
    world.fab("standby")
    assert world.fab("standby").stdout.count("ok ") == 0
    world.fab("htpasswd", "--user", "newcomer", input="a password\n")
    second.follow()
    assert second.status("/v2/", "-u", "newcomer:a password") == 200
    killed(world, second, "promote", lambda: pushed(world)[0] == 403)
    assert pushed(second)[0] == 403
    refused = world.fab("promote", "--lost", ok=False)
    assert "is there and serves; nothing was changed" in refused.stderr
    print(world.fab("promote").stdout)
    assert (pushed(world)[0], pushed(second)[0]) == (403, 202)
    assert "is the first already" in world.fab("promote").stdout
    swapped = [*world.command[:-1], NAME]
    world.configure(STANDBY="server")

    def fab(task: str) -> str:
        done = subprocess.run([*swapped, task], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    print(fab("standby"))
    assert pushed(world)[1].count("both go to standby") == 1
    print(fab("promote"))
    assert (pushed(world)[0], pushed(second)[0]) == (202, 403)


def killed(world: World, second: Second, task: str, when: object) -> None:
    """A task whose process is killed once something is so; and its lock is free again."""
    running = subprocess.Popen([*world.command, task], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(when, f"{task} is at work", 300)  # type: ignore[arg-type]
    running.kill()
    running.communicate()
    free = "flock -n /run/private-docker-registry.lock true && echo free"
    wait_until(lambda: "free" in world.server(free, check=False), "the lock is free")
    wait_until(lambda: "free" in second.shell(free, check=False), "the lock is free there, too")
