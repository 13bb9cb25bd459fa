"""Accounts of several servers: DEPLOY_DIRs that share one registry, a real one where there is one on this machine."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

import pytest

from fabfile import layout
from fabfile.accounts.onhost import accounts_file, generation
from fabfile.accounts.onhost.accounts_file import Rights
from fabfile.errors import StepError
from fabfile.machine.fleet import Fleet, Server
from fabfile.machine.host import Host
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.settings import Settings
from fabfile.stack import accord as agreement
from fabfile.stack.onhost import accord, committed

from .test_accounts import HASH

R = TypeVar("R")
PUSH: Rights = {"role": "push", "repositories": None}
PROGRAM = shutil.which("docker-registry", path=f"{os.environ.get('PATH', '')}:/usr/bin")
CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {data}}}
  delete: {{enabled: true}}
middleware:
  storage: [{{name: redirect, options: {{baseurl: https://blobs.invalid/}}}}]
http: {{net: unix, addr: {socket}}}
"""


def text(*users: str) -> str:
    return "".join(f"# {user} role=push repositories= changed=2026\n{user}:{HASH}\n" for user in users)


def users(root: Path) -> list[str]:
    return [line.user for line in accounts_file.lines(root / layout.ACCOUNTS)]


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Three, each with a registry of its own on one store; nginx is not there."""
    if not PROGRAM:
        pytest.skip("there is no registry on this machine: apt-get install docker-registry")
    monkeypatch.setattr(accord, "refresh", lambda directory: False)
    monkeypatch.setattr(accord, "require_current", lambda directory: None)
    with contextlib.ExitStack() as stack:
        # Names of sockets have 107 characters at most.
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="accord-", dir="/tmp")))
        found = []
        for name in "abc":
            root = top / name
            for below in (layout.AUTH, layout.REGISTRY_SOCKETS, f"{layout.NGINX}/run"):
                (root / below).mkdir(parents=True)
            link = root / layout.REGISTRY_SOCKETS / "registry.sock"
            link.symlink_to("1.sock")
            config = root / "config.yml"
            config.write_text(CONFIG.format(data=top / "store", socket=link.with_name("1.sock")))
            process = subprocess.Popen([PROGRAM, "serve", str(config)], env={"REGISTRY_HTTP_SECRET": "of-the-tests"})
            stack.callback(process.wait, 20)
            stack.callback(process.kill)
            end = time.monotonic() + 20
            while not link.exists() and time.monotonic() < end:
                time.sleep(0.02)
            found.append(root)
        yield found


def begun(servers: list[Path], *names: str) -> None:
    """The first one's accounts are in force, and all have them."""
    first, *others = servers
    (first / layout.ACCOUNTS).write_text(text(*names))
    assert accord.begin(str(first))
    current = accord.current(str(first))
    assert current
    for other in others:
        assert accord.bring(str(other), current)
        assert not accord.bring(str(other), current)
    assert {tuple(users(root)) for root in servers} == {names}


def change(proposed: accord.Proposed, on: list[Path], by: Path) -> None:
    new = proposed["new"]
    assert new
    for root in on:
        accord.take(str(root), new)
    accord.commit(str(by), new)


def in_force(root: Path) -> list[str]:
    found = committed.read(root)
    return re.findall(r"^(\w+):", found["text"], re.M) if found else []


def known(root: Path) -> bool:
    """What nginx would say by generation.conf."""
    found = committed.read(root)
    return found is not None and found["digest"] in generation.conf(root).decode()


def test_a_change_is_on_all_and_then_in_force(servers: list[Path]) -> None:
    a, b, c = servers
    assert committed.read(a) is None
    with pytest.raises(RefusedError, match="no accounts are in force"):
        accord.put(str(a), {"x": f"x:{HASH}"}, PUSH)
    begun(servers, "admin", "ci")
    # A second bootstrap, of any of them, changes nothing.
    assert [accord.begin(str(root)) for root in servers] == [False] * 3
    proposed = accord.put(str(b), {"new": f"new:{HASH}"}, PUSH)
    assert proposed["done"] == ["added"]
    assert {tuple(users(root)) for root in servers} == {("admin", "ci")}
    change(proposed, servers, c)
    assert in_force(a) == ["admin", "ci", "new"] == users(a) == users(b) == users(c)
    assert [accord.heal(str(root)) for root in servers] == [False] * 3
    assert accord.remove(str(a), "nobody") == {"new": None, "done": []}
    assert (a / layout.GENERATION).stat().st_mode & 0o777 == 0o600
    assert not (a / layout.AUTH / accord.DRAFT).exists()


def test_a_server_that_was_not_reached_knows_that_it_must_not_serve(servers: list[Path]) -> None:
    """Also where an account came and went again: the file is what it was before it came."""
    a, b, c = servers
    begun(servers, "admin")
    before = (c / layout.ACCOUNTS).read_bytes()
    change(accord.put(str(a), {"bob": f"bob:{HASH}"}, PUSH), servers, a)
    change(accord.remove(str(a), "bob"), [a, b], a)
    assert (a / layout.ACCOUNTS).read_bytes() == before
    assert users(c) == ["admin", "bob"]
    assert [known(root) for root in servers] == [True, True, False]
    assert accord.heal(str(c))
    assert users(c) == ["admin"]
    assert known(c)


def test_a_change_that_died_is_taken_back(servers: list[Path]) -> None:
    a, b, _ = servers
    begun(servers, "admin")
    new = accord.put(str(a), {"bob": f"bob:{HASH}"}, PUSH)["new"]
    assert new
    accord.take(str(a), new)
    accord.take(str(b), new)
    # On its way: all serve, whether they have it or not; and cron waits.
    assert [known(root) for root in servers] == [True] * 3
    assert [accord.heal(str(root)) for root in servers] == [False] * 3
    assert users(a) == ["admin", "bob"]
    old = time.time() - accord.UNDER_WAY - 1
    os.utime(a / layout.GENERATION, (old, old))
    assert [accord.heal(str(root)) for root in servers] == [True, False, False]
    assert users(a) == ["admin"]
    # The same command again does it, whoever has what.
    change(accord.put(str(a), {"bob": f"bob:{HASH}"}, PUSH), servers, b)
    assert {tuple(users(root)) for root in servers} == {("admin", "bob")}


def test_of_two_changes_at_once_one_is_told(servers: list[Path]) -> None:
    a, b, _ = servers
    begun(servers, "admin")
    first = accord.put(str(a), {"bob": f"bob:{HASH}"}, PUSH)
    second = accord.put(str(b), {"eve": f"eve:{HASH}"}, PUSH)
    change(first, servers, a)
    with pytest.raises(RefusedError, match="somebody else") as error:
        change(second, servers, a)
    assert error.value.reason == committed.FASTER
    change(accord.put(str(b), {"eve": f"eve:{HASH}"}, PUSH), servers, a)
    assert in_force(a) == ["admin", "bob", "eve"]
    assert {tuple(users(root)) for root in servers} == {("admin", "bob", "eve")}


def test_accounts_of_a_push_test_stay_where_they_are(servers: list[Path]) -> None:
    a, b, _ = servers
    begun(servers, "admin")
    own = f"push-test-{int(time.time()):x}-1"
    accounts_file.put(str(b / layout.ACCOUNTS), {own: f"{own}:{HASH}"}, PUSH)
    assert not accord.heal(str(b))
    change(accord.put(str(a), {"bob": f"bob:{HASH}"}, PUSH), servers, a)
    assert users(b) == ["admin", "bob", own]
    assert users(a) == ["admin", "bob"] == in_force(b)


class DiedError(Exception):
    """As a process that is killed: nobody expects it."""


class Dying:
    """A function that ends it all where it is called for so many times."""

    def __init__(self, function: Callable[..., object], when: int) -> None:
        self._function, self._left = function, when

    def __call__(self, *args: object, **options: object) -> object:
        self._left -= 1
        if self._left == -1:
            raise DiedError
        return self._function(*args, **options)


def test_killed_at_any_point_cron_brings_it_back(servers: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file that a server writes for a change, and the registry's two, with an end before and after it."""
    a, b, c = servers
    begun(servers, "admin")

    points = [(accord, "replace"), (generation, "replace"), (accord, "refresh"), (committed, "_ask")]
    for round_, ((module, name), when) in enumerate(itertools.product(points, range(8))):
        user = f"u{round_}"
        with contextlib.suppress(DiedError), monkeypatch.context() as patched:
            patched.setattr(module, name, Dying(getattr(module, name), when))
            change(accord.put(str(a), {user: f"{user}:{HASH}"}, PUSH), [a, b], b)
        for root in servers:
            if (root / layout.GENERATION).exists():
                old = time.time() - accord.UNDER_WAY - 1
                os.utime(root / layout.GENERATION, (old, old))
            accord.heal(str(root))
        assert len({tuple(users(root)) for root in servers}) == 1, (name, when)
        assert in_force(c) == users(c), (name, when)
        assert [known(root) for root in servers] == [True] * 3, (name, when)
        assert not accord.begin(str(a))


def test_what_is_no_generation_is_refused(servers: list[Path]) -> None:
    for body in (b"", b"{}", b"[]", b'{"annotations":{}}'):
        with pytest.raises(RefusedError, match="is not what accounts are kept in"):
            generation.told(body)
    made = generation.made(text("admin"), "sha256:0")
    assert generation.told(generation.manifest(made["text"], made["before"])) == made


@dataclass(frozen=True)
class Near:
    """A host that is this machine."""

    name: str
    broken: tuple[str, ...] = ()
    option: str = ""
    host_key: str = ""

    def call(self, function: Callable[..., R], *args: object) -> R:
        if function.__name__ in self.broken:
            raise StepError(f"{self.name}: the connection was lost")
        try:
            return function(*args)
        except RefusedError as error:
            raise StepError(error.what, *error.remedies, reason=error.reason) from None


def fleet_of(servers: list[Path], settings: Settings, broken: Mapping[str, tuple[str, ...]] | None = None) -> Fleet:
    found = [
        Server(root.name, root.name, cast("Host", Near(root.name, (broken or {}).get(root.name, ()))), place)
        for root in servers
        for place in (replace(settings, deploy_dir=str(root)),)
    ]
    return Fleet(tuple(found))


def adding(user: str) -> agreement.Propose:
    return lambda host, settings: host.call(accord.put, settings.deploy_dir, {user: f"{user}:{HASH}"}, PUSH)


def test_a_command_changes_all_that_it_reaches_and_names_the_others(servers: list[Path], settings: Settings) -> None:
    a, b, c = servers
    begun(servers, "admin")
    done = agreement.change(fleet_of(servers, settings), adding("x")).outcome("account x added")
    assert (done.summary, done.details, done.doubtful) == ("account x added on all servers", [], False)
    lost = fleet_of(servers, settings, {"a": ("put", "take", "commit"), "c": ("take",)})
    done = agreement.change(lost, adding("y")).outcome("account y added", ["password"])
    assert done.summary == "account y added on 1 of 3 servers"
    assert done.doubtful
    assert [line.partition(" ")[0] for line in done.details] == ["password", "a", "c"]
    assert (in_force(a), users(a), users(b), users(c)) == (["admin", "x", "y"], ["admin", "x"], ["admin", "x", "y"],
                                                           ["admin", "x"])  # fmt: skip
    assert [known(root) for root in servers] == [False, True, False]
    away = Fleet(fleet_of([a, b], settings).servers, {"c": StepError("c cannot be reached")})
    assert agreement.change(away, adding("z")).behind == ["c"]


def test_a_command_that_meets_another_begins_again(
    servers: list[Path], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, _ = servers
    begun(servers, "admin")
    met: list[str] = []

    def meeting(host: Host, place: Settings) -> accord.Proposed:
        proposed = adding("mine")(host, place)
        if not met:
            met.append("theirs")
            change(accord.put(str(b), {"theirs": f"theirs:{HASH}"}, PUSH), servers, b)
        return proposed

    agreement.change(fleet_of(servers, settings), meeting)
    assert in_force(a) == ["admin", "theirs", "mine"] == users(a) == users(b)


def test_where_the_store_is_away_nothing_is_lost_that_must_not_be(servers: list[Path], settings: Settings) -> None:
    begun(servers, "admin")
    dead = fleet_of(servers, settings, {root.name: ("commit",) for root in servers})
    with pytest.raises(StepError, match="changed on a, b, c, but not in force for all") as error:
        agreement.change(dead, adding("x"), ["password of x, shown this once: y"])
    assert "password of x, shown this once: y" in error.value.remedies
    nobody = fleet_of(servers, settings, {root.name: ("put",) for root in servers})
    with pytest.raises(StepError, match="the connection was lost"):
        agreement.change(nobody, adding("x"))
