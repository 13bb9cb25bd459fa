"""Port 80 as the certificate authority will see it, before any order is made; and both ports as a client sees them."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict

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


class Seen(TypedDict):
    """What one machine sees of the file.

    nameless: names without an address. unanswered: names of which no DNS server says anything. wrong: address -> what
    is wrong. right: addresses. unreachable: those in `wrong` to which the machine has no way at all, an IPv6 one for
    example.
    """

    nameless: list[str]
    unanswered: list[str]
    wrong: dict[str, str]
    right: list[str]
    unreachable: list[str]


def mine(names: list[str]) -> list[str]:
    """Those addresses of the names that this machine has itself: of several servers of one registry, its own."""
    found: set[str] = set()
    for name in names:
        with contextlib.suppress(socket.gaierror):
            found |= {str(each[0]) for *_, each in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)}
    return sorted(filter(_own, found))


class Knocked(Seen):
    """What one machine sees of a port. own: addresses of this machine itself, which say nothing about who gets in from
    outside. What is in `own` or `unreachable` is in no other.
    """

    own: list[str]


def fetch(names: list[str], token: str, port: int = 80, answer: str = "") -> Seen:
    """Fetch the file by each address of each name, from the machine that this runs on.

    answer: what must come, where that is not the token itself.
    """
    return _each(names, port, lambda name, address: _fetch(name, address, port, token, answer or token))


def knock(names: list[str], port: int) -> Knocked:
    """Whether a port of each address of each name answers, with TLS for that name where it is 443."""
    found = _each(names, port, lambda name, address: _knock(name, address, port))
    own = sorted(address for address in (*found["right"], *found["wrong"]) if _own(address))
    gone = {*own, *found["unreachable"]}
    return {
        **found,
        "own": own,
        "right": [address for address in found["right"] if address not in gone],
        "wrong": {address: why for address, why in found["wrong"].items() if address not in gone},
    }


def _each(names: list[str], port: int, ask: Callable[[str, str], str]) -> Seen:
    """ask: says what is wrong with an address of a name, '' when nothing is, or raises OSError."""
    found: Seen = {"nameless": [], "unanswered": [], "wrong": {}, "right": [], "unreachable": []}
    todo: list[tuple[str, str]] = []
    for name in names:
        try:
            addresses = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            found["unanswered" if error.errno == socket.EAI_AGAIN else "nameless"].append(name)
            continue
        todo += [(name, address) for address in sorted({str(each[0]) for *_, each in addresses})]

    def one(pair: tuple[str, str]) -> tuple[str, bool]:
        name, address = pair
        try:
            return ask(name, address), False
        except OSError as error:
            text = f"port {port} of {address} ({name}) does not answer: {error.strerror or error}"
            return text, error.errno in NO_WAY

    # At once: each that does not answer takes its time.
    with ThreadPoolExecutor(max_workers=8) as pool:
        for (_, address), (problem, no_way) in zip(todo, pool.map(one, todo), strict=True):
            if problem:
                found["wrong"][address] = problem
            elif address not in found["right"]:
                found["right"].append(address)
            if no_way:
                found["unreachable"].append(address)
    return found


def _knock(name: str, address: str, port: int) -> str:
    with socket.create_connection((address, port), timeout=10) as plain:
        if port != 443:
            return ""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Whether anybody is there; whom clients trust is their business.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with context.wrap_socket(plain, server_hostname=name):
                return ""
        except ssl.SSLError as error:
            where = f"port {port} of {address} ({name})"
            return f"{where} is answered by something else: no TLS for this name ({error.reason})"


def _own(address: str) -> bool:
    """Whether this machine has the address: only its own can be bound."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def _fetch(name: str, address: str, port: int, token: str, answer: str) -> str:
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
    if response.status == 200 and body.startswith(f"{token}.") and body != answer:
        return f"{where} answers for another account at the authority: ./fab bootstrap hands the right one on"
    if response.status != 200 or body != answer:
        return f"{where} is answered by something else (HTTP {response.status})"
    return ""
