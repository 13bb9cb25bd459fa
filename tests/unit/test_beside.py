"""Which container serves, and how the requests are led to it: the files, without Docker."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

import pytest

from fabfile import layout
from fabfile.layout import PROJECT, Service
from fabfile.settings import Settings
from fabfile.stack import capacity, templates
from fabfile.stack.onhost import beside, held, retire
from fabfile.stack.onhost.beside import Found

A, B = "a" * 12, "b" * 12


def container(id: str, *, number: int = 1, runs: bool = True, name: str = "") -> Found:
    service = Service.REGISTRY
    return {
        "id": id, "service": service, "name": name or f"{PROJECT}-{service}-{number}",
        "image": "sha256:1", "named": "x:1", "hash": "h", "running": runs, "number": number,
    }  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, settings: Settings) -> Path:
    """DEPLOY_DIR, with what `up` looks at."""
    tree = templates.tree(settings, capacity.derived({"memory": 2 << 30, "cores": 2}))
    (tmp_path / layout.COMPOSE_FILE).write_bytes(tree[layout.COMPOSE_FILE].content)
    for place in beside.SOCKETS.values():
        (tmp_path / place).mkdir(parents=True)
    return tmp_path


def listen(root: Path, name: str) -> None:
    """A socket of that name, without anybody behind it."""
    here = Path.cwd()
    # Its path has 107 characters at most.
    os.chdir(root / layout.REGISTRY_SOCKETS)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"{name}.sock")
    finally:
        os.chdir(here)


def test_the_images_of_compose_yml_are_those_of_the_settings(root: Path, settings: Settings) -> None:
    names = settings.stack_images
    assert held.named(root) == {**names, Service.AUTH: names[Service.REGISTRY]}
    assert held.wanted(root) == {name: held.named(root)[name] for name in Service.SERVING}


def test_what_is_held_counts_until_another_image_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "identities", lambda names: dict.fromkeys(names, "sha256:new"))
    monkeypatch.setattr(held, "keep", held.kept)
    held.hold(root, {Service.REGISTRY: "sha256:0123456789abcdef", Service.NGINX: "sha256:new"})
    assert held.held(root) == {Service.REGISTRY: f"{PROJECT}/registry:0123456789ab"}
    assert held.wanted(root)[Service.REGISTRY] == f"{PROJECT}/registry:0123456789ab"
    held.outdated(root)
    assert held.held(root)
    file = root / layout.COMPOSE_FILE
    file.write_text(file.read_text().replace(f"image: {held.named(root)[Service.REGISTRY]}\n", "image: registry:9\n"))
    held.outdated(root)
    assert held.held(root) == {}
    assert held.wanted(root)[Service.REGISTRY] == "registry:9"


def test_a_damaged_record_holds_nothing(root: Path) -> None:
    for text in ("", "[]", "{}", '{"services": 1, "x-instead": 2}'):
        (root / layout.HELD).write_text(text)
        assert held.held(root) == {}


def test_where_the_link_leads_serves(root: Path) -> None:
    found = [container(A), container(B, number=2)]
    # Before there is one: the first that runs.
    assert beside.serving(root, found)[Service.REGISTRY]["id"] == A
    assert beside.serving(root, [container(A, runs=False), found[1]])[Service.REGISTRY]["id"] == B
    beside.lead(root, found[1])
    assert (root / layout.REGISTRY_SOCKETS / "registry.sock").readlink() == Path(f"{B}.sock")
    assert beside.serving(root, found)[Service.REGISTRY]["id"] == B
    beside.lead(root, found[0])
    assert beside.serving(root, found)[Service.REGISTRY]["id"] == A
    # Never one that served.
    old = container(B, number=2, name=f"{PROJECT}-registry-old-{B}")
    beside.lead(root, old)
    assert beside.serving(root, [found[0], old])[Service.REGISTRY]["id"] == A


def test_a_link_that_leads_to_nobody_is_noticed(root: Path) -> None:
    listen(root, A)
    assert beside.astray(root, [A]) == [Service.REGISTRY]
    beside.lead(root, container(B))
    assert beside.astray(root, [A]) == [Service.REGISTRY]
    beside.lead(root, container(A))
    assert beside.astray(root, [A]) == []
    # One of an earlier version listens on the name itself.
    assert beside.astray(root, [B]) == []


def test_sockets_of_containers_that_are_gone_are_removed(root: Path) -> None:
    for name in (A, B, "registry"):
        listen(root, name)
    (root / layout.REGISTRY_SOCKETS / "strange.sock").mkdir()
    beside._sweep(root, {A})
    left = sorted(path.name for path in (root / layout.REGISTRY_SOCKETS).iterdir())
    assert left == [f"{A}.sock", "registry.sock", "strange.sock"]


def test_who_lets_it_end_holds_no_lock_of_ours(tmp_path: Path) -> None:
    lock, told = tmp_path / "lock", tmp_path / "told"
    with lock.open("w") as ours:
        fcntl.flock(ours, fcntl.LOCK_EX)

        def action() -> None:
            told.with_suffix(".new").write_text(f"{os.getsid(0)} {len([*Path('/proc/self/fd').iterdir()])}")
            told.with_suffix(".new").rename(told)
            time.sleep(3)

        retire.apart(action)
    end = time.monotonic() + 20
    while not told.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    session, handles = map(int, told.read_text().split())
    assert session != os.getsid(0)
    # Three, and that of the directory.
    assert handles == 4
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
