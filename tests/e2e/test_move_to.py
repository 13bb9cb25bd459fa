"""The images move to a real S3 store and back while somebody pushes; what is there is cleaned up and copied."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.store import Store

from .history import Client
from .test_store import played
from .world import DEPLOY_DIR, PASSWORD, USER, World

pytestmark = pytest.mark.long
LOGIN = f"{USER}:{PASSWORD}"


class Pushed:
    """What a client pushed, one image after the other, and what was refused meanwhile."""

    def __init__(self) -> None:
        self.acknowledged: list[tuple[str, str]] = []
        self.refused = 0


@contextmanager
def pushing(world: World) -> Iterator[Pushed]:
    found, over = Pushed(), threading.Event()

    def work() -> None:
        client = Client(world, LOGIN)
        number = 0
        while not over.is_set():
            number += 1
            name, tag = f"busy/app{number % 3}", f"1.{number}"
            try:
                status, _ = client.image(name, tag, [b"of all", b"%d" % number])
            except (OSError, AssertionError):
                status = 0
            if status == 201:
                found.acknowledged.append((name, tag))
            else:
                found.refused += 1
                client = Client(world, LOGIN)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def listed(world: World) -> dict[str, dict[str, Any]]:
    """`images`: repository:tag -> what it says."""
    found = json.loads(world.fab("images", "--json").stdout)
    return {f"{row['repository']}:{each['tag']}": each for row in found["repositories"] for each in row["images"]}


def test_there_and_back_while_somebody_pushes(world: World, store: Store, tmp_path: Path) -> None:
    store.empty()
    world.clean()
    world.bootstrap(**store.settings(STORAGE="disk"))
    client = Client(world, LOGIN)
    for number in range(5):
        assert client.image("old/app", f"{number}", [b"old layer", b"%d" % number, b"x" * (20 << 20)])[0] == 201
    before = listed(world)
    pushed: list[tuple[str, str]] = []
    for to in ("s3", "disk", "s3"):
        with pushing(world) as found:
            done = world.fab("move-to", to)
        print(done.stdout, len(found.acknowledged), "pushed,", found.refused, "refused")
        pushed += found.acknowledged
        assert found.acknowledged
        assert f"STORAGE={to}" in world.settings.read_text()
        for name, tag in pushed:
            assert client.pull(name, tag) == "", (to, name, tag)
        after = listed(world)
        assert {image: (each["digest"], each["pushed"]) for image, each in after.items() if image in before} == {
            image: (each["digest"], each["pushed"]) for image, each in before.items()
        }
        assert {f"{name}:{tag}" for name, tag in pushed} <= after.keys()
        print(world.fab("move-to", to, "--done", "--yes").stdout)
        assert client.pull("old/app", "1") == ""
    assert world.server(f"find {DEPLOY_DIR}/registry/data -name data -type f") == ""
    # Cleaning up there.
    frees = json.loads(world.fab("images", "--json").stdout)
    assert frees["odd"] == []
    world.fab("images", "--delete", "old/app:1", "--yes")
    assert client.pull("old/app", "1") != ""
    world.fab("images", "--undo")
    assert client.pull("old/app", "1") == ""
    assert listed(world)["old/app:1"]["pushed"] == before["old/app:1"]["pushed"]
    print(world.fab("gc", "--yes").stdout)
    # A copy, and what is new in the next one.
    for _ in range(2):
        print(world.fab("backup", "--to", str(tmp_path)).stdout)
        assert client.image("old/app", "new", [b"a new layer"])[0] == 201
    print(world.fab("backup", "--to", str(tmp_path), "--verify").stdout)
    print(world.fab("doctor", ok=None).stdout)
    secret = store.secret
    assert secret not in world.server(
        f"docker inspect $(docker ps -aq); cat {DEPLOY_DIR}/log/*.log; ps axww", check=False
    )


def test_nothing_is_lost_by_gc_in_a_bucket(world: World, store: Store) -> None:
    """As on a disk: 8 clients, gc in a loop, both killed now and then."""
    if "STORAGE=s3" not in (world.settings.read_text() if world.settings.exists() else ""):
        store.empty()
        world.clean()
        world.bootstrap(**store.settings())
    played(world, 120, seed=7)
