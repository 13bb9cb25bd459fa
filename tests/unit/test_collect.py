"""What `gc` takes, and what it leaves; what comes back."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fabfile import layout
from fabfile.machine.onhost import store as disk
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.stack.onhost import uses_log
from fabfile.store.onhost import care, collect, images, manifests, removal, trash, uses, walk
from fabfile.store.onhost.collect import Run
from fabfile.store.onhost.tail import Tail
from tests.unit.stores import Store, sha

DAY = 86400.0


class Server:
    """A store in which all is old, and what `gc` does there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root / "registry/data")
        self.now = time.time() + 100 * DAY
        (root / layout.USES).mkdir(parents=True)
        # Uses are written down since before all that is old.
        (root / layout.USES_BEGUN).touch()
        os.utime(root / layout.USES_BEGUN, (1_600_000_000, 1_600_000_000))

    def fresh(self) -> Store:
        self.store.now = self.now
        return self.store

    def used(self, name: str, digest: str, when: float) -> None:
        with (self.root / layout.USES_LOG).open("a") as log:
            log.write(f"{when}\t-\tGET\t{name}\t-\t{digest}\t0\tx\n")

    def gc(self, untagged: float = -1.0, hold: float = DAY) -> collect.Collected:
        with trash.opened(str(self.root)) as bin_:
            assert bin_ is not None
            run = Run(str(self.root), bin_, DAY, clock=lambda: self.now)
            log = self.root / layout.USES_LOG
            with walk.Manifests(bin_.top) as known, Tail(log) as tail:
                run.settle()
                run.purge(hold)
                run.plan(untagged, known)
                run.take(known, tail)
                run.settle()
            return run.answer()

    def has(self, content: bytes) -> bool:
        return self.store.blob_path(sha(content)).exists()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def test_nothing_was_ever_pushed(tmp_path: Path) -> None:
    assert collect.collect(str(tmp_path))["run"] == ""


def test_what_nothing_needs_goes_and_is_purged_a_day_later(server: Server) -> None:
    server.store.image("app", [b"kept"], "1")
    server.store.blob(b"nobody's", "app")
    server.store.blob(b"of no repository")
    done = server.gc()
    assert done["bytes"] == {"app": len(b"nobody's"), "-": len(b"of no repository")}
    assert done["counts"] == {"layer": 1, "blob": 2}
    assert done["waiting"] == sum(done["bytes"].values())
    assert (server.has(b"kept"), server.has(b"nobody's")) == (True, False)
    again = server.gc()
    assert (again["run"], again["purged"], again["restored"]) == ("", 0, 0)
    server.now += 2 * DAY
    assert server.gc()["purged"] == done["waiting"]
    assert server.gc()["waiting"] == 0


def test_what_is_fresh_or_in_use_stays(server: Server) -> None:
    for name in (b"linked", b"used", b"written"):
        server.store.blob(name)
    server.store.now = server.now - 60
    server.store.write(server.store.part("app", "_layers", sha(b"linked")), sha(b"linked").encode())
    server.store.touch(server.store.blob_path(sha(b"written")))
    server.used("elsewhere", sha(b"used"), server.now - 60)
    assert server.gc()["counts"] == {}
    assert all(server.has(name) for name in (b"linked", b"used", b"written"))


def test_images_without_a_tag_stay_until_it_is_said(server: Server) -> None:
    for number in range(3):
        server.store.image("app", [b"push %d" % number], "latest")
    done = server.gc()
    assert (done["run"], done["untagged"]) == ("", 2)
    assert done["untagged_bytes"] > 2 * len(b"push 0")
    done = server.gc(untagged=30 * DAY)
    assert done["counts"] == {"manifest": 2, "layer": 2, "blob": 4}
    assert sum(done["bytes"].values()) > 2 * len(b"push 0")
    assert [server.has(b"push %d" % number) for number in range(3)] == [False, False, True]


def test_an_image_without_a_tag_that_is_used_stays(server: Server) -> None:
    old = server.store.image("app", [b"pinned"])
    server.used("app", old, server.now - 3 * DAY)
    assert server.gc(untagged=30 * DAY)["counts"] == {}
    assert server.gc(untagged=2 * DAY)["counts"]["manifest"] == 1


def test_platforms_attestations_and_signatures_go_and_stay_with_their_index(server: Server) -> None:
    def push(tag: str, word: bytes) -> str:
        child = server.store.image("app", [word + b" amd"])
        about = server.store.image("app", [word + b" attestation"], config={"os": "unknown", "architecture": "unknown"})
        listed: list[dict[str, Any]] = [{"digest": child}, {"digest": about, "annotations": {manifests.ATTESTS: child}}]
        index = server.store.index("app", listed, tag)
        server.store.image("app", [word + b" signature"], index.replace(":", "-") + ".sig")
        server.store.image("app", [word + b" referrer"], subject={"digest": index})
        server.store.image("app", [word + b" of the child"], subject={"digest": child})
        return index

    push("latest", b"old")
    push("latest", b"new")
    done = server.gc(untagged=DAY)
    assert done["counts"] == {"tag": 1, "manifest": 6, "layer": 5, "blob": 11}
    for word, there in ((b"new", True), (b"old", False)):
        for part in (b" amd", b" attestation", b" signature", b" referrer", b" of the child"):
            assert server.has(word + part) == there, (word, part)
    (row,) = images.listed(str(server.root), details=True)["repositories"]
    assert (row["untagged"], row["tags"], row["broken"]) == (0, 1, [])


@pytest.mark.parametrize("damage", ["missing", "empty", "other", "tag"])
def test_a_repository_in_which_something_cannot_be_read_is_left_as_it_is(server: Server, damage: str) -> None:
    bad = server.store.image("bad", [b"who knows"], "1")
    server.store.blob(b"stale in bad", "bad")
    server.store.image("bad", [b"old"], "2")
    server.store.image("bad", [b"newer"], "2")
    server.store.image("good", [b"kept"], "1")
    server.store.blob(b"stale in good", "good")
    path = server.store.blob_path(bad)
    if damage == "missing":
        path.unlink()
    elif damage == "tag":
        server.store.write(server.store.part("bad", "_manifests/tags/torn/current/link"), b"")
    else:
        path.write_bytes(b"" if damage == "empty" else b"{}")
    done = server.gc(untagged=DAY)
    assert list(done["left"]) == ["bad"]
    assert (bad if damage != "tag" else "torn") in done["left"]["bad"][0]
    assert done["bytes"] == {"good": len(b"stale in good")}
    assert all(server.has(each) for each in (b"who knows", b"stale in bad", b"old", b"newer", b"kept"))


def test_schema_1_keeps_its_layers_and_its_signatures(server: Server) -> None:
    layer = server.store.blob(b"layer of 2015", "old")
    image = server.store.manifest("old", {"schemaVersion": 1, "fsLayers": [{"blobSum": layer}]}, "1")
    signature = server.store.blob(b"its signature")
    link = server.store.part("old", "_manifests/revisions", image).parent.joinpath("signatures", *signature.split(":"))
    server.store.write(link / "link", signature.encode())
    assert server.gc(untagged=DAY)["counts"] == {}


def test_what_broke_off_or_was_emptied_goes(server: Server) -> None:
    server.store.image("app", [b"kept"], "1")
    server.store.upload("app", "broken-off", b"half of it")
    gone = server.store.image("gone/deep", [b"was here"], "1")
    server.store.part("gone/deep", "_manifests/revisions", gone).unlink()
    tags = server.store.part("gone/deep", "_manifests/tags/1")
    (tags / "current/link").unlink()
    server.store.image("gone", [b"another, whose name is above"], "1")
    first = server.gc()
    assert first["counts"] == {"upload": 1, "layer": 2, "deleted": 1, "tag": 1, "repository": 2, "blob": 2}
    assert first["waiting"] == sum(first["bytes"].values())
    assert first["bytes"]["app"] == len(b"half of it") + len(b"2026-01-01T00:00:00Z")
    assert not server.store.part("gone/deep", "_layers").exists()
    assert server.has(b"another, whose name is above")
    server.fresh().upload("app", "at work")
    assert server.gc()["counts"] == {}


def test_a_pull_of_what_was_just_deleted_ends_well(server: Server) -> None:
    image = server.store.image("app", [b"being pulled"], "1")
    link = server.store.part("app", "_manifests/revisions", image)
    link.unlink()
    server.fresh().touch(link.parent)
    assert server.gc()["counts"] == {}
    server.now += 2 * DAY
    assert server.gc()["counts"]["blob"] == 3


def test_nothing_is_taken_where_not_all_can_be_known(server: Server) -> None:
    server.store.blob(b"stale", "app")
    (server.store.top / "repositories/planted").symlink_to("/")
    with pytest.raises(RefusedError, match="planted is neither"):
        server.gc()
    assert server.has(b"stale")


def test_nothing_is_taken_by_a_clock_that_is_wrong(server: Server) -> None:
    server.store.blob(b"stale", "app")
    server.store.blob(b"future", "app")
    when = server.now + DAY
    os.utime(server.store.blob_path(sha(b"future")), (when, when))
    with pytest.raises(RefusedError, match="written in the future"):
        server.gc()
    assert server.has(b"stale")


def test_a_dry_run_changes_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: server.now)
    server.store.blob(b"stale", "app")
    dry = collect.collect(str(server.root), dry=True)
    assert (dry["bytes"], dry["run"], server.has(b"stale")) == ({"app": 5}, "", True)
    done = collect.collect(str(server.root), now=True)
    assert (done["purged"], done["waiting"], done["delayed"], server.has(b"stale")) == (5, 0, "", False)


def test_what_was_written_into_a_link_while_it_was_moved_comes_back(server: Server) -> None:
    """Version 2 writes in place: a client's new link may end in what was its directory a moment before."""
    server.store.blob(b"layer", "app")
    server.gc()
    (link,) = (server.root / "registry/data/.trash").rglob("_layers/sha256/*/link")
    server.fresh().touch(link)
    assert server.gc()["restored"] == 2, "the link, and the blob"
    assert server.store.part("app", "_layers", sha(b"layer")).exists()


def test_only_one_at_a_time(server: Server) -> None:
    server.store.blob(b"stale", "app")
    with trash.opened(str(server.root)), pytest.raises(RefusedError, match="by another command"):
        server.gc()


def test_the_trash_is_roots_alone(server: Server) -> None:
    server.store.blob(b"stale", "app")
    server.gc()
    assert (server.root / "registry/data/.trash").stat().st_mode & 0o777 == 0o700


def test_it_comes_back_into_what_a_broken_write_left(server: Server) -> None:
    """Version 3 writes a temporary file beside the one that it will be."""
    layer = server.store.blob(b"layer", "app")
    server.gc()
    server.fresh().manifest("app", {"layers": [{"digest": layer, "size": 5}]}, "1")
    server.store.write(server.store.blob_path(layer).with_name("data.123.tmp"), b"la")
    server.store.write(server.store.part("app", "_layers", layer).with_name("link.123.tmp"), b"sha")
    assert server.gc()["restored"] == 2
    assert (server.has(b"layer"), server.store.part("app", "_layers", layer).exists()) == (True, True)


@pytest.mark.parametrize("call", ["rename", "mkdir"])
def test_what_cannot_be_put_back_is_not_purged(server: Server, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full or a dying disk: the run ends, before anything goes for good."""
    layer = server.store.blob(b"layer", "app")
    server.gc()
    server.fresh().manifest("app", {"layers": [{"digest": layer, "size": 5}]}, "1")
    server.store.blob_path(layer).parent.parent.rmdir()
    server.now += 10 * DAY

    def full(name: str, *_: object, dir_fd: int = -1, **__: object) -> None:
        there = call == "mkdir" and name in os.listdir(dir_fd)
        raise OSError(errno.EEXIST if there else errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(RefusedError, match="is needed and cannot be put back: No space left"):
            server.gc()
    assert server.gc()["restored"] >= 1
    assert server.has(b"layer")


def test_a_store_on_two_disks_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.store.blob(b"stale", "app")

    def elsewhere(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", elsewhere)
    with pytest.raises(RefusedError, match="is not all on one disk"):
        server.gc()


def test_where_the_disk_of_the_images_is_away_nothing_is_said_to_be_empty(server: Server) -> None:
    """Neither is the log of uses folded for a store without images."""
    server.store.image("app", [b"1"], "1")
    (server.root / layout.SECRETS).mkdir()
    disk.mark(server.root)
    (server.root / layout.DATA).rename(server.root / "away")
    (server.root / layout.DATA).mkdir()
    root = str(server.root)
    for action in who_reads(root):
        with pytest.raises(RefusedError, match="is not the store that was there before") as refused:
            action()
        assert "findmnt -T" in refused.value.remedies[0]
    (server.root / layout.LOG).mkdir(exist_ok=True)
    assert care.care(root)["problems"] == [disk.problem(server.root)[0]]
    assert [*(server.root / layout.DATA).iterdir()] == []


def test_the_root_of_the_store_may_be_a_link_and_nothing_in_it(server: Server, tmp_path: Path) -> None:
    server.store.image("app", [b"kept"], "1")
    server.store.blob(b"stale", "app")
    target = tmp_path / "disk/images"
    target.parent.mkdir()
    (server.root / layout.DATA).rename(target)
    (server.root / layout.DATA).symlink_to(target)
    done = server.gc()
    assert done["counts"] == {"layer": 1, "blob": 1}
    assert [path.name for path in (target / layout.TRASH).iterdir()] == [done["run"]]
    assert images.listed(str(server.root))["repositories"][0]["repository"] == "app"
    (target / "docker").rename(target / "elsewhere")
    (target / "docker").symlink_to(target / "elsewhere")
    for action in (server.gc, lambda: images.listed(str(server.root))):
        with pytest.raises(RefusedError, match="a link"):
            action()


def who_reads(root: str) -> list[Callable[[], object]]:
    """All that reads a store."""
    return [
        lambda: collect.collect(root),
        lambda: collect.collect(root, dry=True),
        lambda: images.listed(root),
        lambda: removal.look(root, "app", "1", whole=False),
        lambda: removal.undo(root),
        lambda: care.fold(root),
    ]


def stepped(server: Server, step: Callable[[str], None], untagged: float = -1.0) -> collect.Collected:
    """A run that tells each step, so that a test can push in between."""
    with trash.opened(str(server.root)) as bin_:
        assert bin_ is not None
        run = Run(str(server.root), bin_, DAY, step=step, clock=lambda: server.now)
        with walk.Manifests(bin_.top) as known, Tail(server.root / layout.USES_LOG) as tail:
            run.settle()
            run.purge(DAY)
            run.plan(untagged, known)
            run.take(known, tail)
            run.settle()
        return run.answer()


def aliased(server: Server, content: bytes, tag: str) -> str:
    """An image whose layer was pushed by its sha512. Returns that."""
    alias = server.store.alias(content, "app")
    server.store.manifest("app", {"layers": [{"digest": alias, "size": len(content)}]}, tag)
    return alias


def test_a_layer_that_was_pushed_by_another_digest_stays(server: Server) -> None:
    """The client said sha512, so manifests say it, too; the registry has the content by its sha256."""
    alias = aliased(server, b"by sha512", "1")
    for _ in range(3):
        assert server.gc()["counts"] == {}
        server.now += 2 * DAY
    assert server.has(b"by sha512")
    server.store.part("app", "_layers", alias).write_bytes(b"")
    server.store.blob(b"stale", "app")
    assert list(server.gc()["left"]) == ["app"], "who knows what it leads to"
    assert (server.has(b"by sha512"), server.has(b"stale")) == (True, True)


def test_a_layer_by_another_digest_is_in_use_by_each_of_them(server: Server) -> None:
    for content in (b"linked", b"used", b"old"):
        server.store.alias(content, "app")
    server.store.now = server.now - 60
    server.store.alias(b"linked", "app")
    server.store.touch(server.store.blob_path(sha(b"linked")))
    old = server.now - 10 * DAY
    os.utime(server.store.part("app", "_layers", sha(b"linked")), (old, old))
    server.used("app", f"sha512:{hashlib.sha512(b'used').hexdigest()}", server.now - 60)
    assert server.gc()["counts"] == {"layer": 4, "blob": 1}
    assert [server.has(each) for each in (b"linked", b"used", b"old")] == [True, True, False]


def test_a_layer_by_another_digest_comes_back(server: Server) -> None:
    """A client asked for it by its sha512 before it was taken, and pushed the manifest behind that."""
    server.store.image("app", [b"kept"], "kept")
    alias = server.store.alias(b"by sha512", "app")
    assert server.gc()["counts"] == {"layer": 2, "blob": 1}
    server.fresh().manifest("app", {"layers": [{"digest": alias, "size": 9}]}, "1")
    assert server.gc()["restored"] == 3
    assert server.has(b"by sha512")
    assert server.store.part("app", "_layers", alias).exists()


def test_a_link_by_another_digest_brings_its_content_back(server: Server) -> None:
    """A mount, in the moment in which the content is moved."""
    alias = server.store.alias(b"by sha512", "app")
    server.gc()
    server.fresh().write(server.store.part("other", "_layers", alias), sha(b"by sha512").encode())
    assert server.gc()["restored"] == 1
    assert server.has(b"by sha512")


def test_a_question_by_another_digest_spares_the_content(server: Server) -> None:
    (server.root / layout.USES_LOG).touch()
    alias = server.store.alias(b"by sha512", "app")

    def step(what: str) -> None:
        if what == "take layer":
            server.used("app", alias, server.now)

    assert stepped(server, step)["counts"].get("blob", 0) == 0
    assert server.has(b"by sha512")


def test_an_index_of_layers_gets_its_links_back(server: Server) -> None:
    """BuildKit's cache; the client had asked for the layer before it was marked."""
    layer = server.store.blob(b"cached layer", "app")
    done: list[str] = []

    def step(what: str) -> None:
        if what == "blobs" and not done:
            done.append(server.fresh().index("app", [{"digest": layer}], "cache"))

    stepped(server, step)
    assert (server.has(b"cached layer"), server.store.part("app", "_layers", layer).exists()) == (True, True)


def test_a_tag_that_is_its_own_digest_keeps_its_image(server: Server) -> None:
    """So people pin by hand; the form is that of a signature's tag."""
    pinned = server.store.image("app", [b"pinned"])
    tag = pinned.replace(":", "-")
    server.store.tag("app", tag, pinned)
    assert server.gc(untagged=30 * DAY)["counts"] == {}
    (row,) = images.listed(str(server.root), details=True)["repositories"]
    assert (row["tags"], row["untagged"], [each["tag"] for each in row["images"]]) == (1, 0, [tag])


def test_images_that_are_tagged_as_signatures_of_each_other_stay(server: Server) -> None:
    one, two = server.store.image("app", [b"one"]), server.store.image("app", [b"two"])
    server.store.tag("app", one.replace(":", "-") + ".sig", two)
    server.store.tag("app", two.replace(":", "-") + ".att", one)
    assert server.gc(untagged=30 * DAY)["counts"] == {}


def test_a_tag_of_a_manifest_among_the_layers_keeps_it(server: Server) -> None:
    """So version 2.1 of the registry linked manifests, and 2.8 still serves them."""
    layer = server.store.blob(b"layer", "app")
    server.store.tag("app", "1", server.store.blob(b'{"layers": [{"digest": "%s"}]}' % layer.encode(), "app"))
    assert server.gc(untagged=DAY)["counts"] == {}


@pytest.mark.parametrize(
    "manifest",
    [
        '{"config": {"digest": "%s"}, "Layers": [{"digest": "%s"}]}',
        '{"config": {"digest": "%s"}, "layers": [{"digest": "%s"}], "LAYERS": []}',
        '{"config": {"digest": "%s"}, "layers": [{"Digest": "%s"}]}',
        '{"config": {"digest": "%s"}, "layers": [], "\\u017fubject": {"digest": "%s"}}',
    ],
)
def test_keys_that_only_go_reads_leave_the_repository_as_it_is(server: Server, manifest: str) -> None:
    """encoding/json takes a key in whatever case, and so the registry accepted and serves such a manifest."""
    layer, config = server.store.blob(b"layer", "app"), server.store.blob(b"{}", "app")
    server.store.manifest("app", (manifest % (config, layer)).encode(), "1")
    assert list(server.gc()["left"]) == ["app"]
    assert server.has(b"layer")


def test_a_use_in_the_future_counts_as_now_and_stops_nothing(server: Server) -> None:
    """The clock was wrong for a while, and nginx wrote."""
    image = server.store.image("app", [b"a"])
    server.store.blob(b"stale", "app")
    server.used("app", image, server.now + 3650 * DAY)
    assert server.gc(untagged=DAY)["counts"] == {"layer": 1, "blob": 1}
    assert uses.last(str(server.root), server.now) == {("app", image): server.now}
    first = server.now
    for _ in range(4):
        uses.fold(str(server.root), {image}, server.now)
        server.now += DAY
        server.used("app", sha(b"other"), server.now)
    assert int(first) <= uses.last(str(server.root), server.now)["app", image] < server.now - DAY / 2


def test_what_cannot_be_removed_is_not_called_freed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.store.blob(b"stale", "app")
    server.gc()
    server.now += 2 * DAY
    failed = subprocess.CompletedProcess([], 1, "", "rm: cannot remove 'data': Operation not permitted\n")
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", lambda *_, **__: failed)
        done = server.gc()
    assert (done["purged"], done["waiting"]) == (0, 5)
    assert "cannot be removed: rm: cannot remove 'data': Operation not permitted" in done["delayed"]
    assert server.gc()["purged"] == 5


def test_what_was_folded_and_is_lost_dates_the_log_anew(server: Server) -> None:
    begun = server.root / layout.USES_BEGUN
    uses.fold(str(server.root), set(), server.now)
    first = begun.stat().st_mtime
    assert first > server.now - 101 * DAY
    os.utime(begun, (1, 1))
    uses.fold(str(server.root), set(), server.now)
    assert begun.stat().st_mtime == 1
    (server.root / layout.USES / uses.FOLDED).unlink()
    uses.fold(str(server.root), set(), server.now)
    assert begun.stat().st_mtime >= first


def signed(server: Server, tag: str = "") -> tuple[str, str]:
    """An old image with a signature; returns its digest and the signature's tag."""
    image = server.store.image("app", [b"old image"], *([tag] if tag else []))
    signature = image.replace(":", "-") + ".sig"
    server.store.image("app", [b"old signature"], signature)
    return image, signature


def once(when: str, action: Callable[[], Any]) -> Callable[[str], None]:
    """A step that does it before the first one of that name."""
    done: list[str] = []

    def step(what: str) -> None:
        if what == when and not done:
            done.append(what)
            action()

    return step


def test_a_signature_that_is_pushed_between_the_look_and_the_move_stays(server: Server) -> None:
    """The tag says something else when it is in the trash, whatever its time is."""
    _, tag = signed(server)
    pushed: list[str] = []

    def push() -> None:
        pushed.append(server.store.image("app", [b"new signature"], tag))

    stepped(server, once("rename", push), untagged=30 * DAY)
    link = server.store.part("app", f"_manifests/tags/{tag}") / "current/link"
    assert [link.read_text()] == pushed
    assert server.has(b"new signature")


def test_a_tag_that_is_written_in_the_trash_comes_back(server: Server) -> None:
    """Version 2 opens the link before the move, and writes a second later; gc was killed meanwhile."""
    _, tag = signed(server)
    new = server.store.image("app", [b"new signature"], "new")
    link = server.store.part("app", f"_manifests/tags/{tag}") / "current/link"
    with link.open("r+") as opened:
        assert server.gc(untagged=30 * DAY)["counts"]["tag"] == 1
        opened.truncate(0)
        opened.write(new)
    server.store.touch(*(server.root / layout.DATA / layout.TRASH).rglob("current/link"))
    assert server.gc()["restored"] >= 1
    assert link.read_text() == new


def test_the_signature_of_an_image_that_is_pushed_again_meanwhile_comes_back(server: Server) -> None:
    _, tag = signed(server)
    step = once("take manifest", lambda: server.fresh().image("app", [b"old image"], "again"))
    stepped(server, step, untagged=30 * DAY)
    assert (server.store.part("app", f"_manifests/tags/{tag}") / "current/link").exists()
    assert server.has(b"old signature")


@pytest.mark.parametrize("referrer", [False, True])
def test_a_signature_comes_back_with_its_image(server: Server, referrer: bool) -> None:
    """And what is about the signature; each by its tag, or by what it says itself."""
    image, _ = signed(server)
    last = server.store.image("app", [b"old image, signed"], subject={"digest": image}) if referrer else image
    server.store.image("app", [b"signature of the signature"], last.replace(":", "-") + ".att")
    assert server.gc(untagged=30 * DAY)["counts"]["manifest"] == 3 + referrer
    server.fresh().image("app", [b"old image"], "again")
    server.gc()
    assert all(server.has(each) for each in (b"old image", b"old signature", b"signature of the signature"))
    assert server.has(b"old image, signed") == referrer
    assert server.gc(untagged=30 * DAY)["counts"] == {}


def test_nothing_is_purged_where_not_all_can_be_known(server: Server) -> None:
    """A repository that cannot be read may need what is in the trash."""
    layer = server.store.blob(b"layer", "app")
    server.gc()
    server.fresh().manifest("app", {"layers": [{"digest": layer, "size": 5}]}, "1")
    place, away = server.store.part("app", "_manifests"), server.root / "away"
    place.rename(away)
    place.symlink_to(away)
    server.now += 2 * DAY
    with pytest.raises(RefusedError, match="nothing was purged, as not all of the store can be read: app: _manifests"):
        server.gc()
    place.unlink()
    away.rename(place)
    server.gc()
    assert server.has(b"layer")


def test_no_use_is_forgotten_where_not_all_can_be_known(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of a repository that cannot be read this night."""
    monkeypatch.setattr(care, "nginx_container", lambda: "")
    image = server.store.image("app", [b"1"])
    server.used("app", image, 1_000_000_000.0)
    place, away = server.store.part("app", "_manifests"), server.root / "away"
    place.rename(away)
    place.symlink_to(away)
    with pytest.raises(RefusedError, match="the uses log was not folded"):
        care.fold(str(server.root))
    place.unlink()
    away.rename(place)
    for _ in range(5):
        care.fold(str(server.root))
    assert uses.last(str(server.root), server.now) == {("app", image): 1_000_000_000.0}


def test_where_a_manifest_cannot_be_read_all_of_its_repository_comes_back(server: Server) -> None:
    """It was pushed when its layer was in the trash; and the trash of the others is purged all the same."""
    layer = server.store.blob(b"layer", "app")
    server.store.blob(b"stale", "other")
    server.gc()
    image = server.fresh().manifest("app", {"layers": [{"digest": layer, "size": 5}]}, "1")
    path = server.store.blob_path(image)
    content = path.read_bytes()
    path.write_bytes(b"")
    server.now += 2 * DAY
    done = server.gc()
    assert (done["restored"], done["purged"], list(done["left"])) == (2, len(b"stale"), ["app"])
    path.write_bytes(content)
    assert server.gc()["left"] == {}
    assert server.has(b"layer")


@pytest.mark.parametrize("error", [RefusedError("the disk", "look"), OSError(errno.EIO, "Input/output error")])
def test_what_stops_in_the_middle_puts_back_what_is_needed(
    server: Server, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = server.store.blob(b"layer", "app")
    server.store.blob(b"stale", "other")
    take, taken = trash.Bin.take, []

    def broken(self: trash.Bin, run: str, path: str, now: float) -> bool:
        taken.append(path)
        if len(taken) == 3:
            server.fresh().manifest("app", {"layers": [{"digest": layer, "size": 5}]}, "1")
            raise error
        return take(self, run, path, now)

    monkeypatch.setattr(trash.Bin, "take", broken)
    with pytest.raises(RefusedError) as refused:
        stepped(server, lambda _: None)
    assert refused.value.remedies
    assert (server.has(b"layer"), server.store.part("app", "_layers", layer).exists()) == (True, True)


def test_a_dying_disk_is_told_in_a_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is met: not as a stack trace."""
    server.store.image("app", [b"1"], "1")

    def dying(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error", "blobs")

    monkeypatch.setattr(os, "scandir", dying)
    root = str(server.root)
    for action in who_reads(root):
        with pytest.raises(RefusedError, match="not all of the store can be read") as refused:
            action()
        assert refused.value.remedies


def test_the_room_of_an_upload_is_free_although_the_registry_has_it_open(server: Server) -> None:
    """Measured with 3.1: it keeps a file open in which it could not write any more."""
    kept = server.store.blob(b"half of it")
    (server.store.part("app", "_uploads/linked")).mkdir(parents=True)
    (server.store.part("app", "_uploads/linked") / "data").hardlink_to(server.store.blob_path(kept))
    server.store.tag("app", "1", server.store.manifest("app", {"layers": [{"digest": kept, "size": 10}]}))
    place = server.store.upload("app", "broken-off", b"half of it")
    server.now = time.time() + 100 * DAY
    with (place / "data").open("ab") as held:
        assert server.gc()["counts"]["upload"] == 2
        assert os.fstat(held.fileno()).st_size == 10
        server.now += 2 * DAY
        assert server.gc()["purged"]
        assert os.fstat(held.fileno()).st_size == 0
    assert server.store.blob_path(kept).read_bytes() == b"half of it"


def test_the_log_of_uses_does_not_grow_for_ever_where_nothing_folds_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up` puts a large one aside; what an earlier one had is gone, so all counts as used now."""
    directory, begun = server.root / layout.USES, server.root / layout.USES_BEGUN
    begun.unlink()
    assert not uses_log.keep(server.root)
    first = begun.stat().st_mtime
    os.utime(begun, (1, 1))
    monkeypatch.setattr(uses_log, "LARGEST", 10)
    image = server.store.image("app", [b"1"])
    server.used("app", image, 1000.0)
    assert uses_log.keep(server.root)
    assert (begun.stat().st_mtime, uses.last(str(server.root), server.now)) == (1, {("app", image): 1000.0})
    server.used("app", image, 2000.0)
    (old,) = directory.glob("uses-*.log")
    old.rename(directory / "uses-20260101T000000.log")
    assert uses_log.keep(server.root)
    assert (begun.stat().st_mtime >= first, len([*directory.glob("uses*.log")])) == (True, 1)
    assert uses.last(str(server.root), server.now) == {("app", image): 2000.0}


def test_where_a_tag_cannot_be_read_all_of_its_repository_comes_back(server: Server) -> None:
    """Who knows which image of the trash it leads to."""
    image = server.store.image("app", [b"old image"])
    server.store.image("app", [b"kept"], "kept")
    assert server.gc(untagged=DAY)["counts"]["manifest"] == 1
    link = server.store.part("app", "_manifests/tags/again/current/link")
    server.fresh().write(link, b"")
    server.now += 2 * DAY
    done = server.gc(untagged=DAY)
    assert (list(done["left"]), done["purged"], server.has(b"old image")) == (["app"], 0, True)
    link.write_bytes(image.encode())
    assert server.gc()["left"] == {}


def test_a_tag_brings_a_manifest_among_the_layers_back(server: Server) -> None:
    """Tagged in the moment in which that is moved, as version 2.1 of the registry linked it."""
    server.store.image("app", [b"kept"], "kept")
    layer = server.store.blob(b"layer", "app")
    image = server.store.blob(b'{"layers": [{"digest": "%s"}]}' % layer.encode(), "app")
    assert server.gc()["counts"] == {"layer": 2, "blob": 2}
    server.fresh().tag("app", "1", image)
    assert server.gc()["restored"] == 4
    assert all(server.store.part("app", "_layers", each).exists() for each in (layer, image))


def test_a_line_of_the_log_that_is_read_in_two_parts(tmp_path: Path) -> None:
    log = tmp_path / "uses.log"
    log.write_text("before\n")
    digests = [sha(b"one"), sha(b"two")]
    line = "1\tdemo\tHEAD\tapp\t\t%s\t0\tdocker\n"
    with Tail(log) as tail, log.open("a") as writing:
        for part in (line % digests[0] + (line % digests[1])[:40], (line % digests[1])[40:]):
            writing.write(part)
            writing.flush()
            tail.read()
    assert tail.digests == set(digests)


def test_a_copy_of_it_is_no_use_of_a_blob(tmp_path: Path) -> None:
    """A hard link, as `backup` makes one, changes the content's ctime and nothing else."""
    server = Server(tmp_path)
    server.store.blob(b"nobody's")
    made = time.time()
    while time.time() < made + 0.3:
        time.sleep(0.05)
    os.link(server.store.blob_path(sha(b"nobody's")), tmp_path / "copy")
    (tmp_path / "copy").unlink()
    with trash.opened(str(tmp_path)) as bin_:
        assert bin_ is not None
        run = Run(str(tmp_path), bin_, 0.2)
        with walk.Manifests(bin_.top) as known, Tail(tmp_path / layout.USES_LOG) as tail:
            run.plan(-1.0, known)
            run.take(known, tail)
        assert run.answer()["counts"] == {"blob": 1}
