"""What is in a store, and what is wrong with one: read from files as the registry writes them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from fabfile import layout
from fabfile.command import spelled_out
from fabfile.errors import UsageError
from fabfile.store import words
from fabfile.store.onhost import handles, images, manifests, uses, walk
from tests.unit.stores import Store, sha


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "registry/data")


def found(tmp_path: Path, name: str, **options: Any) -> dict[str, Any]:
    (only,) = images.listed(str(tmp_path), name, details=True, **options)["repositories"]
    return dict(only)


def walked(store: Store) -> walk.Store:
    with handles.top(str(store.top)) as top:
        whole = walk.repositories(top)
        walk.blobs(top, whole)
        return whole


def test_nothing_was_ever_pushed(tmp_path: Path) -> None:
    assert images.listed(str(tmp_path)) == {"repositories": [], "odd": [], "quotas": []}
    (tmp_path / layout.STORE).mkdir(parents=True)
    assert images.listed(str(tmp_path)) == {"repositories": [], "odd": [], "quotas": []}


def test_tags_in_natural_order_with_what_they_take_and_free(store: Store, tmp_path: Path) -> None:
    for number in (10, 9, 1):
        store.image("team/app", [b"base", b"layer %d" % number], f"1.{number}")
    shared = store.image("team/app", [b"base", b"twice"], "latest", "stable")
    one = found(tmp_path, "team/app")
    assert [image["tag"] for image in one["images"]] == ["1.1", "1.9", "1.10", "latest", "stable"]
    first, *_, latest, _ = one["images"]
    config = b'{"os": "linux", "architecture": "amd64"}'
    size = os.stat(store.blob_path(first["digest"])).st_size  # noqa: PTH116
    assert first["download"] == size + len(config) + len(b"base") + len(b"layer 1")
    assert first["frees"] == size + len(b"layer 1"), "the rest has another one"
    assert (latest["digest"], latest["frees"]) == (shared, 0), "as long as `stable` is there"
    assert first["platforms"] == ["linux/amd64"]
    assert (one["tags"], one["untagged"]) == (5, 0)


def test_a_repository_counts_what_only_it_has(store: Store, tmp_path: Path) -> None:
    store.image("a", [b"everywhere", b"only a"], "1")
    store.image("a", [b"everywhere", b"old a"])
    store.image("b", [b"everywhere"], "1")
    one, two = images.listed(str(tmp_path))["repositories"]
    assert (one["repository"], one["tags"], one["untagged"]) == ("a", 1, 1)
    assert one["bytes"] - one["frees"] == len(b"everywhere") + len(b'{"os": "linux", "architecture": "amd64"}')
    assert "images" not in one
    assert two["frees"] < two["bytes"]


def test_an_index_has_its_platforms_attestations_and_signatures_under_it(store: Store, tmp_path: Path) -> None:
    child = store.image("app", [b"amd"])
    other = store.image("app", [b"arm, which is longer"])
    attest = store.image("app", [b"attestation"], config={"os": "unknown", "architecture": "unknown"})
    unknown = {"os": "unknown", "architecture": "unknown"}
    about = {"digest": attest, "platform": unknown, "annotations": {manifests.ATTESTS: child}}
    index = store.index(
        "app",
        [
            {"digest": child, "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": other, "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
            about,
        ],
        "1",
    )
    store.image("app", [b"cosign"], index.replace(":", "-") + ".sig")
    store.image("app", [b"referrer"], subject={"digest": index})
    one = found(tmp_path, "app")
    (image,) = one["images"]
    assert image["platforms"] == ["linux/amd64", "linux/arm64/v8"]
    assert (image["attestations"], image["signatures"], one["untagged"], one["tags"]) == (1, 2, 0, 1)
    assert image["frees"] == one["bytes"], "the children and the signatures go with it"


def test_one_that_an_index_contains_frees_nothing_alone(store: Store, tmp_path: Path) -> None:
    child = store.image("app", [b"amd"], "amd64")
    store.index("app", [{"digest": child}], "all")
    alone, both = found(tmp_path, "app")["images"][::-1][::-1]
    assert {alone["tag"]: alone["frees"] > 0, both["tag"]: both["frees"] > 0} == {"all": True, "amd64": False}


def test_search_is_for_names_and_tags(store: Store, tmp_path: Path) -> None:
    store.image("team/app", [b"1"], "1.0", "2.0")
    store.image("team/db", [b"2"], "1.0")

    def search(text: str) -> dict[str, list[str]]:
        rows = images.listed(str(tmp_path), "", text, details=True)["repositories"]
        return {row["repository"]: [image["tag"] for image in row["images"]] for row in rows}

    assert search("db") == {"team/db": ["1.0"]}
    assert search("app:2") == {"team/app": ["2.0"]}
    assert search("nothing") == {}


def test_what_cannot_be_read_is_named_and_the_rest_is_listed(store: Store, tmp_path: Path) -> None:
    store.image("good", [b"1"], "1")
    bad = store.image("bad", [b"2"], "1")
    store.blob_path(bad).write_bytes(b"{}")
    gone = store.image("bad", [b"3"], "2")
    store.blob_path(gone).unlink()
    empty = store.image("bad", [b"4"], "3")
    store.blob_path(empty).write_bytes(b"")
    store.write(store.part("bad", "_manifests/tags/torn/current/link"), b"")
    deep = b'{"config":' + b"[" * 100_000
    nested = store.manifest("bad", deep, "4")
    whole = {row["repository"]: row for row in images.listed(str(tmp_path), details=True)["repositories"]}
    assert whole["good"]["broken"] == []
    assert set(whole["bad"]["broken"]) == {
        f"manifest {bad}: its content has another digest",
        f"manifest {gone}: its content is missing",
        f"manifest {empty}: it is empty",
        f"manifest {nested}: it is no manifest of a form that we know",
        "tag torn: its link cannot be read",
    }
    assert [image["tag"] for image in whole["bad"]["images"]] == ["1", "2", "3", "4", "torn"]


def test_schema_1_is_an_image_too(store: Store, tmp_path: Path) -> None:
    layer = store.blob(b"old", "old")
    store.manifest("old", {"schemaVersion": 1, "fsLayers": [{"blobSum": layer}]}, "1")
    (image,) = found(tmp_path, "old")["images"]
    assert (image["platforms"], found(tmp_path, "old")["broken"]) == ([], [])


@pytest.mark.parametrize(
    "content", [b"[]", b"7", b"null", b"{}", b'{"config": 7}', b'{"layers": [{"digest": "sha256:../../x"}]}', b"\xff"]
)
def test_a_manifest_of_no_known_form_is_refused(content: bytes) -> None:
    with pytest.raises(manifests.UnreadableError):
        manifests.parse(sha(content), content)


def test_no_link_is_followed(store: Store, tmp_path: Path) -> None:
    """A container may make any: of a file of the host nothing is read, and what is odd is named."""
    secret = tmp_path / "secret"
    secret.write_text(sha(b"") + "\n")
    image = store.image("app", [b"1"], "1")
    root = store.top / "repositories"
    (root / "evil").symlink_to(tmp_path)
    (root / "app/_manifests/tags/1/current/link").unlink()
    (root / "app/_manifests/tags/1/current/link").symlink_to(secret)
    (root / "other/_manifests").mkdir(parents=True)
    (root / "other/_manifests/revisions").symlink_to(tmp_path)
    os.mkfifo(root / "app/_manifests/tags/fifo")
    store.blob_path(image).unlink()
    store.blob_path(image).symlink_to(secret)
    answer = images.listed(str(tmp_path), details=True)
    assert sha(b"") not in str(answer)
    assert any(text.startswith("repositories: evil") for text in answer["odd"])
    assert any("other/_manifests/revisions" in text for text in answer["odd"])
    assert any("tags/fifo" in text for text in answer["odd"])
    (app,) = (row for row in answer["repositories"] if row["repository"] == "app")
    assert "tag 1: its link cannot be read" in app["broken"]


def test_the_walk_knows_times_uploads_and_what_was_deleted(store: Store) -> None:
    digest = store.image("a/b", [b"1"], "1")
    store.upload("a/b/c", "uuid", b"12345")
    store.part("a/b", "_manifests/revisions", digest).unlink()
    whole = walked(store)
    one = whole.repositories["a/b"]
    assert (set(one.revisions), set(one.unlinked)) == (set(), {digest})
    assert whole.repositories["a/b/c"].uploads["uuid"][1] == 5 + len(b"2026-01-01T00:00:00Z")
    assert time.time() - one.layers[sha(b"1")] < 60
    assert whole.blobs[sha(b"1")][1] == 1


def test_last_use_is_that_of_the_log(store: Store, tmp_path: Path) -> None:
    digest = store.image("app", [b"1"], "1")
    log = tmp_path / layout.USES
    log.mkdir(parents=True)
    (tmp_path / layout.USES_LOG).write_text(
        f"1790000000.5\tanna\tHEAD\tapp\t1\t{digest}\t0\tdocker\n1780000000.5\tanna\tGET\tapp\t1\t{digest}\t9\tx\nhalf\t"
    )
    assert found(tmp_path, "app")["used"] == 1790000000.5
    assert uses.fold(str(tmp_path), {digest}, time.time()) == 1
    (tmp_path / layout.USES_LOG).write_text("")
    assert found(tmp_path, "app")["images"][0]["used"] == 1790000000.5


def test_an_old_use_of_a_layer_is_forgotten_and_a_manifest_s_is_not(tmp_path: Path) -> None:
    log = tmp_path / layout.USES
    log.mkdir(parents=True)
    manifest, layer = sha(b"m"), sha(b"l")
    (tmp_path / layout.USES_LOG).write_text(
        "".join(f"1000.0\t-\tGET\tapp\t1\t{each}\t0\tx\n" for each in (manifest, layer))
    )
    for night in range(5):
        uses.fold(str(tmp_path), {manifest}, 1790000000.0 + night * 86400)
        (tmp_path / layout.USES_LOG).write_text(f"{1790000000 + night * 86400}\t-\tGET\tapp\t1\t{sha(b'n')}\t0\tx\n")
    assert set(uses.by_digest(uses.last(str(tmp_path), 1.8e9))) == {manifest, sha(b"n")}
    assert len(list(log.glob("uses-*.log"))) == uses.KEPT_LOGS[layout.USES_LOG]


def test_texts_for_people() -> None:
    assert [words.size(n) for n in (0, 999, 1000, 52_428_800, 123_456_789, 999_960_000)] == [
        "0 B", "999 B", "1.0 kB", "52.4 MB", "123 MB", "1.0 GB",
    ]  # fmt: skip
    assert [words.ago(time.time() - s) for s in (5, 90, 7300, 900_000)] == ["now", "2 min", "2 h", "10 d"]
    assert words.ago(0) == "-"
    assert [words.seconds(text, "grace") for text in ("30d", "12h", "15min", "90s")] == [2592000, 43200, 900, 90]
    with pytest.raises(UsageError, match="--grace 3: expected a number"):
        words.seconds("3", "grace")


def test_images_takes_a_name_without_its_flag() -> None:
    tasks = {"images", "status"}
    assert spelled_out(["-H", "x", "images", "team/app", "--json"], tasks)[3:] == ["--repository", "team/app", "--json"]
    assert spelled_out(["images", "status"], tasks) == ["images", "status"]
    assert spelled_out(["images", "--json"], tasks) == ["images", "--json"]
    assert spelled_out(["images"], tasks) == ["images"]
