"""Several servers that are one registry: set up by one command, each with its own certificate."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.sandbox.commands import output
from tests.sandbox.store import Store

from .three import ALL, Three, three
from .world import DEPLOY_DIR, World

PROXY = "https://acme.test:14009/dir"
STEP = re.compile(r"(server|second|third)  (?:ok|same|warn) +\d+\.\d s  (\S+) ")


@pytest.fixture(scope="module")
def machines(world: World, store: Store) -> Iterator[Three]:
    with three(world, store) as found:
        yield found


@pytest.fixture
def fleet(machines: Three) -> Three:
    """Three servers on which nothing is deployed."""
    machines.clean()
    return machines


@pytest.mark.long
def test_three_servers_by_one_command(fleet: Three) -> None:
    """One certificate each, one account at the authority, one secret; and once more is no more than a look."""
    fleet.configure(ACME_SERVER=PROXY)
    fleet.sandbox.clear_acme_log()
    first = fleet.fab("bootstrap")
    print(first.stdout, first.stderr)
    assert fleet.certificates() == dict.fromkeys(ALL, 1)
    assert (fleet.sandbox.orders(), fleet.sandbox.issued()) == (3, 3)
    same = (
        "sha256sum <{d}/registry/secrets/http-secret", "sha256sum <{d}/registry/auth/htpasswd",
        "cat {d}/certbot/thumbprint", "ls {d}/certbot/conf/accounts/*/*",
    )  # fmt: skip
    for script in same:
        assert len({fleet.shell(name, script.format(d=DEPLOY_DIR)) for name in ALL}) == 1, script
    different = ("sha256sum <{d}/certbot/conf/live/registry.test/privkey.pem", "grep by-cron /etc/cron.d/*")
    for script in different:
        assert len({fleet.shell(name, script.format(d=DEPLOY_DIR)) for name in ALL}) == 3, script
    print(fleet.fab("bootstrap").stdout)
    assert (fleet.sandbox.orders(), fleet.certificates()) == (3, dict.fromkeys(ALL, 1))
    told = json.loads(fleet.fab("status", "--json").stdout)
    assert [(name, each["registry"]) for name, each in told.items()] == [(name, "registry.test") for name in ALL]


def lines(fleet: Three, count: int) -> tuple[subprocess.Popen[str], list[str]]:
    """Begin a bootstrap, and let it go on until so many steps have ended. Fewer where that was all."""
    running = subprocess.Popen([*fleet.command, "bootstrap"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    ended: list[str] = []
    while len(ended) < count and (line := running.stdout.readline()):
        if STEP.match(line):
            ended.append(line)
    return running, ended


@pytest.mark.long
def test_killed_at_each_step_on_each_server(fleet: Three) -> None:
    """C15: each time in the step behind the one that ended last, so each run goes on. One order a server in all."""
    fleet.configure(ACME_SERVER=PROXY)
    fleet.sandbox.clear_acme_log()
    count, seen = 0, set[tuple[str, str]]()
    while True:
        running, ended = lines(fleet, count)
        if len(ended) < count:
            running.communicate(timeout=600)
            assert running.returncode == 0
            break
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=60)
        seen |= {(found[1], found[2]) for line in ended if (found := STEP.match(line))}
        count += 1
    # Steps and servers as they are: a new one is killed, too.
    steps = ("check", "provision", "sync", "alike", "up", "init-letsencrypt", "schedule")
    each = {(name, step) for name in ALL for step in steps}
    assert seen >= {*each, ("server", "htpasswd")}
    assert fleet.certificates() == dict.fromkeys(ALL, 1)
    assert (fleet.sandbox.orders(), fleet.sandbox.issued()) == (3, 3)


@pytest.mark.long
def test_one_that_fails_leaves_the_rest(fleet: Three) -> None:
    """C16: where one is not fit, nothing is touched anywhere; where one fails later, those behind are as they were."""
    fleet.configure()
    fleet.shell("third", f"mkdir {DEPLOY_DIR} && chmod 777 {DEPLOY_DIR}")
    told = fleet.fab("bootstrap", ok=False)
    print(told.stdout, told.stderr)
    assert told.returncode == 1
    assert "check failed on third" in told.stderr
    assert re.search(r"^third +failed$", told.stdout, re.M)
    for name in ("server", "second"):
        assert fleet.shell(name, f"ls {DEPLOY_DIR}", check=False) == ""
    fleet.shell("third", f"rmdir {DEPLOY_DIR}")
    # What it cannot start: the image is gone, and no image registry answers.
    image = fleet.shell("second", "docker image ls --format '{{.Repository}}:{{.Tag}}' | grep nginx").split()[0]
    fleet.shell("second", f"docker tag {image} kept; docker rmi {image}")
    told = fleet.fab("bootstrap", ok=False)
    print(told.stdout, told.stderr)
    assert "up failed on second" in told.stderr
    assert "then ./fab bootstrap again: what is done stays done" in told.stderr
    running = {name: fleet.shell(name, "docker ps --quiet").split() for name in ALL}
    assert [len(found) for found in running.values()] == [3, 0, 0]
    fleet.shell("second", f"docker tag kept {image}; docker rmi kept")
    fleet.fab("bootstrap")
    assert fleet.shell("server", "docker ps --quiet").split() == running["server"]
    assert fleet.certificates() == dict.fromkeys(ALL, 1)


@pytest.mark.long
def test_a_server_goes_and_comes_back(fleet: Three) -> None:
    """C17: dead, it stops the orders of all while its address is in DNS; forgotten, the others go on without it."""
    fleet.configure(ACME_SERVER=PROXY)
    fleet.fab("bootstrap")
    address, third = fleet.address("third"), fleet.other("third")
    output("docker", "stop", "--time", "1", third.container)
    fleet.world.expire()
    fleet.sandbox.clear_acme_log()
    told = fleet.fab("-H", "server", "renew", ok=False)
    assert f"port 80 of {address} (registry.test) does not answer" in told.stderr
    assert fleet.sandbox.orders() == 0
    refused = fleet.fab("sync", ok=False)
    assert "1 server of 3 cannot be reached; sync changed nothing" in refused.stderr
    assert "./fab forget third" in refused.stderr
    seen = json.loads(fleet.fab("status", "--json", ok=False).stdout)
    assert list(seen["third"]) == ["error"]
    assert seen["second"]["registry"] == "registry.test"

    told = fleet.fab("forget", "third")
    print(told.stdout, told.stderr)
    assert f"take out of DNS, at your provider: {address} of registry.test" in told.stdout
    assert "HOSTS=server second\n" in fleet.world.settings.read_text()
    assert "HOSTS='second server'" in fleet.shell("second", f"cat {DEPLOY_DIR}/settings.env")
    fleet.in_dns("server", "second")
    assert "renewed and served" in fleet.fab("-H", "server", "renew").stdout
    assert fleet.sandbox.issued() == 1

    output("docker", "start", third.container)
    third.settle()
    fleet.in_dns(*ALL)
    fleet.configure(ACME_SERVER=PROXY)
    before = fleet.certificates()
    print(fleet.fab("bootstrap").stdout)
    assert (fleet.certificates(), fleet.sandbox.issued()) == (before, 1)
