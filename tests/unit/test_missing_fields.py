"""What a registry, Docker, an ACME server or an older file of ours need not say."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fabfile.certificate.onhost import acme, attempts
from fabfile.errors import StepError
from fabfile.machine.host import here
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.old_registry.onhost import found
from fabfile.registry.onhost import api
from fabfile.registry.proof import Proof, Receipt, UnusableEngineError
from fabfile.settings import Settings
from fabfile.stack.onhost import containers, held, nginx, workers

NAME = "registry.test"
MANIFEST = b'{"schemaVersion": 2}'
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


class Registry(http.server.BaseHTTPRequestHandler):
    """As much of a registry as is asked; `told` is what it says of the digest."""

    told: list[tuple[str, str]]
    deleted: list[str]

    def do_GET(self) -> None:
        self.send_response(200 if self.path.endswith("/latest") else 404)
        for header in self.told:
            self.send_header(*header)
        self.send_header("Content-Length", str(len(MANIFEST)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(MANIFEST)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        self.deleted.append(self.path.rpartition("/")[2])
        self.send_response(202)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With its key, in one file."""
    file = tmp_path_factory.mktemp("tls") / "pair.pem"
    key, pem = file.with_name("key.pem"), file.with_name("cert.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-keyout", key, "-out", pem],
        check=True, capture_output=True,
    )  # fmt: skip
    file.write_text(key.read_text() + pem.read_text())
    return file


@pytest.fixture
def registry(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Registry]]:
    """A registry on a port of its own, where Loopback looks for 443."""

    class Own(Registry):
        told: list[tuple[str, str]] = []  # noqa: RUF012
        deleted: list[str] = []  # noqa: RUF012

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        port, connect = server.server_port, socket.create_connection
        monkeypatch.setattr(socket, "create_connection", lambda _, timeout: connect(("127.0.0.1", port), timeout))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Own
        server.shutdown()


@pytest.mark.parametrize("told", [None, "", DIGEST, "none", "sha256:0 x", "sha256:../../other"])
def test_a_tag_goes_whatever_the_registry_says_of_its_digest(
    registry: type[Registry], certificate: Path, told: str | None
) -> None:
    """The header is optional (OCI distribution specification, pulling manifests)."""
    registry.told.extend([] if told is None else [("Docker-Content-Digest", told)])
    assert api.delete_tag(NAME, str(certificate), "push-test", "latest", "a:b") == 202
    assert registry.deleted == [DIGEST]
    assert api.delete_tag(NAME, str(certificate), "push-test", "other", "a:b") == 404
    assert registry.deleted == [DIGEST]


def test_a_registry_that_speaks_no_http_is_named(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, connect = server.getsockname()[1], socket.create_connection
        monkeypatch.setattr(socket, "create_connection", lambda _, timeout: connect(("127.0.0.1", port), timeout))
        threading.Thread(target=nonsense, args=(server, context), daemon=True).start()
        with pytest.raises(RefusedError, match=rf"^https://{NAME}/v2/push-test/manifests/x: ") as refused:
            api.delete_tag(NAME, str(certificate), "push-test", "x", "a:b")
    assert refused.value.remedies == ("./fab -H … logs",)


def nonsense(server: socket.socket, context: ssl.SSLContext | None) -> None:
    plain, _ = server.accept()
    client = context.wrap_socket(plain, server_side=True) if context else plain
    with client:
        client.recv(4096)
        client.sendall(b"220 mail.test ESMTP\r\n\r\n")


def test_an_acme_server_that_speaks_no_http_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=nonsense, args=(server, None), daemon=True).start()
        offered = acme.directory(f"http://127.0.0.1:{server.getsockname()[1]}/dir", "")
    assert "cannot be reached: " in offered["refused"]
    assert offered["profiles"] == []


def says(text: str) -> Any:
    return lambda *_: subprocess.CompletedProcess([], 0, text, "")


@pytest.mark.parametrize("text", ["0\n", "", "<no value>\n"])
def test_an_nginx_that_has_just_ended_is_sent_no_signal(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Process 0 would be our own group (kill(2))."""
    monkeypatch.setattr(workers, "nginx_container", lambda: "abc")
    monkeypatch.setattr(workers, "run", says(text))
    with pytest.raises(RefusedError, match="nginx does not run"):
        workers.master()


INSPECTED: dict[str, Any] = {
    "Id": "abc", "Name": "/web", "Image": "sha256:1", "Config": {"Image": "web:1", "Labels": None, "Env": None},
    "State": {"Running": True}, "HostConfig": {"RestartPolicy": {"Name": ""}}, "Mounts": None,
}  # fmt: skip


@pytest.mark.parametrize("mounts", [None, [], [{"Type": "tmpfs"}], [{"Source": "/srv/data"}]])
def test_a_strange_container_has_no_mounts_labels_or_variables(
    monkeypatch: pytest.MonkeyPatch, mounts: list[dict[str, str]] | None
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/docker")
    answers = {"ps": "abc\n", "inspect": json.dumps([INSPECTED | {"Mounts": mounts}])}
    monkeypatch.setattr(found, "docker", lambda command, *_: answers[command])
    names = [each["name"] for each in found.containers(Path("/srv"))]
    assert names == (["web"] if mounts and mounts[0].get("Source") else [])


@pytest.mark.parametrize("health", [None, {}, {"Status": "starting"}, {"Status": "unhealthy"}])
@pytest.mark.parametrize("check", [{}, {"Healthcheck": None}, {"Healthcheck": {}}, {"Healthcheck": {"Test": []}}])
def test_a_container_that_says_nothing_of_how_it_is_checked(health: object, check: dict[str, Any]) -> None:
    told = health.get("Status", "") if isinstance(health, dict) else ""
    assert containers._health({"Id": "abc", "State": {"Health": health}, "Config": check}) == told


@pytest.mark.parametrize("text", ["[]", "null", '"x"', "{", '{"https://acme.test": null}', '{"https://acme.test": []}'])
def test_a_damaged_memory_of_orders_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "certbot/attempts.json"
    file.parent.mkdir()
    file.write_text(text)
    assert attempts.remembered(str(file), "https://acme.test")["failures"] == 0
    assert attempts.failed(str(file), "https://acme.test", "no", [60.0], 0)["failures"] == 1
    assert attempts.alert(str(file), "no", "true", "no") == "sent"


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"compose": "x"}', '{"compose": "x", "containers": []}'])
def test_a_damaged_record_of_what_was_started_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "nginx").mkdir()
    (tmp_path / "nginx/started").write_text(text)
    (tmp_path / "nginx/loaded").write_text("run/1")
    (tmp_path / "nginx/live").symlink_to("run/1")
    (tmp_path / "compose.yml").write_text("")
    monkeypatch.setattr(nginx, "candidate", lambda *_: ({}, ""))
    monkeypatch.setattr(nginx, "wanted", lambda *_, **__: {})
    monkeypatch.setattr(nginx, "owned", lambda _: True)
    monkeypatch.setattr(held, "digest", lambda _: "x")
    assert not nginx.settled(str(tmp_path), str(tmp_path))


@pytest.mark.parametrize(
    ("first", "shown"),
    [
        (StepError("docker: no", "do a"), "docker: no; not all could be taken back: nginx is away\n  -> do a"),
        (UnusableEngineError("there is no Docker engine"), "there is no Docker engine"),
        (KeyboardInterrupt("ctrl-c"), "ctrl-c"),
        (None, "nginx is away\n  -> do b"),
    ],
)
def test_what_cannot_be_taken_back_hides_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, first: BaseException | None, shown: str
) -> None:
    def prepare(proof: Proof) -> str:
        def away() -> None:
            raise StepError("nginx is away", "do b")

        proof.undo.callback(away)
        if first:
            raise first
        proof.undo.close()
        return ""

    monkeypatch.setattr(Proof, "prepare", prepare)
    proof = Proof(here(), here(), settings, lambda *_: None, Receipt("registry.test"))
    with pytest.raises(type(first) if first else StepError) as told:
        proof.run()
    assert str(told.value) == shown
