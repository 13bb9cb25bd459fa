"""What is known of a bucket: the same that a walk of the registry's own files finds."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from fabfile import layout
from fabfile.store.onhost import handles, images, walk, where
from fabfile.store.onhost.known import Known

from .bucket_model import DirectoryBucket
from .stores import Store, sha

THEN = 1_700_000_000.0


class Server:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root / "registry/data", THEN)
        self.bucket = DirectoryBucket(root / "registry/data")
        self.bucket.page_size = 3

    def known(self) -> walk.Store:
        with Known(self.root, self.bucket) as known:
            known.refresh()
        return self.walked(self.root / layout.KNOWN)

    @staticmethod
    def walked(data: Path) -> walk.Store:
        with handles.top(str(data)) as handle, handles.store(handle) as top:
            found = walk.repositories(top)
            walk.blobs(top, found)
            return found

    def same(self) -> None:
        """What both have of it; the times of directories are other ones."""
        assert _seen(self.known()) == _seen(self.walked(self.root / "registry/data"))


def _seen(store: walk.Store) -> dict[str, Any]:
    assert store.odd == []
    repositories = {
        name: (each.tags, each.revisions, each.layers, each.aliases, each.signatures, each.broken, each.restored)
        for name, each in store.repositories.items()
        if each.tags or each.revisions or each.layers
    }
    return {"repositories": repositories, "blobs": {digest: size for digest, (_, size) in store.blobs.items()}}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server(tmp_path)
    monkeypatch.setattr(where, "bucket", lambda _: made.bucket)
    return made


def fill(store: Store) -> None:
    store.image("team/app", [b"one", b"two"], "1", "latest", config={"architecture": "amd64", "os": "linux"})
    store.image("team/app-extra", [b"one"], "1.2", "1.20")
    store.alias(b"by another digest", "other")


def test_it_is_what_a_walk_of_the_files_finds(server: Server) -> None:
    fill(server.store)
    server.same()
    server.store.now = THEN + 100
    server.store.image("team/app", [b"three"], "latest", "2")
    server.store.image("third", [b"one"], "x")
    server.same()
    (server.store.part("team/app", "_manifests/tags/1") / "current/link").unlink()
    server.same()


def test_links_are_not_fetched_and_nothing_twice(server: Server) -> None:
    fill(server.store)
    server.known()
    got = [each for each in server.bucket.asked if each.startswith("GET ") and each != "GET "]
    # Manifests and their configurations; a layer that has another digest too; and no time was kept.
    assert sum("/blobs/" in each for each in got) == 4
    assert sum("/link" in each for each in got) == 1
    assert got.count("GET .times") == 1
    assert len(got) == 6
    server.bucket.asked.clear()
    server.known()
    assert set(server.bucket.asked) == {"GET "}


def test_a_layer_takes_no_room_and_what_is_read_is_there(server: Server) -> None:
    layer = b"x" * (5 << 20)
    server.store.image("app", [layer], "1", config={"architecture": "arm64", "os": "linux"})
    [row] = images.listed(str(server.root), "app")["repositories"]
    assert [image["platforms"] for image in row["images"]] == [["linux/arm64"]]
    assert row["bytes"] > 5 << 20
    file = server.root / layout.KNOWN / server.store.blob_path(sha(layer)).relative_to(server.root / "registry/data")
    assert (file.stat().st_size, file.stat().st_blocks) == (5 << 20, 0)


@pytest.mark.parametrize("lost", [".index", ".times", "docker", "docker/registry/v2/blobs", ""])
def test_whatever_of_it_is_lost_is_made_again(server: Server, lost: str) -> None:
    fill(server.store)
    server.known()
    top = server.root / layout.KNOWN
    if lost.startswith("docker"):
        # The index says it were there: only a crash of the machine does that, and then it counts as lost too.
        (top / ".index").unlink()
        for path in sorted((top / lost).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    elif lost:
        (top / lost).unlink()
    else:
        (top / "docker/registry/v2/repositories/gone/_layers").mkdir(parents=True)
        (top / ".index").write_text('{"boot":"another","keys":{}}')
    server.same()


def test_what_nobody_asked_for_is_not_looked_at_again(server: Server) -> None:
    fill(server.store)
    log = server.root / layout.USES_LOG
    log.parent.mkdir(parents=True)
    log.write_text("")
    images.listed(str(server.root))
    server.bucket.asked.clear()
    images.listed(str(server.root))
    assert server.bucket.asked == []
    server.store.image("app", [b"new"], "1")
    os.utime(log, (time.time() + 5, time.time() + 5))
    assert "app" in [row["repository"] for row in images.listed(str(server.root))["repositories"]]


def test_what_a_registry_would_not_write_is_passed_over_or_said(server: Server) -> None:
    fill(server.store)
    (server.store.top / "repositories/app/_layers/sha256/..hidden").mkdir(parents=True)
    server.store.write(server.store.top / "repositories/a b/link", b"x")
    found = server.known()
    assert "a b" not in found.repositories
