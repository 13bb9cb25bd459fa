"""What holds of `gc`, of a delete and of its undo on a disk, on a bucket."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from fabfile import layout
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.store.onhost import removal, walk, where
from fabfile.store.onhost.answers import Upload
from fabfile.store.onhost.known import Known

from . import test_collect
from .bucket_model import DirectoryBucket
from .stores import sha
from .test_collect import DAY, Server

# Those that say the same of both. On a disk alone: what a rename and a link of the file system do.
ALIKE = (
    test_collect.test_what_nothing_needs_goes_and_is_purged_a_day_later,
    test_collect.test_what_is_fresh_or_in_use_stays,
    test_collect.test_images_without_a_tag_stay_until_it_is_said,
    test_collect.test_platforms_attestations_and_signatures_go_and_stay_with_their_index,
    test_collect.test_schema_1_keeps_its_layers_and_its_signatures,
    test_collect.test_nothing_is_taken_by_a_clock_that_is_wrong,
    test_collect.test_a_layer_by_another_digest_comes_back,
    test_collect.test_an_index_of_layers_gets_its_links_back,
    test_collect.test_a_tag_brings_a_manifest_among_the_layers_back,
    test_collect.test_a_signature_that_is_pushed_between_the_look_and_the_move_stays,
    test_collect.test_the_signature_of_an_image_that_is_pushed_again_meanwhile_comes_back,
    test_collect.test_where_a_manifest_cannot_be_read_all_of_its_repository_comes_back,
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server(tmp_path)
    (tmp_path / "registry").mkdir(exist_ok=True)
    monkeypatch.setattr(where, "bucket", lambda _: bucket_of(made))
    return made


def bucket_of(server: Server) -> DirectoryBucket:
    found = DirectoryBucket(server.root / "registry/data")
    found.now = lambda: server.now
    return found


def known(server: Server) -> None:
    with Known(server.root, bucket_of(server)) as tree:
        tree.refresh()


def tags(server: Server) -> dict[str, tuple[str, float]]:
    """As `images` reads them."""
    known(server)
    return Server_walk(server).repositories["app"].tags


def Server_walk(server: Server) -> walk.Store:
    from .test_known import Server as Other

    return Other.walked(server.root / layout.KNOWN)


@pytest.mark.parametrize("same", ALIKE, ids=lambda test: test.__name__.removeprefix("test_"))
def test_as_on_a_disk(server: Server, same: object) -> None:
    same(server)  # type: ignore[operator]


def test_a_pull_of_what_was_just_deleted_ends_well(server: Server) -> None:
    image = server.store.image("app", [b"being pulled"], "1")
    known(server)
    server.store.part("app", "_manifests/revisions", image).unlink()
    shutil.rmtree(server.store.part("app", "_manifests/tags/1"))
    server.now = time.time()
    assert server.gc()["counts"] == {}
    server.now += 2 * DAY
    assert server.gc()["counts"] == {"layer": 2, "deleted": 1, "repository": 2, "blob": 3}


def test_a_tag_that_comes_back_is_as_old_as_it_was(server: Server) -> None:
    """A copy in the store is new; what the rules say of a tag must not change by that, though all here is lost."""
    server.store.now = 1_700_000_000.0
    server.store.image("app", [b"old"], "1")
    server.store.now += 1000
    server.store.image("app", [b"newer"], "2")
    before = tags(server)
    digest = before["1"][0]
    removal.remove(str(server.root), "app", "1", whole=False, digest=digest)
    assert "1" not in tags(server)
    assert removal.undo(str(server.root))["restored"] == [f"app@{digest}", "app:1"]
    assert tags(server) == before
    shutil.rmtree(server.root / layout.KNOWN)
    assert tags(server) == before
    assert Server_walk(server).repositories["app"].restored.keys() == {"1"}
    # Pushed again it is new.
    server.store.now = float(int(server.now)) + 10
    server.store.tag("app", "1", digest)
    assert tags(server)["1"] == (digest, server.store.now)


def test_the_trash_is_found_again_where_all_here_is_lost(server: Server) -> None:
    server.store.image("app", [b"kept"], "1")
    image = server.store.image("app", [b"gone"], "2")
    removal.remove(str(server.root), "app", "2", whole=False, digest=image)
    shutil.rmtree(server.root / layout.KNOWN)
    server.now = time.time() + 60
    assert server.gc()["restored"] == 0
    shutil.rmtree(server.root / layout.KNOWN)
    assert "app:2" in removal.undo(str(server.root))["restored"]
    assert tags(server)["2"][0] == image


def push_at(server: Server, monkeypatch: pytest.MonkeyPatch, method: str, digest: str) -> None:
    """Push that image under the tag before the request that moves it, and write it into the log as nginx does."""

    class Pushed(DirectoryBucket):
        done = False

        def ask(self, asked: str, key: str = "", *args: object, **more: object) -> object:  # type: ignore[override]
            if asked == method and key.endswith("/tags/1/current/link") and not Pushed.done:
                Pushed.done = True
                server.store.now = time.time()
                server.store.tag("app", "1", digest)
                with (server.root / layout.USES_LOG).open("a") as log:
                    log.write(f"{time.time()}\tme\tPUT\tapp\t1\t{digest}\t0\tx\n")
            return super().ask(asked, key, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(where, "bucket", lambda _: Pushed(server.root / "registry/data"))


def test_a_tag_that_is_pushed_in_the_moment_of_its_removal_is_there(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the delete nobody can stand: the log of uses has what was acknowledged."""
    server.store.now = 1_700_000_000.0
    old = server.store.image("app", [b"old"], "1", "other")
    new = server.store.image("app", [b"new"], "2")
    link = "docker/registry/v2/repositories/app/_manifests/tags/1/current/link"
    push_at(server, monkeypatch, "DELETE", new)
    removal.remove(str(server.root), "app", "1", whole=False, digest=old)
    assert (server.root / "registry/data" / link).read_text() == new
    assert tags(server)["1"][0] == new


def test_what_was_pushed_again_just_now_is_not_removed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    old = server.store.image("app", [b"old"], "1", "other")
    new = server.store.image("app", [b"new"], "2")
    link = "docker/registry/v2/repositories/app/_manifests/tags/1/current/link"
    push_at(server, monkeypatch, "PUT", new)
    found = removal.remove(str(server.root), "app", "1", whole=False, digest=old)
    assert found["newer"] == ["1"]
    assert (server.root / "registry/data" / link).read_text() == new


def test_what_the_store_refuses_stops_the_run_and_loses_nothing(server: Server) -> None:
    server.store.blob(b"stale", "app")

    def refuse(request: str) -> None:
        if request.startswith("DELETE "):
            raise RefusedError("no", reason="AccessDenied")

    refusing = bucket_of(server)
    refusing.step = refuse
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, "bucket", lambda _: refusing)
        with pytest.raises(RefusedError, match="no"):
            server.gc()
    assert server.has(b"stale")
    assert server.gc()["counts"]["blob"] == 1
    assert not server.store.blob_path(sha(b"stale")).exists()


def test_with_several_servers_nothing_is_taken(server: Server) -> None:
    """What was asked of the others just now is in their logs alone."""
    digest = server.store.image("app", [b"kept"], "1")
    server.store.blob(b"stale", "app")
    (server.root / layout.LIVE).mkdir(parents=True)
    (server.root / layout.LIVE / layout.FLEET_CONF).touch()
    with pytest.raises(RefusedError, match="several servers"):
        server.gc()
    with pytest.raises(RefusedError, match="several servers"):
        removal.remove(str(server.root), "app", "1", whole=False, digest=digest)
    assert server.has(b"stale")


def test_uploads_by_parts_that_broke_off_are_ended_when_they_are_old(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.store.upload("app", "slow", b"half of it")
    place = "docker/registry/v2/repositories/app/_uploads"
    young, old = (f"{place}/slow/data", server.now - 2 * DAY), (f"{place}/gone/data", server.now - 9 * DAY)
    open_ = [Upload(key, key, begun) for key, begun in (young, old, ("elsewhere", 0.0))]
    aborted: list[str] = []
    monkeypatch.setattr(
        DirectoryBucket, "uploads", lambda _, prefix="": [each for each in open_ if each.key.startswith(prefix)]
    )
    monkeypatch.setattr(DirectoryBucket, "abort", lambda _, key, id_: aborted.append(key))
    assert server.gc()["counts"] == {}, "somebody may be at it"
    assert aborted == [old[0]]
    open_[:] = []
    assert server.gc()["counts"] == {"upload": 1}
