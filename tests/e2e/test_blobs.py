"""The data path: blobs are sent by nginx from the registry's own files, pushes stream through."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .world import PASSWORD, USER, World

LOGIN = ("-u", f"{USER}:{PASSWORD}")


@pytest.fixture
def layer(deployed: World) -> tuple[str, bytes]:
    content = os.urandom(3_000_000)
    return deployed.push_blob("blobs/here", content, *LOGIN), content


def test_a_blob_comes_whole_in_parts_and_again(deployed: World, layer: tuple[str, bytes], tmp_path: Path) -> None:
    digest, content = layer
    url = f"/v2/blobs/here/blobs/{digest}"
    pulled = tmp_path / "pulled"
    head = deployed.curl(url, "-D", "-", "-o", str(pulled), *LOGIN)
    assert pulled.read_bytes() == content
    for line in (
        f"Docker-Content-Digest: {digest}", f"Content-Length: {len(content)}", "Content-Type: application/octet-stream",
        "Docker-Distribution-Api-Version: registry/2.0", "Cache-Control: max-age=31536000",
        "X-Content-Type-Options: nosniff",
    ):  # fmt: skip
        assert line in head
    assert "Location" not in head
    # A pull that was cut goes on where it was.
    pulled.write_bytes(content[:1_234_567])
    assert deployed.status(url, "-I", *LOGIN) == 200
    deployed.curl(url, "-C", "-", "-o", str(pulled), *LOGIN)
    assert pulled.read_bytes() == content
    deployed.curl(url, "-r", "1000-1999", "-o", str(pulled), *LOGIN)
    assert pulled.read_bytes() == content[1000:2000]
    assert deployed.status(url, "-r", "9000000-", *LOGIN) == 416
    etag = deployed.curl(url, "-I", "-w", "%header{etag}", "-o", "/dev/null", *LOGIN)
    assert deployed.status(url, "-H", f"If-None-Match: {etag}", *LOGIN) == 304


def test_a_blob_is_there_in_its_repository_alone(deployed: World, layer: tuple[str, bytes]) -> None:
    """The registry looks first: that a file has this digest is not enough."""
    digest, _ = layer
    assert deployed.status(f"/v2/blobs/here/blobs/{digest}", *LOGIN) == 200
    there = deployed.curl(f"/v2/blobs/elsewhere/blobs/{digest}", *LOGIN)
    assert '"code":"BLOB_UNKNOWN"' in there
    assert deployed.status(f"/v2/blobs/here/blobs/{digest}") == 401
    assert deployed.status(f"/v2/blobs/here/blobs/{digest}", "-u", f"{USER}:wrong") == 401
    assert deployed.status(f"/v2/blobs/here/blobs/{digest}", "-X", "DELETE", *LOGIN) == 202
    assert deployed.status(f"/v2/blobs/here/blobs/{digest}", *LOGIN) == 404
    # Neither is there a way past the registry.
    path = f"/docker/registry/v2/blobs/sha256/{digest[7:9]}/{digest[7:]}/data"
    for url in (path, f"/blobs{path}", f"/v2{path}", f"/v2/x/blobs/../../..{path}"):
        assert deployed.status(url, "--path-as-is", *LOGIN) in (400, 404)


def test_nothing_is_spooled(deployed: World, tmp_path: Path) -> None:
    """A push is not written to nginx's own disk first: it grows at the registry while it comes in."""
    file = tmp_path / "large"
    file.write_bytes(os.urandom(40_000_000))
    pid = deployed.nginx_pid()
    # nginx removes the names of its temporary files at once: its workers still have them open.
    spool = f"for p in $(pgrep -P {pid}); do find -L /proc/$p/fd -maxdepth 1 -type f -links 0 -size +100k; done"
    slow = deployed.pushing("blobs/large", file, "--limit-rate", "4M")
    spooled, sizes = "", set()
    while slow.poll() is None:
        spooled += deployed.server(spool, check=False)
        sizes.add(deployed.arrived("blobs/large"))
    assert slow.stdout is not None
    assert slow.stdout.read() == "\n202"
    assert spooled == ""
    # On a busy machine each look takes seconds.
    assert len([size for size in sizes if 1_000_000 < size < 39_000_000]) > 2, sizes


@pytest.mark.long
def test_d5_a_layer_of_more_than_5_gb(deployed: World) -> None:
    """Its digest is exact, and nginx's memory has not grown by it."""
    script = (
        'size=5500000000; c="curl -sS -u $1"; u=https://registry.test/v2/blobs/huge/blobs; '
        "digest=sha256:$(yes layer | head -c $size | sha256sum | cut -c-64); "
        "to=$($c -X POST -o /dev/null -w '%header{location}' $u/uploads/); "
        "to=$(yes layer | head -c $size | $c -X PATCH -H 'Content-Type: application/octet-stream' -T - "
        "-o /dev/null -w '%header{location}' \"$to\"); "
        "$c -X PUT -o /dev/null -w '%{http_code} ' \"$to&digest=$digest\"; "
        "[ sha256:$($c $u/$digest | sha256sum | cut -c-64) = $digest ] && echo equal; $c -X DELETE $u/$digest"
    )
    deployed.fab("htpasswd", "--user", "huge", "--role", "admin", input="secret\n")
    done = deployed.sandbox.exec("client", "sh", "-c", script, "sh", "huge:secret")
    assert done.split() == ["201", "equal"]
    deployed.fab("htpasswd", "--remove", "huge")
