"""Clients that fall silent: those who are logged in for minutes, strangers for one at most."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.sandbox.demo import DOMAIN

from .world import PASSWORD, USER, World

LOGIN = ("-u", f"{USER}:{PASSWORD}")
BASIC = "Authorization: Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
LONGER = 75  # than the minute that all had
SIZE = 60_000_000


def connected(world: World) -> ssl.SSLSocket:
    """A connection that takes in little by itself, so that the server notices when nobody reads."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    plain.connect(("127.0.0.1", world.sandbox.port(443)))
    context = ssl.create_default_context(cafile=str(world.sandbox.directory / "ca.pem"))
    return context.wrap_socket(plain, server_hostname=DOMAIN)


def asked(connection: ssl.SSLSocket, line: str, *headers: str) -> None:
    lines = (f"{line} HTTP/1.1", f"Host: {DOMAIN}", *headers, "", "")
    connection.sendall("\r\n".join(lines).encode())


def pushed(world: World, repository: str, pause: float, *login: str) -> int:
    """Send half a layer, then nothing for so many seconds, then the rest; the status, 0 when we were cut off."""
    path = world.begin_upload(repository, *LOGIN)
    headers = ("Content-Type: application/octet-stream", f"Content-Length: {2 * SIZE // 10}", *login)
    with connected(world) as connection, contextlib.suppress(OSError):
        asked(connection, f"PATCH {path}", *headers)
        connection.sendall(b"x" * (SIZE // 10))
        time.sleep(pause)
        connection.sendall(b"y" * (SIZE // 10))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status
    return 0


def pulled(world: World, path: str, pause: float, *login: str) -> str:
    """Read a little of a layer, then nothing for so many seconds, then the rest; its digest, as far as it came."""
    with connected(world) as connection:
        asked(connection, f"GET {path}", *login)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200
        found = hashlib.sha256(answer.read(1000))
        time.sleep(pause)
        with contextlib.suppress(OSError, http.client.HTTPException):
            while block := answer.read(1 << 20):
                found.update(block)
    return f"sha256:{found.hexdigest()}"


def held(world: World, *login: str) -> float:
    """How many seconds somebody who pushes and says no more is borne."""
    headers = ("Content-Type: application/octet-stream", f"Content-Length: {SIZE}", *login)
    with connected(world) as connection:
        asked(connection, "PUT /v2/stranger/blobs/uploads/x?digest=sha256:0", *headers)
        connection.sendall(b"x" * 1000)
        began = time.monotonic()
        connection.settimeout(LONGER)
        with contextlib.suppress(ConnectionError):
            while connection.recv(65536):
                pass
        return time.monotonic() - began


@pytest.mark.long
def test_who_is_logged_in_may_pause_and_a_stranger_may_not(deployed: World) -> None:
    """skopeo, for example, copies from a source that is slow, and does not try again."""
    content = os.urandom(SIZE)
    deployed.standard(ANONYMOUS_PULL="public/*")
    digests = {name: deployed.push_blob(name, content, *LOGIN) for name in ("own/here", "public/here")}
    paths = {name: f"/v2/{name}/blobs/{digest}" for name, digest in digests.items()}
    # A limited account's upload takes another way through nginx.
    deployed.fab("htpasswd", "--user", "limited", "--repository", "own/*", input="secret\n")
    limited = "Authorization: Basic " + base64.b64encode(b"limited:secret").decode()
    try:
        with ThreadPoolExecutor() as pool:
            push = pool.submit(pushed, deployed, "own/push", LONGER, BASIC)
            other = pool.submit(pushed, deployed, "own/limited", LONGER, limited)
            pull = pool.submit(pulled, deployed, paths["own/here"], LONGER, BASIC)
            public = pool.submit(pulled, deployed, paths["public/here"], LONGER, BASIC)
            stranger = pool.submit(pulled, deployed, paths["public/here"], LONGER, "Authorization: Bearer anonymous")
            nobody, wrong = pool.submit(held, deployed), pool.submit(held, deployed, BASIC[:-4] + "AAA=")
        assert push.result() == 202
        assert other.result() == 202
        assert pull.result() == digests["own/here"]
        assert public.result() == digests["public/here"]
        assert stranger.result() != digests["public/here"]
        assert nobody.result() < 20
        assert wrong.result() < 20
    finally:
        deployed.fab("htpasswd", "--remove", "limited")


@pytest.mark.long
def test_the_pause_is_a_setting(deployed: World) -> None:
    """And nginx's own directive for it is taken already: a second one is refused, and the old configuration goes on."""
    deployed.standard(CLIENT_PAUSE="60")
    assert pushed(deployed, "own/short", LONGER, BASIC) == 0
    assert "client_body_timeout 60s" in deployed.server("cat /docker-registry/nginx/live/https.conf")


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_an_index_of_layers_is_taken(deployed: World, kind: str) -> None:
    """BuildKit's cache of before 2024: an index whose entries are layers and a configuration."""
    kinds = {
        "oci": ("application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
        "docker": ("application/vnd.docker.distribution.manifest.list.v2+json",
                   "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    }  # fmt: skip
    index, layer = kinds[kind]
    entries = []
    for content, media in ((os.urandom(1000), layer), (b"{}", "application/vnd.buildkit.cacheconfig.v0")):
        digest = deployed.push_blob("team/cache", content, *LOGIN)
        entries.append({"mediaType": media, "digest": digest, "size": len(content)})
    manifest = json.dumps({"schemaVersion": 2, "mediaType": index, "manifests": entries})
    options = ("-X", "PUT", "-H", f"Content-Type: {index}", "--data-binary", manifest, *LOGIN)
    assert deployed.status(f"/v2/team/cache/manifests/{kind}", *options) == 201


def test_a_layer_that_is_elsewhere_is_taken(deployed: World) -> None:
    """As images of Windows have them."""
    config = b'{"architecture":"amd64","os":"windows","rootfs":{"type":"layers","diff_ids":[]}}'
    digest = deployed.push_blob("team/windows", config, *LOGIN)
    layer = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "size": 10,
             "digest": "sha256:" + "0" * 64, "urls": ["https://example.com/layer"]}  # fmt: skip
    media = "application/vnd.docker.distribution.manifest.v2+json"
    described = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest, "size": len(config)}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": media, "config": described, "layers": [layer]})
    options = ("-X", "PUT", "-H", f"Content-Type: {media}", "--data-binary", manifest, *LOGIN)
    assert deployed.status("/v2/team/windows/manifests/1", *options) == 201


@pytest.mark.parametrize("number", [1000, 1001, 100000])
def test_a_tool_may_ask_for_many_repositories(deployed: World, number: int) -> None:
    deployed.push_blob("team/one", b"x", *LOGIN)
    assert deployed.status(f"/v2/_catalog?n={number}", *LOGIN) == 200
