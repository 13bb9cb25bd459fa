"""What `check` says of a store that is good, and of those that are known to lose something."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from fabfile.store.onhost import trial
from fabfile.store.onhost.answers import Upload
from fabfile.store.onhost.wire import Answer

from .bucket_model import DirectoryBucket


@pytest.mark.parametrize(
    ("skew", "mark", "words"),
    [(0, "ok", "as the store's"), (-119, "ok", ""), (300, "warn", "300 s behind"), (-1000, "failed", "1000 s ahead")],
)
def test_the_clocks(skew: float, mark: str, words: str) -> None:
    line = trial.clock(skew)
    assert line["mark"] == mark
    assert words in line["found"]
    assert bool(line["remedy"]) == (mark != "ok")


class Late(DirectoryBucket):
    """Lists an upload only later, as some stores do."""

    aborted = ""

    def begin(self, key: str) -> str:
        return "upload"

    def uploads(self, prefix: str = "") -> Iterator[Upload]:
        return iter(())

    def abort(self, key: str, upload: str) -> None:
        self.aborted = upload


class Old(DirectoryBucket):
    """Gives what was written first, for a while."""

    def _get(self, method: str, path: Path, headers: Mapping[str, str]) -> Answer:
        got = super()._get(method, path, headers)
        return got._replace(body=b"old") if method == "GET" and len(got.body) < 3 else got


def test_a_good_one_keeps_nothing_of_it(tmp_path: Path) -> None:
    bucket = DirectoryBucket(tmp_path)
    line = trial._of("store: objects", trial._objects, bucket, ".check/x")
    assert (line["mark"], line["remedy"]) == ("ok", "")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_d27_a_store_that_lists_uploads_late_is_named(tmp_path: Path) -> None:
    bucket = Late(tmp_path)
    line = trial._of("store: uploads", trial._uploads, bucket, ".check/x")
    assert (line["mark"], line["found"]) == ("failed", "an upload that has begun is not listed at once")
    assert "take another store" in line["remedy"]
    assert bucket.aborted == "upload"


def test_a_store_that_gives_what_was_there_before_is_named(tmp_path: Path) -> None:
    line = trial._of("store: objects", trial._objects, Old(tmp_path), ".check/x")
    assert (line["mark"], line["found"]) == ("failed", "what was overwritten is still read")


def test_where_nobody_answers_one_line_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    place = {"endpoint": f"http://127.0.0.1:{port}", "region": "r", "bucket": "images"}
    place |= {"prefix": "", "addressing": "path"}
    keys = "[default]\naws_access_key_id = a\naws_secret_access_key = b\n"
    (line,) = trial.tried(place, keys, set_rule=False)
    assert (line["name"], line["mark"]) == ("store", "failed")
    assert "does not answer" in line["found"]
    assert "S3_ENDPOINT" in line["remedy"]
