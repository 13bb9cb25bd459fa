"""Port 80, seen as the certificate authority will see it, before any order is made."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import socket
from pathlib import Path
from typing import Any

from ...machine.onhost import beneath
from ...machine.onhost.reserve import given

# Where HTTP-01 answers lie: RFC 8555, 8.3.
NO_WAY = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
CHALLENGES = ".well-known/acme-challenge"


def place(webroot: str) -> str:
    """Put a random file where certbot puts its answers. Returns its name, which is its content too."""
    token = f"probe-{os.urandom(16).hex()}"
    # nginx's workers are not root; neither may certbot's answers be hidden from them.
    with (
        given(Path(webroot).parent.parent),
        beneath.directory(Path(webroot), CHALLENGES, make=0o755) as directory,
    ):
        beneath.write_new(directory, token, token.encode(), 0o644)
    return token


def remove(webroot: str, token: str) -> None:
    """Take the file away again."""
    with (
        contextlib.suppress(FileNotFoundError),
        beneath.directory(Path(webroot), CHALLENGES) as directory,
    ):
        os.unlink(token, dir_fd=directory)


def fetch(names: list[str], token: str, port: int = 80) -> dict[str, Any]:
    """Fetch the file by each address of each name, from the machine that this runs on.

    Returns {"nameless": names without an address, "unanswered": names of which no DNS server says anything, "wrong": {address: what is wrong}, "right": addresses,
    "unreachable": addresses in "wrong" to which this machine has no way at all, an IPv6 one for example}.
    """
    nameless: list[str] = []
    unanswered: list[str] = []
    right: list[str] = []
    unreachable: list[str] = []
    wrong: dict[str, str] = {}
    for name in names:
        try:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            (unanswered if error.errno == socket.EAI_AGAIN else nameless).append(name)
            continue
        for address in sorted({str(address[0]) for *_, address in found}):
            try:
                problem = _fetch(name, address, port, token)
            except OSError as error:
                problem = f"port {port} of {address} ({name}) does not answer: {error.strerror or error}"
                if error.errno in NO_WAY:
                    unreachable.append(address)
            if problem:
                wrong[address] = problem
            else:
                right.append(address)
    return {
        "nameless": nameless, "unanswered": unanswered, "wrong": wrong, "right": right, "unreachable": unreachable,
    }  # fmt: skip


def _fetch(name: str, address: str, port: int, token: str) -> str:
    where = f"port {port} of {address} ({name})"
    connection = http.client.HTTPConnection(address, port, timeout=10)
    try:
        connection.request("GET", f"/{CHALLENGES}/{token}", headers={"Host": name})
        response = connection.getresponse()
        body = response.read(200).decode("utf-8", "replace")
    except http.client.HTTPException as error:
        return f"{where} does not speak HTTP: {error!r}"
    finally:
        connection.close()
    if response.status != 200 or body != token:
        return f"{where} is answered by something else (HTTP {response.status})"
    return ""
