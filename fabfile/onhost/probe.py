"""Port 80, seen from the host as the certificate authority will see it, before any order is made."""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path

# Where HTTP-01 answers lie: RFC 8555, 8.3.
CHALLENGES = ".well-known/acme-challenge"


def probe(webroot: str, names: list[str]) -> list[str]:
    """Put a random file where certbot puts its answers and fetch it by each address of each name.

    Returns what is wrong, a line each; nothing when every name leads to this server's nginx.
    """
    token = os.urandom(16).hex()
    file = Path(webroot, CHALLENGES, f"probe-{token}")
    file.parent.mkdir(parents=True, exist_ok=True)
    for directory in (file.parent, file.parent.parent):
        # nginx's workers are not root; neither may certbot's answers be hidden from them.
        directory.chmod(0o755)
    try:
        file.write_text(token)
        file.chmod(0o644)
        return [
            problem
            for name in names
            for problem in _name(name, f"/{CHALLENGES}/{file.name}", token)
        ]
    finally:
        file.unlink(missing_ok=True)


def _name(name: str, path: str, token: str) -> list[str]:
    try:
        found = socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return [f"{name} has no address in DNS"]
    addresses = sorted({str(address[0]) for *_, address in found})
    return [problem for address in addresses if (problem := _fetch(name, address, path, token))]


def _fetch(name: str, address: str, path: str, token: str) -> str:
    where = f"port 80 of {address} ({name})"
    connection = http.client.HTTPConnection(address, 80, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": name})
        response = connection.getresponse()
        body = response.read(200).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{where} does not answer: {getattr(error, 'strerror', None) or error}"
    finally:
        connection.close()
    if response.status != 200 or body != token:
        return f"{where} is answered by something else (HTTP {response.status})"
    return ""
