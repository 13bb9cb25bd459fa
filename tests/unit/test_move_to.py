"""The images between a disk and a bucket: the same on both sides, whatever is killed, and no push is lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fabfile import layout
from fabfile.copies.onhost import across, ashore, putback, remote, stage, switching
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.stack.onhost import relay
from fabfile.store.onhost import barrier, where

from .bucket_model import DirectoryBucket
from .stores import Store, sha
from .test_known import Server as Walked

THEN = 1_700_000_000.0
PLACE: dict[str, Any] = {}


class KilledError(Exception):
    """As by `kill -9`."""


class Server:
    """A server with images on its disk; the bucket's objects are beside."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data, self.far = root / "registry/data", root / "bucket"
        self.store = Store(self.data, THEN)
        (root / layout.FULL).mkdir(parents=True)
        (root / layout.LOG).mkdir()
        self.bucket = DirectoryBucket(self.far)
        self.s3 = False

    def place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(across, "bucket_of", lambda *_: self.bucket)
        monkeypatch.setattr(where, "bucket", lambda _: self.bucket if self.s3 else None)
        monkeypatch.setattr(barrier, "passed", lambda _: "")

    def fill(self) -> None:
        self.store.image("team/app", [b"one", b"two"], "1", config={"os": "linux"})
        self.store.now = THEN + 1000
        self.store.image("team/app", [b"one", b"three"], "latest", "2")
        self.store.image("other", [b"one"], "x")
        alias = self.store.alias(b"by another digest", "other")
        self.store.manifest("other", {"layers": [{"digest": alias, "size": 17}]}, "y")
        # Brought back by `images --undo`.
        tag = self.store.part("other", "_manifests/tags/x")
        os.utime(tag, (THEN + 5000, THEN + 5000))

    def up(self) -> across.Passed:
        return across.to_bucket(str(self.root), PLACE, "", compare=True)

    def seen(self, data: Path) -> Any:
        """What `images` knows of it, and what is in each layer."""
        found = Walked.walked(data)
        tags = {name: (each.tags, each.restored, each.aliases) for name, each in found.repositories.items()}
        return tags, {digest: size for digest, (_, size) in found.blobs.items()}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server(tmp_path)
    made.place(monkeypatch)
    return made


def test_all_of_it_comes_and_goes_back_with_its_times(server: Server) -> None:
    server.fill()
    first = server.up()
    assert (first["tags"], first["different"], first["rotten"], first["dropped"]) == (5, [], {}, [])
    again = server.up()
    assert (again["blobs"], again["links"], again["gone"]) == (0, 0, 0)
    before = server.seen(server.data)
    server.s3 = True
    known = ashore.to_disk(str(server.root), compare=True)
    assert (known["blobs"], known["links"], known["different"]) == (0, 0, [])
    assert server.seen(server.root / layout.KNOWN) == before
    shutil.rmtree(server.data)
    down = ashore.to_disk(str(server.root), compare=True)
    assert (down["tags"], down["different"], down["rotten"]) == (5, [], {})
    assert server.seen(server.data) == before
    assert ashore.to_disk(str(server.root))["blobs"] == 0


def test_what_is_gone_here_goes_there_and_the_other_way(server: Server) -> None:
    server.fill()
    server.up()
    shutil.rmtree(server.store.part("team/app", "_manifests/tags/2"))
    assert server.up()["gone"] == 2
    server.s3 = True
    shutil.rmtree(server.far / "docker/registry/v2/repositories/other")
    done = ashore.to_disk(str(server.root), compare=True)
    assert done["gone"] > 0
    assert not server.store.part("other", "").exists()
    assert done["different"] == []


def test_a_rotten_layer_does_not_come_and_stops_the_switch(server: Server) -> None:
    server.fill()
    path = server.store.blob_path(sha(b"three"))
    path.write_bytes(b"tHree")
    done = server.up()
    assert list(done["rotten"]) == [sha(b"three")]
    assert not (server.far / path.relative_to(server.data)).exists()
    with pytest.raises(RefusedError, match="not the same on both sides"):
        switching.begin(str(server.root), "s3", PLACE, "", 0.0)
    assert not relay.frozen(str(server.root))
    assert switching.where(str(server.root)) == {"storage": "disk", "switching": ""}
    # The other way.
    path.write_bytes(b"three")
    server.up()
    (server.far / path.relative_to(server.data)).write_bytes(b"tHree")
    path.unlink()
    server.s3 = True
    done = ashore.to_disk(str(server.root), compare=True)
    assert list(done["rotten"]) == [sha(b"three")]
    assert not path.exists()


def test_a_bucket_of_another_registry_is_left_alone(server: Server) -> None:
    server.fill()
    across.begin(PLACE, "", "registry.example.com")
    server.up()
    across.begin(PLACE, "", "registry.example.com")
    with pytest.raises(RefusedError, match="another registry is on its way"):
        across.begin(PLACE, "", "other.example.com")
    across.end(PLACE, "")
    with pytest.raises(RefusedError, match="has images of a registry already"):
        across.begin(PLACE, "", "registry.example.com")


def test_while_it_changes_its_place_cron_lets_nobody_push(server: Server) -> None:
    server.fill()
    root = str(server.root)
    switching.begin(root, "s3", PLACE, "", 0.0)
    frozen = server.root / layout.FULL / f"{layout.FULL_MOVING}.json"
    os.utime(frozen, (1, 1))
    assert not relay.let_in_again(server.root)
    assert switching.where(root)["switching"] == "s3"
    server.s3 = True
    assert switching.end(root, 0.0) == 0
    assert not relay.frozen(root)
    assert switching.where(root)["switching"] == ""


def test_a_push_that_ended_late_is_not_lost(server: Server) -> None:
    """It was let in before nobody may push, and acknowledged after the last pass."""
    server.fill()
    switching.begin(str(server.root), "s3", PLACE, "", 0.0)
    server.store.now = None
    image = server.store.image("late", [b"one", b"of a slow line"], "1")
    server.s3 = True
    assert switching.end(str(server.root), 0.0) == 1
    shutil.rmtree(server.data)
    ashore.to_disk(str(server.root))
    assert server.seen(server.data)[0]["late"][0]["1"][0] == image
    assert server.store.blob_path(sha(b"of a slow line")).read_bytes() == b"of a slow line"


@pytest.mark.parametrize("down", [False, True], ids=["to the bucket", "to the disk"])
def test_killed_at_every_request_it_converges(tmp_path: Path, down: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is in the bucket at that moment is whole: each link leads to what is there."""
    count, kill = 0, 0

    def step(_: str) -> None:
        nonlocal count
        count += 1
        if count == kill:
            raise KilledError

    for kill in range(1, 200):
        server = Server(tmp_path / str(kill))
        server.place(monkeypatch)
        server.fill()
        if down:
            server.up()
            before = server.seen(server.data)
            shutil.rmtree(server.data)
            server.s3 = True
        else:
            before = server.seen(server.data)
        count = 0
        server.bucket.step = step
        if down:
            # What it asks changes nothing, but for the times: a file of each step counts.
            monkeypatch.setattr(remote, "fetch", _counted(step))
        try:
            done = ashore.to_disk(str(server.root)) if down else server.up()
        except KilledError:
            server.bucket.step = lambda _: None
            monkeypatch.undo()
            server.place(monkeypatch)
            done = ashore.to_disk(str(server.root), compare=True) if down else server.up()
        else:
            assert kill > 5
            return
        assert done["different"] == []
        server.s3 = True
        if not down:
            shutil.rmtree(server.data)
            ashore.to_disk(str(server.root))
        assert server.seen(server.data) == before
    raise AssertionError("it does not end")


def _counted(step: Any) -> Any:
    fetch = remote.fetch

    def counted(*args: Any) -> None:
        step("fetch")
        fetch(*args)

    return counted


def test_a_backup_fetches_what_is_new_alone_and_nothing_without_content_is_taken_for_it(server: Server) -> None:
    server.fill()
    server.up()
    server.s3 = True
    root = str(server.root)
    with pytest.raises(RefusedError, match="need not be copied"):
        stage.stage(root)
    first = stage.stage(root, have={})
    out = server.data / ".copy/out" / layout.STORE
    blobs = _blobs(out)
    assert (first["left"], first["missing"], first["tags"], len(blobs)) == (0, {}, 5, first["blobs"])
    assert all(sha(path.read_bytes()) == digest for digest, path in blobs.items())
    have = {digest: path.stat().st_mtime_ns for digest, path in blobs.items()}
    Store(server.far, THEN + 9000).image("late", [b"new"], "1")
    server.bucket.asked.clear()
    second = stage.stage(root, have=have)
    assert second["tags"] == 6
    got = {each.split("/")[-2] for each in server.bucket.asked if each.startswith("GET ") and each.endswith("/data")}
    assert got == {digest[7:] for digest in _blobs(out).keys() - have.keys()}
    # rsync takes it by size and time for the one that is there, so none may have another time.
    assert {digest: path.stat().st_mtime_ns for digest, path in _blobs(out).items() if digest in have} == have
    stage.drop(root)


def _blobs(out: Path) -> dict[str, Path]:
    return {f"sha256:{each.parent.name}": each for each in (out / "blobs").rglob("data")}


def test_a_copy_that_has_no_room_comes_in_parts(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.store.image("app", [b"x" * 5000, b"y" * 5000, b"z" * 5000], "1")
    server.up()
    server.s3 = True
    real = os.statvfs(server.root)
    free = SimpleNamespace(f_bavail=layout.LEAST_FREE + 8000, f_frsize=1, f_blocks=real.f_blocks, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _: free)
    have: dict[str, int] = {}
    rounds = 0
    while True:
        rounds += 1
        found = stage.stage(str(server.root), have=have)
        came = _blobs(server.data / ".copy/out" / layout.STORE)
        have |= {digest: path.stat().st_mtime_ns for digest, path in came.items()}
        if not found["left"]:
            break
    assert rounds == 3
    free.f_bavail = layout.LEAST_FREE + 10
    with pytest.raises(RefusedError, match="no room for one layer"):
        stage.stage(str(server.root), have={})


def test_a_copy_is_not_brought_back_into_a_bucket(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where, "place", lambda _: PLACE or True)
    with pytest.raises(RefusedError, match="to a disk alone"):
        putback.lacking(str(server.root), [], read=False)
    with pytest.raises(RefusedError, match="to a disk alone"):
        putback.put(str(server.root), [], [], whole=False)
