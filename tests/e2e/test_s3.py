"""STORAGE=s3: the images are in a real Ceph, and everything else is as on a disk."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.sandbox.store import Store

from .world import DEPLOY_DIR, PASSWORD, USER, World

pytestmark = pytest.mark.long
LOGIN = ("-u", f"{USER}:{PASSWORD}")
SLICE = 16 << 20


@pytest.fixture(scope="module")
def on_s3(world: World, store: Store) -> Iterator[World]:
    """A server whose images are in an empty bucket."""
    world.clean()
    store.empty()
    world.bootstrap(**store.settings())
    yield world
    world.clean()


def blob(world: World, repository: str, digest: str, *options: str) -> str:
    """The status, the size and the headers of a layer that is pulled to nowhere."""
    path = f"/v2/{repository}/blobs/{digest}"
    return world.curl(path, "-o", "/dev/null", "-D", "-", "-w", "%{http_code} %{size_download}", *options, *LOGIN)


def content(world: World, repository: str, digest: str, *options: str) -> bytes:
    """A layer, or a part of it."""
    file = world.sandbox.directory / "pulled"
    world.curl(f"/v2/{repository}/blobs/{digest}", "-o", str(file), *options, *LOGIN)
    return file.read_bytes()


def layers(asked: list[dict[str, object]]) -> list[dict[str, object]]:
    """Of what the store was asked, the bytes of layers."""
    return [each for each in asked if each["operation"] == "get_obj" and "/blobs/sha256/" in str(each["uri"])]


def test_what_was_pushed_is_in_the_bucket_and_comes_back(on_s3: World, store: Store) -> None:
    """Whole and by ranges, kept or not; and no registry was born on the disk beside it."""
    random = os.urandom(2 * SLICE + 12345)
    digest = on_s3.push_blob("team/app", random, *LOGIN)
    store.asked()
    middle = content(on_s3, "team/app", digest, "-r", f"{SLICE - 5}-{SLICE + 4}")
    assert middle == random[SLICE - 5 : SLICE + 5]
    assert sum(int(str(each["bytes_sent"])) for each in layers(store.asked())) <= 2 * SLICE + 4096
    assert content(on_s3, "team/app", digest) == random
    assert content(on_s3, "team/app", digest, "-r", "-7") == random[-7:]
    store.asked()
    assert content(on_s3, "team/app", digest) == random
    assert layers(store.asked()) == []
    head = blob(on_s3, "team/app", digest, "--head")
    assert f"content-length: {len(random)}" in head.lower()
    told = blob(on_s3, "team/app", digest)
    assert f"200 {len(random)}" in told
    assert f'etag: "{digest}"' in told.lower()
    assert "amz" not in told.lower()
    assert "rgw" not in told.lower()
    hexadecimal = digest.partition(":")[2]
    assert f"docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data" in store.objects()
    assert on_s3.server(f"find {DEPLOY_DIR}/registry/data -type f ! -name .store") == ""
