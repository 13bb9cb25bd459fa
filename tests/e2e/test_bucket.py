"""The client of S3 stores against a real one, and what is known of a bucket that a real one lists."""

from __future__ import annotations

import hashlib
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fabfile.machine.onhost.atomic import RefusedError
from fabfile.store.onhost import answers, handles, walk
from fabfile.store.onhost.bucket import PART, Bucket
from fabfile.store.onhost.known import Known
from fabfile.store.onhost.sigv4 import Keys
from fabfile.store.onhost.wire import Place
from tests.sandbox.commands import output
from tests.sandbox.store import KEY_ID, Store
from tests.unit.stores import Store as Files

pytestmark = pytest.mark.long
MIB = 1 << 20


def address(store: Store) -> str:
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    return output("docker", "inspect", "--format", form, store.container).split()[0]


@pytest.fixture
def bucket(store: Store) -> Iterator[Bucket]:
    store.empty("second")
    place = Place(f"http://{address(store)}", "us-east-1", "second", "team/one")
    made = Bucket(place, Keys(KEY_ID, store.secret))
    yield made
    made.close()


def test_what_is_written_is_read_listed_copied_and_gone(bucket: Bucket) -> None:
    for number in range(25):
        bucket.put(f"a/{number:02}", b"%d" % number)
    bucket.put("b+c d/é", b"odd")
    listed = list(bucket.listed("a/"))
    assert [each.key for each in listed] == [f"a/{number:02}" for number in range(25)]
    assert listed[3].etag == hashlib.md5(b"3", usedforsecurity=False).hexdigest()
    assert abs(listed[3].when - time.time()) < 60
    pages, more = [], ""
    while True:
        page = bucket.page("a/", more=more, limit=10)
        pages.append(len(page.entries))
        if not (more := page.more):
            break
    assert pages == [10, 10, 5]
    assert bucket.folders() == ["a/", "b+c d/"]
    assert bucket.get("b+c d/é") == b"odd"
    assert bucket.get("a/24", 1, 1) == b"4"
    found = bucket.head("a/24")
    assert found is not None
    assert (found.size, found.etag) == (2, listed[24].etag)
    assert bucket.head("none") is None
    bucket.copy("a/24", "copied/24", found)
    assert bucket.get("copied/24") == b"24"
    with pytest.raises(RefusedError) as caught:
        bucket.copy("a/24", "copied/25", found._replace(etag="0" * 32))
    assert caught.value.reason == "PreconditionFailed"
    with pytest.raises(RefusedError) as caught:
        bucket.get("none")
    assert caught.value.reason == "NoSuchKey"
    with pytest.raises(RefusedError) as caught:
        bucket.put("a/24", b"x", {"if-none-match": "*"})
    assert caught.value.reason == "PreconditionFailed"
    bucket.delete("a/00")
    bucket.delete("a/00")
    bucket.delete_many(f"a/{number:02}" for number in range(25))
    assert [each.key for each in bucket.listed()] == ["b+c d/é", "copied/24"]
    address = bucket.presign("GET", "copied/24", 60)
    with urllib.request.urlopen(address) as answer:  # noqa: S310 - it is the store's
        assert answer.read() == b"24"


def test_parts_rules_and_refusals(bucket: Bucket, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * (MIB // 256) * 37
    bucket.write("large", len(content), lambda part: [content[at : at + part] for at in range(0, len(content), part)])
    found = bucket.head("large")
    assert found is not None
    assert found.size == len(content)
    assert b"".join(bucket.blocks("large", found.size, found.etag)) == content
    # A copy by parts, as of what is larger than 1 GiB.
    monkeypatch.setattr("fabfile.store.onhost.bucket.COPIED_WHOLE", MIB)
    monkeypatch.setattr("fabfile.store.onhost.bucket.COPIED_PART", 10 * MIB)
    bucket.copy("large", "again")
    assert hashlib.sha256(bucket.get("again")).digest() == hashlib.sha256(content).digest()
    upload = bucket.begin("broken")
    bucket.put_part("broken", upload, 1, content[:PART])
    assert [(each.key, each.id) for each in bucket.uploads()] == [("broken", upload)]
    assert [(part.number, part.size) for part in bucket.parts("broken", upload)] == [(1, PART)]
    bucket.abort("broken", upload)
    bucket.abort("broken", upload)
    assert list(bucket.uploads()) == []
    assert bucket.lifecycle() == b""
    bucket.put_lifecycle(answers.with_abort_rule(b"", bucket.prefix, 8))
    assert answers.abort_days(bucket.lifecycle(), bucket.prefix) == 8
    bucket.put_lifecycle(answers.with_abort_rule(bucket.lifecycle(), bucket.prefix, 3))
    assert answers.abort_days(bucket.lifecycle(), bucket.prefix) == 3
    wrong = Bucket(bucket.place, Keys(KEY_ID, "wrong"))
    with pytest.raises(RefusedError, match="S3_KEY_FILE") as caught:
        list(wrong.listed())
    assert caught.value.reason == "SignatureDoesNotMatch"
    with pytest.raises(RefusedError) as caught:
        list(Bucket(bucket.place._replace(bucket="none"), bucket.keys).listed())
    assert caught.value.reason == "NoSuchBucket"
    late = Bucket(bucket.place, bucket.keys, clock=lambda: time.time() - 3600)
    with pytest.raises(RefusedError, match="clock") as caught:
        list(late.listed())
    assert caught.value.reason == "RequestTimeTooSkewed"
    assert abs(late.skew(late.ask("GET", query={"list-type": "2"})) - 3600) < 60


def test_ten_thousand_tags_are_known_in_a_bearable_time(bucket: Bucket, tmp_path: Path) -> None:
    """300 repositories; prints how long the first look takes, and one at which nothing has changed."""
    files = Files(tmp_path / "registry/data")
    for number in range(300):
        files.image(f"team{number % 7}/app{number}", [b"of all", b"layer of %d" % number])
        for tag in range(33):
            files.image(f"team{number % 7}/app{number}", [b"of all"], f"1.{tag}", config={"n": number * 100 + tag})
    every = [path for path in (tmp_path / "registry/data").rglob("*") if path.is_file()]
    begun = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(
            pool.map(
                lambda path: bucket.put(str(path.relative_to(tmp_path / "registry/data")), path.read_bytes()), every
            )
        )
    print(f"{len(every)} objects written in {time.monotonic() - begun:.0f} s")
    root = tmp_path / "known"
    root.mkdir()
    for what in ("first", "nothing new"):
        begun = time.monotonic()
        with Known(root, bucket) as known:
            known.refresh()
        print(f"{what}: {time.monotonic() - begun:.1f} s, {len(known.index)} files")
    with handles.top(str(root / "registry/known")) as data, handles.store(data) as top:
        found = walk.repositories(top)
    assert (len(found.repositories), sum(len(each.tags) for each in found.repositories.values())) == (300, 9900)
    used = output("du", "-sm", str(root))
    print(f"on the disk: {used.split()[0]} MB")
