"""Copies of a store, by the real rsync through the door, and back; whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile import layout
from fabfile.copies import bringing, checked, place, rsync, taking
from fabfile.copies.onhost import beside, putback, stage
from fabfile.errors import StepError, UsageError
from fabfile.machine.host import Host
from fabfile.machine.onhost.atomic import RefusedError, locked
from fabfile.settings import Settings
from fabfile.store.onhost import handles, trash

from .far import Marked, deployed, far
from .stores import Store, sha

pytestmark = pytest.mark.skipif(not shutil.which("rsync"), reason="there is no rsync")


class Server:
    """A DEPLOY_DIR on this machine, and how it is reached."""

    def __init__(self, root: Path, settings: Settings, host: Host) -> None:
        self.root, self.host = root, host
        root.mkdir()
        self.store = deployed(root)
        self.settings = replace(settings, deploy_dir=str(root))

    def backup(self, copies: Path, keep: int = 7) -> taking.Taken:
        return taking.take(self.host, self.settings, copies, keep)

    def bring(self, path: Path, *only: str, whole: bool = False) -> bringing.Brought:
        return bringing.bring(self.host, self.settings, path, only, whole=whole)


@pytest.fixture
def server(tmp_path: Path, settings: Settings) -> Server:
    return Server(tmp_path / "one", settings, far())


@pytest.fixture
def other(tmp_path: Path, settings: Settings) -> Server:
    """An empty one."""
    found = Server(tmp_path / "two", settings, far())
    for name in (layout.AUTH, layout.CERTIFICATES):
        shutil.rmtree(found.root / name)
    (found.root / layout.HTTP_SECRET).write_text("made by sync")
    return found


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each copy a second later than the one before."""
    ticks = iter(range(1, 1000))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + next(ticks))


def images(store: Store) -> dict[str, str]:
    """REPOSITORY:TAG -> digest."""
    root = store.top / "repositories"
    return {
        str(link.relative_to(root)).replace("/_manifests/tags/", ":").removesuffix("/current/link"): link.read_text()
        for link in root.rglob("current/link")
    }


def test_all_comes_back_that_an_image_needs(server: Server, other: Server, tmp_path: Path) -> None:
    child = server.store.image("team/app", [b"one", b"two"])
    server.store.index("team/app", [{"digest": child}], "1", "latest")
    server.store.image("app", [b"one"], "1")
    server.store.blob(b"nobody's", "app")
    server.store.upload("app", "u")
    done = server.backup(tmp_path / "copies")
    assert done.snapshot["tags"] == 3
    assert checked.incomplete(done.path) == []
    names = {str(path.relative_to(done.path)) for path in done.path.rglob("*")}
    assert not [name for name in names if "_uploads" in name or sha(b"nobody's").partition(":")[2] in name]
    assert {path.lstat().st_mode & 0o077 for path in done.path.rglob("*") if not path.is_symlink()} == {0}
    assert not (server.root / layout.DATA / layout.COPY / layout.COPY_OUT).exists()

    brought = other.bring(done.path, whole=True)
    assert (brought.tags, brought.absent, brought.bad, brought.kept) == (3, [], [], [])
    assert images(other.store) == images(server.store)
    assert (other.root / layout.ACCOUNTS).read_text() == "demo:hash\n"
    assert (other.root / layout.HTTP_SECRET).read_text() == "secret"
    assert (other.root / layout.CERTIFICATES / "live/a/cert.pem").read_text() == "a certificate"
    link = server.store.part("app", "_manifests/tags/1") / "current/link"
    assert (other.store.part("app", "_manifests/tags/1") / "current/link").stat().st_mtime == link.stat().st_mtime
    again = other.bring(done.path, whole=True)
    assert (again.tags, again.blobs) == (0, 0)


def test_what_has_not_changed_is_the_same_file_and_is_not_sent(server: Server, tmp_path: Path) -> None:
    server.store.image("app", [os.urandom(2_000_000)], "1")
    first = server.backup(tmp_path / "copies")
    server.store.image("app", [b"new"], "1")
    second = server.backup(tmp_path / "copies")
    assert first.sent > 2_000_000
    assert second.sent < 100_000
    assert second.snapshot["new_bytes"] < 1000
    data = max(checked.blobs(second.path), key=lambda each: each[2])[1]
    assert data.stat().st_nlink == 2
    assert images(Store(second.path / layout.DATA)) == images(server.store) != images(Store(first.path / layout.DATA))


def test_a_tag_that_moved_within_a_second_is_not_taken_for_the_old_one(server: Server, tmp_path: Path) -> None:
    one, two = (server.store.image("app", [each], "1") for each in (b"one", b"two"))
    link = server.store.part("app", "_manifests/tags/1") / "current/link"
    for digest, when in ((one, 1_700_000_000_100_000_000), (two, 1_700_000_000_900_000_000)):
        link.write_text(digest)
        os.utime(link, ns=(when, when))
        done = server.backup(tmp_path / "copies")
        assert images(Store(done.path / layout.DATA)) == {"app:1": digest}


def test_only_the_newest_stay(server: Server, tmp_path: Path) -> None:
    names = [server.backup(tmp_path / "copies", keep=2).snapshot["name"] for _ in range(4)]
    assert [each["name"] for each in place.snapshots(tmp_path / "copies")] == names[2:]
    assert not list((tmp_path / "copies").glob("*.gone"))


def test_a_blob_that_has_rotted_is_named_and_the_one_before_has_it(server: Server, tmp_path: Path) -> None:
    server.store.image("app", [b"kept"], "1", "2")
    server.store.image("old", [b"in both"], "1")
    first = server.backup(tmp_path / "copies")
    server.store.image("app", [b"rotten"], "1")
    for content in (b"rotten", b"in both"):
        server.store.blob_path(sha(content)).write_bytes(content[:-1] + b"?")
    done = server.backup(tmp_path / "copies")
    assert done.snapshot["damaged"] == {sha(b"rotten"): ["app:1"]}
    assert done.mended == [sha(b"in both")]
    assert checked.incomplete(done.path) == [f"app:1 lacks {sha(b'rotten')}"]
    assert checked.check(done.path, every=True).damaged == {}
    # It brings back what has rotted on the server; what nobody has is said.
    brought = server.bring(done.path, "app", "old:1")
    assert brought.absent == [sha(b"rotten")]
    assert server.store.blob_path(sha(b"in both")).read_bytes() == b"in both"
    # In the older one it is not, either.
    assert sha(b"rotten") not in {digest for digest, _, _ in checked.blobs(first.path)}


def test_a_copy_that_rots_is_found_and_mended_by_the_next(server: Server, tmp_path: Path) -> None:
    server.store.image("app", [b"a layer"], "1")
    done = server.backup(tmp_path / "copies")
    rotten = done.path / layout.STORE / f"blobs/sha256/{sha(b'a layer')[7:9]}/{sha(b'a layer')[7:]}/data"
    was = rotten.stat()
    rotten.write_bytes(b"a lazer")
    os.utime(rotten, ns=(was.st_mtime_ns, was.st_mtime_ns))
    seen, problems = taking.verify(*place.chosen(str(tmp_path / "copies")))
    assert seen.damaged == {sha(b"a layer"): ["app:1"]}
    assert problems == [f"app:1 lacks {sha(b'a layer')}"]
    again = server.backup(tmp_path / "copies")
    assert checked.check(again.path, every=True).damaged == {}
    assert checked.incomplete(again.path) == []


class Cut(Marked):
    cut = 1_500_000


def test_a_cut_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    for _ in range(4):
        server.store.image("app", [os.urandom(1_000_000)], "1")
    server.host = far(Cut)
    with pytest.raises(StepError, match="rsync") as error:
        server.backup(tmp_path / "copies")
    assert "goes on where this one stopped" in str(error.value)
    assert place.snapshots(tmp_path / "copies") == []
    server.host = far()
    done = server.backup(tmp_path / "copies")
    assert done.sent < 3_000_000
    assert checked.check(done.path, every=True).damaged == {}
    assert not list(done.path.rglob(checked.PARTIAL))
    assert not list((tmp_path / "copies").glob("*.part"))


@pytest.mark.parametrize("what", ["push", "move", "delete", "index"])
def test_whatever_happens_meanwhile_each_tag_is_complete(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """At each look that the copy has at the store, one after the other, somebody pushes, moves a tag, or deletes."""
    real = handles.stat_of
    moment, moments = 0, 1
    while moment < moments:
        server = Server(tmp_path / f"{moment}", settings, far())
        server.store.image("app", [b"old", b"both"], "1")
        doomed = server.store.image("app", [b"doomed"], "2")
        looks = 0

        def happen(store: Store, doomed: str) -> None:
            if what == "push":
                store.image("app", [b"new", b"both"], "3")
                store.image("new/app", [b"other"], "1")
            elif what == "move":
                store.image("app", [b"new"], "1")
            elif what == "index":
                store.index("app", [{"digest": store.image("app", [b"child"])}], "4")
            else:
                shutil.rmtree(store.part("app", "_manifests/tags/2"))
                (store.part("app", "_manifests/revisions", doomed)).unlink()

        def watched(handle: int, name: str, server: Server = server, doomed: str = doomed, at: int = moment) -> Any:
            nonlocal looks
            looks += 1
            if looks == at + 1:
                happen(server.store, doomed)
            return real(handle, name)

        monkeypatch.setattr(handles, "stat_of", watched)
        staged = stage.stage(str(server.root))
        monkeypatch.setattr(handles, "stat_of", real)
        out = server.root / layout.DATA / layout.COPY / layout.COPY_OUT
        assert checked.incomplete(out) == [], moment
        assert checked.same_references(out, staged["references"])
        assert "app:1" in images(Store(out / layout.DATA))
        assert staged["missing"] == {}
        moments = max(moments, looks)
        moment += 1
    assert moments > 20


def test_killed_anywhere_a_restore_converges(
    server: Server, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each rename and each link: what is there is whole, and the next run brings the rest."""
    server.store.index("app", [{"digest": server.store.image("app", [b"one"])}], "1")
    server.store.image("app", [b"two"], "2")
    done = server.backup(tmp_path / "copies")
    moment, over = 0, False
    while not over:
        other = Server(tmp_path / f"at{moment}", settings, far())
        left = [moment]
        # Where it dies, in this process.
        chosen = bringing.chosen(done.path)
        with monkeypatch.context() as patch, contextlib.suppress(KilledError):
            for name in ("rename", "link"):
                patch.setattr(os, name, _dying(getattr(os, name), left))
            arrived(other, done.path, chosen)
            over = True
        if other.store.top.is_dir():
            assert checked.incomplete(other.root) == [], moment
        arrived(other, done.path, chosen)
        assert images(other.store) == images(server.store)
        assert checked.incomplete(other.root) == []
        moment += 1
    assert moment > 10


class KilledError(BaseException):
    """As by `kill -9`."""


def _dying(real: Any, left: list[int]) -> Any:
    def dying(*args: Any, **kwargs: Any) -> Any:
        if left[0] == 0:
            raise KilledError
        left[0] -= 1
        return real(*args, **kwargs)

    return dying


def arrived(server: Server, path: Path, chosen: bringing.Chosen) -> None:
    """As `bringing.bring`, but for rsync."""
    lacking = putback.lacking(str(server.root), chosen.digests, read=False)
    for name in (f"{layout.STORE}/{trash.blob(digest)}/data" for digest in lacking):
        target = server.root / layout.DATA / layout.COPY / layout.COPY_IN / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path / name, target)
    putback.put(str(server.root), chosen.links, lacking, whole=False)


@pytest.mark.parametrize("where", ["blob", "link", "certificate"])
def test_a_link_in_the_copy_that_leads_out_is_refused(
    server: Server, other: Server, tmp_path: Path, where: str
) -> None:
    digest = server.store.image("app", [b"one"], "1")
    done = server.backup(tmp_path / "copies")
    bad = {
        "blob": Store(done.path / layout.DATA).blob_path(sha(b"one")),
        "link": Store(done.path / layout.DATA).part("app", "_manifests/revisions", digest),
        "certificate": done.path / layout.CERTIFICATES / "live/a/cert.pem",
    }[where]
    bad.unlink()
    bad.symlink_to("/etc/passwd")
    with pytest.raises(StepError, match="is no file, and no copy has that"):
        other.bring(done.path, whole=True)
    assert images(other.store) == {}
    assert not (other.root / layout.ACCOUNTS).exists()


def test_on_the_server_too(other: Server) -> None:
    """What came could be anybody's: a name that leads out, a link, another digest."""
    come = other.root / layout.DATA / layout.COPY / layout.COPY_IN
    putback.lacking(str(other.root), [], read=False)
    (come / layout.CERTIFICATES).mkdir(parents=True)
    (come / layout.CERTIFICATES / "x").symlink_to("../../../../etc/passwd")
    with pytest.raises(RefusedError, match="leads out"):
        putback.put(str(other.root), [], [], whole=True)
    shutil.rmtree(come)
    digest = other.store.blob(b"there")
    links = [(f"repositories/../../../../{name}/_layers/x/link", digest, 0.0) for name in ("a", "b")]
    assert putback.put(str(other.root), links, [], whole=False)["tags"] == 0
    assert not (other.root / "a").exists()
    wrong = Store(come / layout.DATA).blob_path(sha(b"right"))
    wrong.parent.mkdir(parents=True)
    wrong.write_bytes(b"wrong")
    put = putback.put(str(other.root), [("repositories/app/_layers/x/link", sha(b"right"), 0.0)], [sha(b"right")],
                      whole=False)  # fmt: skip
    assert put["bad"] == [sha(b"right")]
    assert not other.store.blob_path(sha(b"right")).exists()
    assert not other.store.part("app", "_layers/x/link").exists()


def test_one_tag_comes_alone_and_nothing_is_replaced(server: Server, other: Server, tmp_path: Path) -> None:
    server.store.image("app", [b"one"], "1", "2")
    server.store.image("app", [b"two"], "3")
    server.store.image("app/sub", [b"three"], "1")
    done = server.backup(tmp_path / "copies")
    newer = other.store.image("app", [b"newer"], "2")
    assert other.bring(done.path, "app:1").tags == 1
    assert images(other.store).keys() == {"app:1", "app:2"}
    brought = other.bring(done.path, "app")
    assert brought.tags == 1
    assert brought.kept == [f"app:2 is {newer}"]
    assert images(other.store).keys() == {"app:1", "app:2", "app:3"}
    with pytest.raises(UsageError, match="that is not in"):
        other.bring(done.path, "app:9")


def test_what_must_not_be_restored(server: Server, other: Server, tmp_path: Path) -> None:
    server.store.image("app", [b"one"], "1")
    done = server.backup(tmp_path / "copies")
    there = server.host.call(putback.there, str(server.root))
    with pytest.raises(StepError, match="the server is not empty: it has 1 repository; nothing was changed"):
        bringing.require(there, done.snapshot, server.settings)
    bringing.require({**there, "begun": done.snapshot["name"]}, done.snapshot, server.settings)
    with pytest.raises(StepError, match=r"the copy is of registry\.example\.org"):
        bringing.require(there, done.snapshot, replace(other.settings, registry_domain="else.example.org"))
    text = json.loads((done.path / layout.SNAPSHOT).read_text())
    (done.path / layout.SNAPSHOT).write_text(json.dumps({**text, "version": "999.0"}))
    with pytest.raises(StepError, match=r"version 999\.0 of this tool made it"):
        place.chosen(str(tmp_path / "copies"))
    assert place.chosen(str(tmp_path / "copies"), forced=True)[0] == done.path


def test_another_registrys_copies_are_left_alone(server: Server, tmp_path: Path) -> None:
    server.backup(tmp_path / "copies")
    server.settings = replace(server.settings, registry_domain="else.example.org")
    with pytest.raises(StepError, match=r"has copies of registry\.example\.org"):
        server.backup(tmp_path / "copies")


def test_without_rsync(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rsync, "OPTIONS", ("--rsync-path=no-such-rsync", *rsync.OPTIONS))
    with pytest.raises(StepError, match="there is no rsync on the server"):
        server.backup(tmp_path / "copies")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StepError, match="this machine has no rsync"):
        rsync.require()


@pytest.mark.parametrize(
    ("path", "target", "good"),
    [
        ("live/a/cert.pem", "../../archive/a/cert1.pem", True),
        ("live/a/cert.pem", "../../../settings.env", False),
        ("cert.pem", "/etc/passwd", False),
        ("a/b", "c/../../../d", False),
        ("a/b", "../c", True),
    ],
)
def test_which_links_stay_below(path: str, target: str, good: bool) -> None:
    assert beside.stays_below(path, target) == good


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    path = tmp_path / "small"
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(path)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("only root may mount")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_here(server: Server, small: Path, tmp_path: Path) -> None:
    server.store.image("app", [os.urandom(1_000_000)], "1")
    server.store.image("app", [os.urandom(2_500_000)], "2")
    with pytest.raises(StepError, match=r"this machine: the disk is full: rsync: .*No space left") as error:
        server.backup(small / "copies")
    assert "goes on where this one stopped" in str(error.value)
    assert place.snapshots(small / "copies") == []
    subprocess.run(["mount", "-o", "remount,size=30m", str(small)], check=True)
    assert server.backup(small / "copies").snapshot["tags"] == 2
    del tmp_path


def test_a_full_disk_there(server: Server, other: Server, small: Path, tmp_path: Path) -> None:
    """On a copy's way out, and on its way in: nothing that serves is touched, and the next run goes on."""
    server.store.image("app", [os.urandom(1_000_000)], "1")
    server.store.image("app", [os.urandom(2_500_000)], "2")
    done = server.backup(tmp_path / "copies")
    shutil.rmtree(other.root / layout.DATA)
    (small / "data").mkdir()
    (other.root / layout.DATA).symlink_to(small / "data")
    with pytest.raises(StepError, match=r"far: the disk is full: rsync: .*No space left"):
        other.bring(done.path)
    assert images(other.store) == {}
    subprocess.run(["mount", "-o", "remount,size=30m", str(small)], check=True)
    assert other.bring(done.path).tags == 2
    subprocess.run(["dd", "if=/dev/zero", f"of={small}/fill"], capture_output=True, check=False)
    with pytest.raises(StepError, match="No space left"):
        other.backup(tmp_path / "others")
    assert not (small / "data" / layout.COPY / layout.COPY_OUT).exists()
    (small / "fill").unlink()
    assert other.backup(tmp_path / "others").snapshot["tags"] == 2


def test_what_a_killed_run_left_is_forgotten(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "COPY_LOCK", str(tmp_path / "lock"))
    server.store.image("app", [b"one"], "1")
    stage.stage(str(server.root))
    out = server.root / layout.DATA / layout.COPY / layout.COPY_OUT
    with locked(tmp_path / "lock"):
        stage.forget(str(server.root))
    assert out.exists()
    stage.forget(str(server.root))
    assert not out.exists()


def test_killed_anywhere_here_a_backup_converges(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.store.image("app", [b"one"], "1")
    copies = tmp_path / "copies"
    server.backup(copies, keep=1)
    moment, over = 0, False
    while not over:
        left = [moment]
        with monkeypatch.context() as patch, contextlib.suppress(KilledError):
            patch.setattr(Path, "rename", _dying(Path.rename, left))
            patch.setattr(Path, "replace", _dying(Path.replace, left))
            server.backup(copies, keep=1)
            over = True
        for each in place.snapshots(copies):
            assert checked.incomplete(copies / each["name"]) == []
            assert checked.same_references(copies / each["name"], each["references"])
        assert place.snapshots(copies)
        moment += 1
    assert moment > 3
    server.backup(copies, keep=1)
    assert len(place.snapshots(copies)) == 1
    assert not [path for path in copies.iterdir() if path.name.endswith((".part", ".gone"))]
