"""Finding 8: nobody who has no business there writes lines into nginx's log, or into the operator's terminal."""

from __future__ import annotations

import re
import socket
import ssl

from tests.sandbox.demo import DOMAIN

from .world import PASSWORD, PROJECT, USER, World

FORGED = b'203.0.113.9 - demo [26/Nov/2026:13:00:00 +0000] "DELETE /v2/team-a/app/manifests/sha256:0 HTTP/1.1" 202 0'
CONTROLS = [
    b"\x1b]0;a title\x07", b"\x1b[31mred", b"\xc2\x9b31m", b"\x9b31m", b"\r\x1b[K",
    b"\x08\x08", b"\xe2\x80\xaegnp", b"\x7f",
]  # fmt: skip


def send(world: World, port: int, head: bytes) -> None:
    plain = socket.create_connection(("127.0.0.1", world.sandbox.port(port)), 20)
    wire: socket.socket = plain
    if port == 443:
        context = ssl.create_default_context(cafile=str(world.sandbox.directory / "ca.pem"))
        wire = context.wrap_socket(plain, server_hostname=DOMAIN)
    with wire:
        wire.sendall(head)
        wire.settimeout(20)
        # Its answer, or its end; nginx would wait a while for the rest of a body.
        wire.recv(4096)


def test_no_stranger_writes_into_the_log(deployed: World) -> None:
    encoded = b"".join(b"%%%02x" % byte for byte in b"\n" + FORGED + b"\n\x1b[31m")
    host = DOMAIN.encode()
    end = b"Connection: close\r\n\r\n"
    for port in (80, 443):
        for path in (
            b"/.well-known/acme-challenge/x",
            b"/v2/",
            b"/v2/x/blobs/sha256:0",
            b"/nothing/",
        ):
            send(
                deployed,
                port,
                b"GET " + path + encoded + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + end,
            )
        for control in CONTROLS:
            for name in (b"Referer", b"User-Agent", b"X-Forwarded-For", b"Cookie", b"Accept"):
                for request in (b"GET /.well-known/acme-challenge/x", b"POST /v2"):
                    length = b"Content-Length: 99999\r\n" if request.startswith(b"POST") else b""
                    send(
                        deployed,
                        port,
                        request
                        + b" HTTP/1.1\r\nHost: "
                        + host
                        + b"\r\n"
                        + name
                        + b": "
                        + control
                        + FORGED
                        + b"\r\n"
                        + length
                        + end,
                    )
            # In the address itself, raw; and in what is no request at all.
            send(deployed, port, b"GET /" + control + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + end)
            send(deployed, port, b"GET / HTTP/1.1\r\nHost: " + host + control + b"\r\n" + end)
            send(deployed, port, control + b"\r\n\r\n")
    # An account's own name and password are nobody's words either.
    wrong = f"{USER}\x1b[31m:wrong"
    assert deployed.status("/v2/", "-u", wrong) == 401
    raw = deployed.server(f"docker logs {PROJECT}-nginx-1 2>&1")
    assert [line for line in raw.splitlines() if not line.isprintable()] == []
    assert [line for line in raw.splitlines() if re.match(r"\D*203\.0\.113\.9 - demo", line)] == []
    shown = deployed.fab("logs", "--lines", "2000").stdout
    assert [line for line in shown.splitlines() if not line.isprintable()] == []


def test_a_challenge_is_served_and_nothing_beside_it(deployed: World) -> None:
    place = "/docker-registry/certbot/www/.well-known/acme-challenge"
    deployed.server(f"mkdir -p {place} && cd {place} && echo answer >to_ken-1 && echo secret >to.ken")
    try:
        assert deployed.curl("/.well-known/acme-challenge/to_ken-1", port=80) == "answer\n"
        for path in ("to.ken", "", "x/to_ken-1", "%74o_ken-1%0a"):
            assert deployed.status(f"/.well-known/acme-challenge/{path}", port=80) != 200, path
    finally:
        deployed.server(f"rm {place}/to_ken-1 {place}/to.ken")
    assert deployed.login(USER, PASSWORD) == 200
