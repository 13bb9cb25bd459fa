"""People at work on the registry while something is done to it: short requests, and transfers that take their time."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.sandbox.demo import DOMAIN

from .world import PASSWORD, USER, World

# Of what a slow one sends or reads at once.
STEP = 1 << 16
LOGIN = ("-u", f"{USER}:{PASSWORD}")
# Of nothing that an image needs, and quick to push.
SMALL = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'


@dataclass
class Seen:
    """What became of the short requests. waits: seconds of each; lost: why."""

    waits: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    pushes: int = 0


@contextmanager
def traffic(world: World, record: Callable[[str, object], None], name: str) -> Iterator[Seen]:
    """A fresh TLS connection every 20 ms, and pushes of small images one after the other, until it is over."""
    seen, over = Seen(), threading.Event()
    threads = [threading.Thread(target=work, args=(world, seen, over)) for work in (_asking, _pushing)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()
        record(f"{name}: requests made", len(seen.waits))
        record(f"{name}: requests lost", len(seen.lost))
        record(f"{name}: longest wait, s", round(max(seen.waits, default=0), 2))
        record(f"{name}: images pushed", seen.pushes)


def _asking(world: World, seen: Seen, over: threading.Event) -> None:
    context = ssl.create_default_context(cadata=(world.sandbox.directory / "ca.pem").read_text())
    port = world.sandbox.port(443)
    while not over.wait(0.02):
        start = time.monotonic()
        try:
            with (
                socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
                context.wrap_socket(plain, server_hostname=DOMAIN) as tls,
            ):
                tls.sendall(f"GET /v2/ HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n".encode())
                answer = tls.recv(1000)
            if not answer.startswith(b"HTTP/1.1 401 "):
                seen.lost.append(f"GET /v2/: {answer[:60]!r}")
        except OSError as error:
            seen.lost.append(f"GET /v2/: {error!r} after {time.monotonic() - start:.2f} s")
        seen.waits.append(time.monotonic() - start)


def _pushing(world: World, seen: Seen, over: threading.Event) -> None:
    while not over.is_set():
        try:
            push_image(world, f"busy/app{seen.pushes % 5}", f"{seen.pushes}".encode())
            seen.pushes += 1
        except (AssertionError, subprocess.CalledProcessError, IndexError) as error:
            seen.lost.append(f"push {seen.pushes}: {error}")


def push_image(world: World, repository: str, layer: bytes) -> str:
    """Push an image of one layer with curl, as docker does: blobs first, then the manifest. Returns its digest."""
    described = [
        {"mediaType": f"application/vnd.oci.image.{kind}", "size": len(blob), "digest": _push(world, repository, blob)}
        for kind, blob in (("config.v1+json", SMALL), ("layer.v1.tar", layer))
    ]
    kind = "application/vnd.oci.image.manifest.v1+json"
    body = {"schemaVersion": 2, "mediaType": kind, "config": described[0], "layers": described[1:]}
    manifest = json.dumps(body)
    path = f"/v2/{repository}/manifests/latest"
    status = world.status(path, "-X", "PUT", "-H", f"Content-Type: {kind}", "--data-binary", manifest, *LOGIN)
    assert status == 201, f"manifest: HTTP {status}"
    return _digest(manifest.encode())


def _push(world: World, repository: str, content: bytes) -> str:
    path = world.begin_upload(repository, *LOGIN)
    digest = _digest(content)
    put = ("-X", "PUT", "-H", "Content-Type: application/octet-stream", "--data-binary", content.decode())
    status = world.status(f"{path}&digest={digest}", *put, *LOGIN)
    assert status == 201, f"blob: HTTP {status}"
    return digest


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Slow:
    """A push or a pull of one layer, a little at a time, until it is told to end: then as fast as it goes."""

    def __init__(self, world: World, repository: str, content: bytes, digest: str = "") -> None:
        """digest: of a layer to pull; '' to push."""
        self.world, self.content, self.digest = world, content, digest
        self.hurry, self.error, self.status = threading.Event(), "", 0
        self.path = f"/v2/{repository}/blobs/{digest}" if digest else world.begin_upload(repository, *LOGIN)
        self.begun = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.begun.wait(60), self.error

    def end(self) -> None:
        """Let it go through. Fails where it was cut off, or where it is not what was sent."""
        self.hurry.set()
        self.thread.join(60)
        assert not self.error, self.error
        assert self.status == (200 if self.digest else 201), self.status

    def _run(self) -> None:
        context = ssl.create_default_context(cadata=(self.world.sandbox.directory / "ca.pem").read_text())
        try:
            with (
                socket.create_connection(("127.0.0.1", self.world.sandbox.port(443)), timeout=60) as plain,
                context.wrap_socket(plain, server_hostname=DOMAIN) as tls,
            ):
                connection = http.client.HTTPConnection(DOMAIN)
                connection.sock = tls
                (self._pull if self.digest else self._push)(connection)
        except (OSError, http.client.HTTPException, AssertionError) as error:
            self.error = repr(error)
        finally:
            self.begun.set()

    def _head(self, connection: http.client.HTTPConnection, method: str, path: str, size: int) -> None:
        connection.putrequest(method, path)
        connection.putheader("Authorization", f"Basic {base64.b64encode(LOGIN[1].encode()).decode()}")
        connection.putheader("Content-Type", "application/octet-stream")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()

    def _push(self, connection: http.client.HTTPConnection) -> None:
        self._head(connection, "PATCH", self.path, len(self.content))
        for place in range(0, len(self.content), STEP):
            connection.send(self.content[place : place + STEP])
            self._pause()
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 202, f"PATCH: HTTP {answer.status}"
        path = "/" + str(answer.getheader("Location")).split("/", 3)[3]
        # On another connection, as nginx ends one of before a reload.
        self.status = self.world.status(f"{path}&digest={_digest(self.content)}", "-X", "PUT", *LOGIN)

    def _pull(self, connection: http.client.HTTPConnection) -> None:
        self._head(connection, "GET", self.path, 0)
        answer = connection.getresponse()
        self.status, got = answer.status, b""
        while block := answer.read(STEP):
            got += block
            self._pause()
        assert got == self.content, f"{len(got)} of {len(self.content)} bytes, or others"

    def _pause(self) -> None:
        self.begun.set()
        self.hurry.wait(0.2)
