"""STORAGE=s3: the images are in a real Ceph, and everything else is as on a disk."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.sandbox.demo import DOMAIN
from tests.sandbox.store import Store

from .world import DEPLOY_DIR, PASSWORD, USER, World, wait_until

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


def test_twenty_cold_pulls_at_once_take_one_copy_from_the_store(on_s3: World, store: Store) -> None:
    random = os.urandom(2 * SLICE + 999)
    digest = on_s3.push_blob("team/many", random, *LOGIN)
    store.asked()
    with ThreadPoolExecutor(20) as pool:
        told = list(pool.map(lambda _: blob(on_s3, "team/many", digest), range(20)))
    assert all(each.endswith(f"200 {len(random)}") for each in told)
    asked = store.asked()
    sent = sum(int(str(each["bytes_sent"])) for each in layers(asked) if int(str(each["bytes_sent"])) > SLICE // 100)
    print(f"20 cold pulls of {len(random)} bytes: {sent} bytes left the store, {len(asked)} requests")
    assert sent <= len(random) + 4096


def test_what_is_kept_is_nobodys_who_may_not_have_it(on_s3: World, store: Store) -> None:
    """A digest that is kept, in a repository that does not have it, and after it was deleted."""
    digest = on_s3.push_blob("team/one", os.urandom(70_000), *LOGIN)
    assert " 200 " in blob(on_s3, "team/one", digest).replace("\n", " ") + " "
    assert blob(on_s3, "team/two", digest).split()[-2] == "404"
    assert on_s3.status(f"/v2/team/one/blobs/{digest}") == 401
    assert on_s3.status(f"/v2/team/one/blobs/{digest}", "-X", "DELETE", *LOGIN) == 202
    assert blob(on_s3, "team/one", digest).split()[-2] == "404"
    # What is gone from the store, past all of ours: an error of the registry's form, where nothing is kept.
    other = on_s3.push_blob("team/one", os.urandom(70_000), *LOGIN)
    hexadecimal = other.partition(":")[2]
    store.curl("DELETE", f"/images/docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data")
    assert blob(on_s3, "team/one", other).split()[-2] == "404"


def test_requests_to_the_store_are_few_and_docker_pushes_and_pulls(on_s3: World, store: Store) -> None:
    docker = {**os.environ, "DOCKER_HOST": f"unix://{on_s3.sandbox.client_socket}"}

    def client(*argv: str, input: str = "") -> str:
        done = subprocess.run(
            ["docker", *argv], input=input, capture_output=True, text=True, check=False, env=docker, timeout=120
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    client("login", "-u", USER, "--password-stdin", DOMAIN, input=PASSWORD)
    made = "head -c 20000000 /dev/urandom >/root/layer && tar -C /root -c layer"
    on_s3.sandbox.exec("client", "sh", "-c", f'{made} | docker import - "$1"', "sh", f"{DOMAIN}/team/docker:1")
    store.asked()
    client("push", f"{DOMAIN}/team/docker:1")
    pushed = Counter(str(each["operation"]) for each in store.asked())
    for name in ("cold", "warm"):
        client("rmi", f"{DOMAIN}/team/docker:1")
        client("pull", f"{DOMAIN}/team/docker:1")
        asked = store.asked()
        print(f"{name} pull: {len(asked)} requests, {dict(Counter(str(each['operation']) for each in asked))}")
    print(f"push: {pushed.total()} requests, {dict(pushed)}")
    assert [each for each in layers(asked) if int(str(each["object_size"])) > 1_000_000] == []
    assert on_s3.fab("push-test").returncode == 0


def test_check_tries_the_store_and_leaves_nothing(on_s3: World, store: Store) -> None:
    def rows(*options: str) -> dict[str, str]:
        told = json.loads(on_s3.fab("check", "--json", *options, ok=None).stdout)
        return {row["name"]: row["mark"] for row in told if row["name"].startswith("store")}

    first = rows()
    assert len(first) == 7
    assert {name for name, mark in first.items() if mark != "ok"} <= {"store: broken uploads"}
    assert set(rows("--lifecycle").values()) == {"ok"}
    assert set(rows().values()) == {"ok"}
    assert [key for key in store.objects() if key.startswith(".check")] == []


def test_no_inspect_no_log_and_no_argument_has_the_keys(on_s3: World, store: Store) -> None:
    on_s3.fab("sync", "--diff")
    seen = on_s3.server(
        "docker inspect $(docker ps -aq); docker logs --details $(docker ps -aqf name=registry-1) 2>&1; "
        "for each in $(docker ps -aq); do docker logs $each 2>&1; done; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; "
        f"cat {DEPLOY_DIR}/compose.yml {DEPLOY_DIR}/settings.env {DEPLOY_DIR}/registry/config/* {DEPLOY_DIR}/log/*.log",
        check=False,
    )
    assert "AWS_SHARED_CREDENTIALS_FILE" in seen
    assert store.secret not in seen
    assert on_s3.server(f"stat -c '%a %u %g' {DEPLOY_DIR}/registry/secrets/s3-keys").split() == ["600", "61100", "0"]
    assert "up to date" in on_s3.fab("sync").stdout
    assert "nothing to change" in on_s3.fab("up").stdout


def test_d22_the_store_stops_and_comes_back(on_s3: World, store: Store) -> None:
    random = os.urandom(300_000)
    digest = on_s3.push_blob("team/stopped", random, *LOGIN)
    blob(on_s3, "team/stopped", digest)
    store.stop()
    try:
        told = on_s3.curl(
            f"/v2/team/stopped/blobs/{digest}", "-w", " %{http_code} %{time_total}", "--max-time", "60", *LOGIN
        )  # fmt: skip
        print(f"a layer while the store is stopped: {told}")
        assert json.loads(told[: told.rindex("}") + 1])["errors"][0]["code"] == "UNAVAILABLE"
        assert told.split()[-2] == "503"
        assert on_s3.login(USER, PASSWORD) == 200
    finally:
        store.start()
    wait_until(lambda: blob(on_s3, "team/stopped", digest).endswith(f"200 {len(random)}"), "the layer is served again")
    again = on_s3.push_blob("team/stopped", os.urandom(1000), *LOGIN)
    assert blob(on_s3, "team/stopped", again).endswith("200 1000")


def test_d26_a_registry_with_images_is_not_led_to_another_place(on_s3: World, store: Store) -> None:
    on_s3.push_blob("team/stays", b"stays", *LOGIN)
    on_s3.configure()
    assert "./fab -H server move-to disk" in on_s3.fab("sync", ok=False).stderr
    on_s3.configure(**store.settings("second"))
    assert "the settings name another place" in on_s3.fab("sync", "up", ok=False).stderr
    on_s3.configure(**store.settings())
    assert "up to date" in on_s3.fab("sync").stdout


def test_redirect_leads_clients_to_the_store(on_s3: World, store: Store) -> None:
    random = os.urandom(50_000)
    digest = on_s3.push_blob("team/redirect", random, *LOGIN)
    on_s3.configure(**store.settings(BLOBS="redirect"))
    on_s3.fab("sync", "up")
    try:
        told = on_s3.curl(f"/v2/team/redirect/blobs/{digest}", "-w", "%{http_code} %{redirect_url}", *LOGIN)
        status, place = told.split()[-2:]
        assert status == "307"
        assert place.startswith(f"{store.endpoint}/images/docker/registry/v2/blobs/sha256/")
        got = store.exec("sh", "-c", 'curl -fsSk --connect-to ::127.0.0.1: "$1" | sha256sum', "sh", place)
        assert got.split()[0] == hashlib.sha256(random).hexdigest()
    finally:
        on_s3.configure(**store.settings())
        on_s3.fab("sync", "up")
    assert content(on_s3, "team/redirect", digest) == random
