"""What `images --delete` takes with it, and what `images --undo` brings back."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from fabfile.machine.onhost.atomic import RefusedError
from fabfile.store.onhost import images, removal, retention, trash
from fabfile.store.onhost import tags as tags_
from tests.unit.stores import Store, sha
from tests.unit.test_collect import DAY, Server


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(removal, "PAUSE", 0.0)
    return Server(tmp_path)


def state(server: Server) -> dict[str, bytes]:
    """Every link of the store, and every blob."""
    top = server.store.top
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def tags(server: Server, name: str) -> list[str]:
    rows = images.listed(str(server.root), name, details=True)["repositories"]
    return [image["tag"] for row in rows for image in row["images"]]


def removed(server: Server, name: str, reference: str, *, whole: bool = False) -> removal.Removed:
    found = removal.look(str(server.root), name, reference, whole=whole)
    return removal.remove(str(server.root), name, reference, whole=whole, digest=found["digest"])


def test_one_tag_alone_goes_and_the_image_stays(server: Server) -> None:
    """Version 2 cannot do that: its API takes a digest with all its tags."""
    server.store.image("app", [b"1"], "1.0", "latest")
    before = state(server)
    found = removal.look(str(server.root), "app", "1.0", whole=False)
    assert (found["tags"], found["shared"], found["manifests"], found["frees"]) == (["1.0"], ["latest"], [], 0)
    assert state(server) == before
    removed(server, "app", "1.0")
    assert tags(server, "app") == ["latest"]
    assert removal.undo(str(server.root))["restored"] == ["app:1.0"]
    assert state(server) == before


def test_the_last_tag_takes_the_image_with_all_that_follows_it(server: Server) -> None:
    child = server.store.image("app", [b"amd"])
    index = server.store.index("app", [{"digest": child}], "1.0")
    server.store.image("app", [b"cosign"], index.replace(":", "-") + ".sig")
    referrer = server.store.image("app", [b"referrer"], subject={"digest": child})
    kept = server.store.image("app", [b"other"], "2.0")
    before = state(server)
    done = removed(server, "app", "1.0")
    assert done["tags"] == ["1.0", index.replace(":", "-") + ".sig"]
    assert {child, index, referrer} < set(done["manifests"])
    assert kept not in done["manifests"]
    assert tags(server, "app") == ["2.0"]
    assert set(removal.undo(str(server.root))["restored"]) >= {"app:1.0", f"app@{index}", f"app@{child}"}
    assert state(server) == before


def test_what_an_index_contains_stays(server: Server) -> None:
    child = server.store.image("app", [b"amd"], "amd64")
    server.store.index("app", [{"digest": child}], "all")
    assert removed(server, "app", "amd64")["manifests"] == []
    assert tags(server, "app") == ["all"]
    with pytest.raises(RefusedError, match="is a part of"):
        removed(server, "app", child)


def test_a_child_that_another_index_has_stays(server: Server) -> None:
    child = server.store.image("app", [b"amd"])
    server.store.index("app", [{"digest": child}], "1")
    server.store.index("app", [{"digest": child}, {"digest": server.store.image("app", [b"arm"])}], "2")
    assert child not in removed(server, "app", "1")["manifests"]
    assert server.store.part("app", "_manifests/revisions", child).exists()


def test_a_digest_goes_with_all_its_tags(server: Server) -> None:
    digest = server.store.image("app", [b"1"], "1.0", "latest")
    assert removed(server, "app", digest)["tags"] == ["1.0", "latest"]
    assert tags(server, "app") == []
    assert removal.undo(str(server.root))["incomplete"] == []
    assert removed(server, "app", "1.0", whole=True)["tags"] == ["1.0", "latest"]


def test_a_push_in_between_wins(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """H9: the API takes the tag that somebody pushed a moment ago, with a 201."""
    server.store.image("app", [b"1"], "1.0")
    newer: list[str] = []
    take = trash.Bin.take

    def pushed_first(self: Any, run: str, path: str, now: float) -> bool:
        if not newer:
            newer.append(server.store.image("app", [b"2"], "1.0"))
        return bool(take(self, run, path, now))

    monkeypatch.setattr(trash.Bin, "take", pushed_first)
    assert removed(server, "app", "1.0")["newer"] == ["1.0"]
    (row,) = images.listed(str(server.root), "app")["repositories"]
    assert row["images"][0]["digest"] == newer[0]


def test_the_same_image_pushed_again_meanwhile_stays(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client was told 201 for its manifest, and writes its tag a moment later."""
    digest = server.store.image("app", [b"1"], "1.0")
    take = trash.Bin.take
    done: list[str] = []

    def pushed_last(self: Any, run: str, path: str, now: float) -> bool:
        answer = bool(take(self, run, path, now))
        if path.endswith("/link") and not done:
            done.append(path)
            server.store.tag("app", "again", digest)
        return answer

    monkeypatch.setattr(trash.Bin, "take", pushed_last)
    removed(server, "app", "1.0")
    assert tags(server, "app") == ["again"]
    assert server.store.part("app", "_manifests/revisions", digest).exists(), "settle brought it back"


def test_a_tag_that_is_there_again_is_not_undone(server: Server) -> None:
    server.store.image("app", [b"1"], "1.0")
    removed(server, "app", "1.0")
    second = server.store.image("app", [b"2"], "1.0")
    assert removal.undo(str(server.root))["newer"] == ["app:1.0"]
    (row,) = images.listed(str(server.root), "app")["repositories"]
    assert row["images"][0]["digest"] == second


def test_undo_brings_back_what_gc_took_since(server: Server) -> None:
    server.store.image("app", [b"layer"], "1.0")
    before = state(server)
    server.now = os.stat(server.root).st_mtime + 3 * DAY  # noqa: PTH116
    removed(server, "app", "1.0")
    assert server.gc(hold=10 * DAY)["counts"]["blob"] == 3
    assert not server.has(b"layer")
    assert removal.undo(str(server.root))["incomplete"] == []
    assert {name: content for name, content in state(server).items() if "_uploads" not in name} == before
    assert server.store.part("app", "_layers", sha(b"layer")).exists()


def test_undo_says_what_is_gone_for_good(server: Server) -> None:
    server.store.image("app", [b"layer"], "1.0")
    server.now = os.stat(server.root).st_mtime + 3 * DAY  # noqa: PTH116
    removed(server, "app", "1.0")
    server.gc(hold=10 * DAY)
    for run in (server.root / "registry/data/.trash").glob("*-gc"):
        Store(run).data.joinpath("blobs").rename(server.root / "purged")
    assert removal.undo(str(server.root))["incomplete"]


def test_there_is_nothing_to_undo(server: Server) -> None:
    server.store.image("app", [b"1"], "1.0")
    with pytest.raises(RefusedError, match="nothing to undo"):
        removal.undo(str(server.root))
    with pytest.raises(RefusedError, match=r"there is no app:2\.0"):
        removed(server, "app", "2.0")
    with pytest.raises(RefusedError, match=r"there is no other:1\.0"):
        removed(server, "other", "1.0")


def test_a_tag_that_is_written_in_place_while_it_is_removed_stays(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 2 opens the link, and empties and writes it a moment later; then it says 201."""
    server.store.image("app", [b"one"], "t", "u")
    new = server.store.image("app", [b"two"], "u")
    link = server.store.part("app", "_manifests/tags/t/current/link")
    take = tags_.take
    with link.open("r+") as opened:

        def written_after(*arguments: Any) -> bool:
            done = take(*arguments)
            opened.truncate(0)
            opened.write(new)
            opened.flush()
            return done

        monkeypatch.setattr(tags_, "take", written_after)
        removed(server, "app", "t")
    assert link.read_text() == new


def test_undo_is_of_what_somebody_removed_and_not_of_what_gc_took(server: Server) -> None:
    server.store.image("app", [b"one"], "1")
    server.store.image("app", [b"two"], "2")
    server.store.image("app", [b"no tag"])
    removed(server, "app", "1")
    assert server.gc(untagged=DAY, hold=1000 * DAY)["counts"]["manifest"] == 1
    assert "app:1" in removal.undo(str(server.root))["restored"]
    assert removal.undo(str(server.root))["restored"] == [f"app@{server.store.image('elsewhere', [b'no tag'])}"]


@pytest.mark.parametrize("untagged", ["never", "1d"])
def test_what_was_brought_back_stays_in_the_next_night(server: Server, untagged: str) -> None:
    """And takes nobody's place among the newest."""
    for number in range(5):
        server.store.now = 1_700_000_000 + number * DAY
        server.store.image("app", [b"%d" % number], f"v{number}")
    (server.root / "retention.ini").write_text(f"[*]\nkeep = 3 newest\nuntagged = {untagged}\n")
    assert retention.retention(str(server.root), dry=False)["removed"] == 2
    server.gc(hold=1000 * DAY)
    back = removal.undo(str(server.root))
    assert ({"app:v0", "app:v1"} <= {*back["restored"]}, back["incomplete"]) == (True, [])
    again = retention.retention(str(server.root), dry=False)
    assert (again["removed"], ("app", "v0", True, "brought back 0 d ago") in again["tags"]) == (0, True)
    assert tags(server, "app") == ["v0", "v1", "v2", "v3", "v4"]


def test_what_was_brought_back_takes_nobodys_place_among_the_newest(server: Server) -> None:
    for number in range(4):
        server.store.now = 1_700_000_000 + number * DAY
        server.store.image("app", [b"%d" % number], f"v{number}")
    removed(server, "app", "v3")
    removal.undo(str(server.root))
    (server.root / "retention.ini").write_text("[*]\nkeep = 2 newest\n")
    assert retention.retention(str(server.root), dry=False)["removed"] == 1
    assert tags(server, "app") == ["v1", "v2", "v3"]


def test_an_image_without_a_tag_that_was_brought_back_stays_in_the_next_night(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: server.now)
    server.store.image("app", [b"no tag"])
    server.store.image("app", [b"kept"], "1")
    assert server.gc(untagged=30 * DAY)["counts"]["manifest"] == 1
    removal.undo(str(server.root))
    server.now += 2 * DAY
    assert server.gc(untagged=30 * DAY)["counts"] == {}
