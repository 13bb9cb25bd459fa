"""The proof of one of several servers, against a registry that is right, or wrong in one way."""

from __future__ import annotations

import base64
import hashlib
import http.client
import http.server
import threading
from collections.abc import Iterator

import pytest

from fabfile.machine.onhost.atomic import RefusedError
from fabfile.registry.onhost import through

LOGIN = "push-test-1:right"


class Registry(http.server.BaseHTTPRequestHandler):
    """As the specification has it, for one account."""

    protocol_version = "HTTP/1.1"
    wrong = ""
    kept: dict[str, bytes]
    deleted: list[str]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self, status: int, body: bytes = b"", location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def allowed(self) -> bool:
        right = f"Basic {base64.b64encode(LOGIN.encode()).decode()}"
        given = self.headers.get("Authorization", "")
        if given == right or (self.wrong == "open" and not given) or (self.wrong == "any password" and given):
            return True
        self.answer(401)
        return False

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self) -> None:
        if not self.allowed():
            return
        if self.path == "/v2/":
            self.answer(200)
            return
        found = self.kept.get(self.path.rpartition("/")[2], b"")
        if (self.wrong, "/blobs/" in self.path) in (("layer", True), ("manifest", False)):
            found = found[:-1] + b"?"
        self.answer(200 if found else 404, found)

    def do_POST(self) -> None:
        self.body()
        if self.allowed():
            self.answer(202, location="/v2/push-test/blobs/uploads/1?_state=x")

    def do_PUT(self) -> None:
        content = self.body()
        if not self.allowed():
            return
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        path, _, query = self.path.partition("?")
        if "/uploads/" in path:
            if query != f"_state=x&digest={digest}" or self.wrong == "push":
                self.answer(500, b"no room")
                return
            self.kept[digest] = content
        else:
            self.kept |= {digest: content, path.rpartition("/")[2]: content}
        self.answer(201)

    def do_DELETE(self) -> None:
        if self.allowed():
            self.deleted.append(self.path.rpartition("/")[2])
            self.answer(405 if self.wrong == "delete" else 202)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Registry]]:
    class Ours(Registry):
        wrong, kept, deleted = "", {}, []

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ours) as server:
        port = int(server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(through, "Loopback", lambda *_: http.client.HTTPConnection("127.0.0.1", port, timeout=30))
        yield Ours
        server.shutdown()


def proven() -> through.Proven:
    return through.prove("registry.example.org", "/nowhere", "push-test", "tag", LOGIN)


def test_all_of_it_is_proven_and_nothing_is_left(registry: type[Registry]) -> None:
    found = proven()
    assert [name for name, _ in found["parts"]] == ["no credentials", "wrong password", "push", "pull", "delete"]
    assert registry.deleted == [found["digest"]]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("open", "answered 200 to a stranger"),
        ("any password", "answered 200 to a stranger"),
        ("push", "answered 500: no room"),
        ("manifest", "the manifest came back as another one"),
        ("layer", "the layer came back with another content"),
        ("delete", "answered 405"),
    ],
)
def test_what_is_wrong_is_named(registry: type[Registry], wrong: str, said: str) -> None:
    registry.wrong = wrong
    with pytest.raises(RefusedError, match=said):
        proven()
    # Whatever came back, what was pushed goes.
    assert bool(registry.deleted) == (wrong in ("manifest", "layer", "delete"))
