"""A registry that moves: what is copied, who may push at each moment, and what a key of the new server opens."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile import layout
from fabfile.copies import between, taking
from fabfile.copies.onhost import arrive, bridge, gate, leaving, putback, stage
from fabfile.copies.onhost.inside import ENTER
from fabfile.errors import StepError
from fabfile.machine import lock
from fabfile.machine.host import Host
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.report import Outcome
from fabfile.settings import Settings
from fabfile.stack.onhost import nginx, relay
from fabfile.stack.onhost import sync as files
from fabfile.steps import check, move, provision, push_test, schedule, status, sync, up

from .far import Marked, deployed, far
from .stores import Store, sha

needs_rsync = pytest.mark.skipif(not shutil.which("rsync"), reason="there is no rsync")


@pytest.fixture
def old(tmp_path: Path) -> Store:
    (tmp_path / "old").mkdir()
    return deployed(tmp_path / "old")


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    root = tmp_path / "new"
    root.mkdir()
    store = deployed(root)
    for name in (layout.AUTH, layout.CERTIFICATES):
        shutil.rmtree(root / name)
    monkeypatch.setattr(arrive, "PULL_LOCK", str(tmp_path / "lock"))
    return store


def root_of(store: Store) -> Path:
    return store.data.parent.parent


@pytest.fixture
def shell(tmp_path: Path, old: Store) -> list[str]:
    """Takes the place of ssh: drops the name of the host, and does what the old server would."""
    script = tmp_path / "ssh"
    enter = [sys.executable, "-I", "-B", "-c", ENTER, str(old.data), f"{layout.COPY}/{layout.COPY_OUT}"]
    script.write_text(f"#!{sys.executable}\nimport os, sys\nos.execv({enter[0]!r}, {enter!r} + sys.argv[2:])\n")
    script.chmod(0o755)
    return [str(script), "old"]


class Here(Host):
    """Calls are made here, where names can be changed; conversations are with the real programs."""

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return function(*args, **options)


def passed(old: Store, new: Store, shell: list[str]) -> tuple[stage.Staged, arrive.Arrived]:
    found = stage.stage(str(root_of(old)))
    return found, arrive.pull(str(root_of(new)), shell)


def tree(store: Store) -> dict[str, str]:
    top = store.top / "repositories"
    return {str(link.relative_to(top)): link.read_text() for link in top.rglob("link")}


@needs_rsync
def test_the_new_one_becomes_as_the_old_one_is(old: Store, new: Store, shell: list[str]) -> None:
    """Twice, with a tag that moved, an image that went, and an account that came in between."""
    old.image("team/app", [b"one", b"two"], "1", "latest")
    old.image("gone", [b"one"], "1")
    found, arrived = passed(old, new, shell)
    assert (arrived["bad"], arrived["blobs"]) == ([], found["blobs"])
    assert not (new.top / "repositories").exists()
    assert arrive.settle(str(root_of(new))) == found["references"]
    assert tree(new) == tree(old)

    old.image("team/app", [b"three"], "latest")
    shutil.rmtree(old.top / "repositories/gone")
    (root_of(old) / layout.ACCOUNTS).write_text("demo:other\nanna:hash\n")
    found, arrived = passed(old, new, shell)
    assert arrived["blobs"] == 2
    assert arrive.settle(str(root_of(new))) == found["references"]
    assert not list((new.top / "repositories").glob("gone/**/link"))
    assert (root_of(new) / layout.ACCOUNTS).read_text() == "demo:other\nanna:hash\n"
    assert (root_of(new) / layout.HTTP_SECRET).read_text() == "secret"
    assert (root_of(new) / layout.CERTIFICATES / "live/a/cert.pem").read_text() == "a certificate"
    again, arrived = passed(old, new, shell)
    assert arrived["blobs"] == 0
    assert arrived["sent"] < 20_000
    for digest in {digest for digest in tree(new).values() if new.blob_path(digest).exists()}:
        assert sha(new.blob_path(digest).read_bytes()) == digest
    assert again["references"] == found["references"]
    assert stat.S_IMODE(next((new.top / "repositories").rglob("link")).stat().st_mode) == 0o640


@needs_rsync
def test_what_was_late_is_added_and_nothing_else_is_changed(old: Store, new: Store, shell: list[str]) -> None:
    """A push that ended on the old server after the last pass; meanwhile people push and delete on the new one."""
    old.image("app", [b"one"], "1", "2")
    found, _ = passed(old, new, shell)
    arrive.settle(str(root_of(new)))
    assert arrive.came(str(root_of(new))) == found["references"]
    old.image("late", [b"slow"], "1")
    shutil.rmtree(new.part("app", "_manifests/tags/2"))
    moved = new.image("app", [b"newer"], "1")
    found = stage.stage(str(root_of(old)))
    assert arrive.came(str(root_of(new))) != found["references"]
    assert arrive.late(str(root_of(new)), shell) == 1
    assert (new.part("app", "_manifests/tags/1") / "current/link").read_text() == moved
    assert not new.part("app", "_manifests/tags/2").exists()
    assert (new.part("late", "_manifests/tags/1") / "current/link").exists()
    assert new.blob_path(sha(b"slow")).read_bytes() == b"slow"
    assert arrive.late(str(root_of(new)), shell) == 0


@needs_rsync
def test_a_layer_that_has_rotted_is_named_and_never_seen(old: Store, new: Store, shell: list[str]) -> None:
    old.image("app", [b"a layer"], "1")
    old.blob_path(sha(b"a layer")).write_bytes(b"a lazer")
    _, arrived = passed(old, new, shell)
    assert arrived["bad"] == [sha(b"a layer")]
    assert not new.blob_path(sha(b"a layer")).exists()
    old.blob_path(sha(b"a layer")).write_bytes(b"a layer")
    _, arrived = passed(old, new, shell)
    assert (arrived["bad"], arrived["blobs"]) == ([], 1)


@needs_rsync
def test_it_goes_through_this_machine_where_nothing_leads_from_one_to_the_other(
    old: Store, new: Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "MOVE", str(tmp_path / "move"))
    monkeypatch.setattr(bridge, "PROGRAM", str(tmp_path / "move/bridge.py"))
    monkeypatch.setattr(bridge, "SOCKET", str(tmp_path / "move/s"))
    old.image("app", [os.urandom(3_000_000)], "1")
    monkeypatch.setattr(
        between, "enter", lambda _: ["python3", "-I", "-B", "-c", ENTER, str(old.data), f"{layout.COPY}/out"]
    )
    there = Here(far().runner, "far", local=False, begin=Marked)
    road = between.Between(far(), there, replace(settings, deploy_dir=str(root_of(new))))
    found = stage.stage(str(root_of(old)))
    arrived = road.pull()
    assert (arrived["bad"], arrived["blobs"]) == ([], found["blobs"])
    assert arrived["sent"] > 3_000_000


@pytest.mark.parametrize(
    ("command", "opened"),
    [
        ("rsync --server --sender -ltpre.iLsfxCIvu . ./", True),
        ("rsync --server --sender -ltprRe.iLsfxCIvu --ignore-missing-args --files-from=- --from0 . ./", True),
        ("true", True),
        ("", False),
        ("sh", False),
        ("rsync --server -ltpre.iLsfxCIvu . ./", False),
        ("rsync --server --sender -ltpre.iLsfxCIvu . /etc", False),
        ("rsync --server --sender -ltpre.iLsfxCIvu . ../", False),
        ("rsync --server --sender -ltpLre.iLsfxCIvu . ./", False),
        ("rsync --server --sender -ltpsre.iLsfxCIvu . ./", False),
        ("rsync --server --sender -ltpre.iLsfxCIvu --files-from=/etc/shadow . ./", False),
        ("rsync --server --sender --log-file=/etc/cron.d/x -ltpre.iLsfxCIvu . ./", False),
        ("rsync --server --sender --remove-source-files -ltpre.iLsfxCIvu . ./", False),
        ("rsync --server --sender -ltpre.iLsfxCIvu . ./ ; id", False),
    ],
)
def test_the_key_reads_one_copy_and_does_nothing_else(tmp_path: Path, command: str, opened: bool) -> None:
    """What it opens runs a program named rsync, in the copy: here one of our own, which says where."""
    out = tmp_path / layout.COPY / layout.COPY_OUT
    out.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/rsync").write_text("#!/bin/sh\npwd\n")
    (tmp_path / "bin/rsync").chmod(0o755)
    (tmp_path / "gate.py").write_text(gate.GATE)
    done = subprocess.run(
        [sys.executable, "-I", "-B", str(tmp_path / "gate.py"), str(tmp_path), f"{layout.COPY}/{layout.COPY_OUT}"],
        env={"SSH_ORIGINAL_COMMAND": command, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == opened, done.stderr
    assert gate.allowed(command.split()) == (opened and command != "true")
    assert done.stdout == (f"{out}\n" if opened and command != "true" else "")


def test_other_keys_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "authorized_keys"
    keys.write_text("ssh-ed25519 AAAA anna\n# a comment\nssh-rsa BBBB bert")
    keys.chmod(0o600)
    before = keys.read_text()
    monkeypatch.setattr(gate, "PLACES", (str(keys),))
    monkeypatch.setattr(gate, "MOVE", str(tmp_path / "move"))
    monkeypatch.setattr(gate, "PROGRAM", str(tmp_path / "move/gate.py"))
    for _ in range(2):
        gate.let_in("/docker-registry", f"ssh-ed25519 CCCC {gate.MARK}")
    lines = keys.read_text().splitlines()
    assert lines[:3] == before.splitlines()
    assert len(lines) == 4
    assert lines[3].startswith('restrict,command="python3 -I -B ')
    with pytest.raises(RefusedError):
        gate.let_in("/docker-registry", f"ssh-ed25519 CCCC\nssh-ed25519 DDDD {gate.MARK}")
    gate.shut()
    gate.shut()
    assert keys.read_text().rstrip("\n") == before
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600


def test_pushes_come_back_by_themselves_only_where_nothing_has_gone(tmp_path: Path) -> None:
    """Ten minutes after a move died; not where the registry is on its way here, or has left."""
    flag = tmp_path / layout.FULL / f"{layout.FULL_MOVING}.json"
    (tmp_path / layout.NGINX).mkdir()
    for between_two, age, comes in (
        ("", 0, False),
        ("", relay.LONGEST + 5, True),
        (layout.MOVED, relay.LONGEST + 5, False),
        (layout.RESTORING, relay.LONGEST + 5, False),
    ):
        relay.freeze(str(tmp_path))
        os.utime(flag, (time.time() - age, time.time() - age))
        if between_two:
            (tmp_path / between_two).write_text("")
        assert relay.let_in_again(tmp_path) == comes
        assert flag.exists() != comes
        if between_two:
            (tmp_path / between_two).unlink()
    relay.thaw(str(tmp_path))
    with pytest.raises(RefusedError, match="pushes were let in again"):
        relay.leave(str(tmp_path), "root@new", "192.0.2.2")
    assert relay.moved(str(tmp_path)) is None


def test_what_nginx_runs_on_the_old_server_knows_no_registry(tmp_path: Path) -> None:
    (tmp_path / layout.NGINX).mkdir()
    relay.freeze(str(tmp_path))
    relay.leave(str(tmp_path), "root@new", "2001:db8::2")
    found = relay.moved(str(tmp_path))
    assert found is not None
    assert (found["to"], found["address"]) == ("root@new", "2001:db8::2")
    text = relay.configuration({"nginx.conf": b"user nginx;\n\nhttp {\n include x;\n}\n"}, found["address"])
    assert list(text) == ["nginx.conf"]
    assert b"proxy_pass [2001:db8::2]:443;" in text["nginx.conf"]
    assert b"include x" not in text["nginx.conf"]
    (tmp_path / layout.MOVED).write_text("root@new\n{")
    with pytest.raises(RefusedError, match="cannot be read"):
        relay.moved(str(tmp_path))


def test_people_behind_the_old_server_are_many(tmp_path: Path) -> None:
    assert relay.known(tmp_path) == {}
    relay.know(str(tmp_path), ["192.0.2.1", "2001:db8::1"])
    assert relay.known(tmp_path)[relay.RELAYED] == b'"~^192[.]0[.]2[.]1 " "";\n"~^2001:db8::1 " "";\n'
    relay.know(str(tmp_path), [])
    assert relay.known(tmp_path) == {}


ARRIVED: Any = {"blobs": 1, "sent": 1, "bad": []}


class KilledError(BaseException):
    """The command is gone: nothing more is done by it."""


class Two:
    """Two servers in a model: what nginx runs, who may push, and which pushes each of them has."""

    def __init__(self, directory: Path) -> None:
        self.hosts = {name: Fake(self, name, directory / name) for name in ("root@old", "root@new")}
        self.old, self.new = self.hosts["root@old"], self.hosts["root@new"]
        self.old.live = "serves"
        (self.old.root / layout.COMPOSE_FILE).touch()
        self.pushed = self.calls = 0
        self.acknowledged: set[int] = set()
        self.left = -1

    def acknowledge(self, host: Fake) -> None:
        self.pushed += 1
        host.store.add(self.pushed)
        self.acknowledged.add(self.pushed)

    def happened(self) -> None:
        """Somebody pushes wherever that is possible. A kill may come now."""
        assert not (self.old.takes and self.new.takes), "both take pushes"
        for host in self.hosts.values():
            if host.takes:
                self.acknowledge(host)
        self.calls += 1
        if self.left == 0:
            raise KilledError
        self.left -= 1


class Fake:
    """A host of the model."""

    local, forced, option = False, False, None

    def __init__(self, two: Two, name: str, root: Path) -> None:
        self.two, self.name, self.root = two, name, root
        self.stopped = False
        self.live, self.store, self.copy, self.waiting = "down", set[int](), set[int](), set[int]()
        (root / layout.NGINX).mkdir(parents=True)
        self.fab = f"./fab -H {name}"

    @property
    def takes(self) -> bool:
        return self.live == "serves" and not relay.frozen(str(self.root))

    @property
    def other(self) -> Fake:
        return self.two.new if self is self.two.old else self.two.old

    def run(self, *_: object, **__: object) -> Any:
        return type("Done", (), {"ok": True, "stdout": self.name})

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self.two.happened()
        result = self.known(function, *args, **options)
        self.two.happened()
        return result

    def known(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """What it does. What is several things in one is cut off between them, too, as by a power cut."""
        own: dict[Callable[..., Any], Callable[..., Any]] = {
            nginx.up: self.configured,
            nginx.reconfigure: self.configured,
            arrive.settle: self.settled,
            arrive.last: self.last,
            leaving.begin: self.begin,
            leaving.go: self.go,
            leaving.hand_over: self.hand_over,
            leaving.stay: self.stay,
            leaving.again: self.again,
            leaving.end: self.end,
            arrive.came: lambda *_: str(sorted(self.copy)),
            arrive.late: self.late,
            relay.reach: lambda *_: ("192.0.2.2", []),
            putback.there: self.there,
            files.read: lambda *_: {layout.SETTINGS_FILE: "REGISTRY_DOMAIN='registry.example.org'"},
        }
        if function in own:
            return own[function](*args)
        if function.__module__ == relay.__name__ and function not in {relay.addresses, relay.resolved}:
            return function(str(self.root), *args[1:], **options)
        if function in {putback.begin, putback.end}:
            return function(str(self.root), *args[1:])
        return []  # nothing that counts here

    def configured(self, *_: object) -> Any:
        self.live = "relays" if relay.moved(str(self.root)) else "serves"
        self.two.happened()
        return {"problem": "", "started": []}

    def there(self, *_: object) -> Any:
        begun = self.root / layout.RESTORING
        text = begun.read_text().strip() if begun.exists() else ""
        return {"repositories": len(self.store), "accounts": bool(self.store), "begun": text}

    def settled(self, *_: object) -> str:
        self.store = set(self.copy)
        self.two.happened()
        return "all"

    def staged(self) -> Any:
        self.waiting = set(self.store)
        return {"references": str(sorted(self.waiting)), "tags": 1, "missing": {}, "dropped": []}

    def begin(self, *_: object) -> Any:
        relay.freeze(str(self.root))
        self.two.happened()
        return self.staged()

    def end(self, *_: object) -> Any:
        """And before it, a push that had begun long before."""
        if not self.stopped:
            self.two.acknowledge(self)
        self.two.happened()
        self.stopped = True
        return self.staged()

    def late(self, *_: object) -> int:
        new = self.other.waiting - self.copy
        self.copy = set(self.other.waiting)
        self.store |= new
        return len(new)

    def last(self, *_: object) -> Any:
        self.copy = set(self.other.waiting)
        self.two.happened()
        self.settled()
        relay.know(str(self.root), ["192.0.2.1"])
        relay.come_back(str(self.root))
        self.two.happened()
        self.configured()
        return ARRIVED

    def go(self, _directory: str, _lineage: str, to: str, *_: object) -> None:
        relay.leave(str(self.root), to, "192.0.2.2")
        self.two.happened()
        self.hand_over()

    def again(self, _directory: str, _lineage: str, to: str, address: str) -> None:
        relay.leave(str(self.root), to, address)
        self.configured()

    def hand_over(self, *_: object) -> None:
        self.configured()
        assert (self.live, self.other.live) == ("relays", "serves")

    def stay(self, *_: object) -> None:
        relay.come_back(str(self.root))
        self.two.happened()
        self.configured()
        relay.thaw(str(self.root))
        self.two.happened()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that needs a real machine does nothing, or what the model says."""
    nothing = contextlib.nullcontext

    def staged(host: Any, _: Settings) -> Any:
        return nothing(host.staged())

    def pull(road: Any) -> Any:
        road.new.two.happened()
        road.new.copy = set(road.old.waiting)
        road.new.two.happened()
        return ARRIVED

    for owner, name, value in (
        (taking, "alone", lambda *_, **__: nothing()),
        (lock, "exclusive", lambda *_, **__: nothing()),
        (taking, "staged", staged),
        (between.Between, "open", lambda road: None),
        (between.Between, "shell_of", lambda road: nothing(["ssh", "old"])),
        (between.Between, "pull", pull),
        (between, "places", lambda *_: [("192.0.2.1", 22)]),
        (between, "connected", lambda _: ("192.0.2.1", 22)),
        (check, "require", lambda *_, **__: True),
        (move, "require_deployed", lambda *_: None),
        (push_test, "prove", lambda host, *_, **__: host.two.happened()),
        *((step, name, lambda *_, **__: Outcome("", changed=False))
          for step, name in ((provision, "provision"), (sync, "sync"), (up, "up"), (schedule, "schedule"))),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, value)


def moved(two: Two, settings: Settings, task: str) -> None:
    """The command, which may be killed."""
    old, new = two.old, two.new
    there: Callable[[str], Any] = lambda name: two.hosts[name]  # noqa: E731
    with contextlib.suppress(KilledError):
        if task == "move":
            move.move(old, new, settings, "root@new")  # type: ignore[arg-type]
        else:
            move.back(old, settings, there)  # type: ignore[arg-type]
    two.left = -1


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("task", ["move", "back"])
def test_killed_anywhere_nothing_is_lost_and_a_rerun_converges(settings: Settings, tmp_path: Path, task: str) -> None:
    """After each call on either server: at no time do both take pushes, and each push that was taken is there."""
    settings = replace(settings, registry_domain="registry.example.org")
    moment, moments = 0, 1
    while moment <= moments:
        two = Two(tmp_path / f"{task}{moment}")
        if task == "back":
            moved(two, settings, "move")
        two.calls, two.left = 0, moment
        moved(two, settings, task)
        moments = max(moments, two.calls)
        moved(two, settings, task)
        last, before = (two.new, two.old) if task == "move" else (two.old, two.new)
        assert (last.live, before.live) == ("serves", "relays"), moment
        assert last.takes
        assert relay.frozen(str(before.root))
        assert two.acknowledged <= last.store, moment
        moment += 1
    assert moments > 40


@pytest.mark.usefixtures("model")
def test_what_fails_before_the_switch_leaves_the_old_one_as_it_was(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(settings, registry_domain="registry.example.org")
    two = Two(tmp_path)

    def fails(self: Fake, *_: object) -> None:
        self.configured()
        raise StepError(f"{self.other.name} does not answer")

    real = Fake.hand_over
    monkeypatch.setattr(Fake, "hand_over", fails)
    with pytest.raises(StepError, match="does not answer"):
        move.move(two.old, two.new, settings, "root@new")  # type: ignore[arg-type]
    assert two.old.takes
    assert not two.new.takes

    monkeypatch.setattr(Fake, "hand_over", real)
    move.move(two.old, two.new, settings, "root@new")  # type: ignore[arg-type]
    monkeypatch.setattr(Fake, "hand_over", fails)
    with pytest.raises(StepError, match="does not answer"):
        move.back(two.old, settings, lambda name: two.hosts[name])  # type: ignore[arg-type,return-value]
    assert (two.old.live, two.new.takes) == ("relays", True)


def test_a_server_that_has_moved_takes_no_other_task(tmp_path: Path, settings: Settings) -> None:
    settings = replace(settings, deploy_dir=str(tmp_path))
    (tmp_path / layout.NGINX).mkdir()
    (tmp_path / layout.RECORD).write_text("0.2.0\n")
    relay.freeze(str(tmp_path))
    relay.leave(str(tmp_path), "root@new", "192.0.2.2")
    path = str(tmp_path / "lock")
    for task in ("up", "htpasswd anna", "moves"):
        with (
            pytest.raises(StepError, match="moved to root@new") as error,
            lock.exclusive(far(), settings, task, path=path),
        ):
            pass
        assert "move --back" in str(error.value)
    for task in ("move", "move --done", "down"):
        with lock.exclusive(far(), settings, task, path=path):
            pass
    assert json.loads((tmp_path / layout.MOVED).read_text().split("\n", 1)[1])["address"] == "192.0.2.2"


def test_status_says_where_it_is() -> None:
    rows = [("failed", "cron", "x"), ("ok", "nginx", "running"), ("ok", "disk", "9 GB")]
    gone: Any = {"where": {"moved": {"to": "root@new", "address": "192.0.2.2", "when": 0.0}, "frozen": True}}
    text = "to root@new (192.0.2.2) on 1970-01-01, and hands people over: ./fab -H … move --done ends that"
    assert status._elsewhere(gone, rows) == [("warn", "moved", text), rows[1], rows[2]]
    assert status._elsewhere({"where": {"moved": None, "frozen": True}}, rows)[1:] == rows  # type: ignore[typeddict-item]
    assert status._elsewhere({"where": {"moved": None, "frozen": False}}, rows) == rows  # type: ignore[typeddict-item]
