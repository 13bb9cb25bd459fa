"""A client that asks all the while, as somebody's servers do."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.sandbox.demo import DOMAIN

from .world import World

INTERVAL = 0.05


@dataclass
class Answers:
    """How many requests were made, and what went wrong with those that were lost."""

    made: int = 0
    lost: list[str] = field(default_factory=list)


@contextmanager
def asking(
    world: World, record: Callable[[str, object], None], roots: str = "", interval: float = INTERVAL
) -> Iterator[Answers]:
    """Ask port 443 for /v2/ every 50 ms, each time over a connection of its own, until it is over.

    Every request must be answered with 401: no account is used. An expired certificate counts as lost.
    roots: the authority of the certificate, as PEM; without it the sandbox's first one.
    """
    answers, ended = Answers(), threading.Event()
    roots = roots or (world.sandbox.directory / "ca.pem").read_text()
    context = ssl.create_default_context(cadata=roots)
    port = world.sandbox.port(443)

    def lost(why: str) -> None:
        answers.lost.append(f"{time.strftime('%H:%M:%S')} {why}")

    def ask() -> None:
        answers.made += 1
        try:
            with (
                socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname=DOMAIN) as tls,
            ):
                connection = http.client.HTTPConnection(DOMAIN)
                connection.sock = tls
                connection.request("GET", "/v2/")
                status = connection.getresponse().status
                if status != 401:
                    lost(f"HTTP {status}")
        except (OSError, http.client.HTTPException) as error:
            lost(repr(error))

    def loop() -> None:
        while not ended.is_set():
            start = time.monotonic()
            ask()
            ended.wait(max(0, interval - (time.monotonic() - start)))

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join()
        record("probe made", answers.made)
        record("probe lost", len(answers.lost))
    assert answers.made > 0
    told = "\n".join(answers.lost)
    assert not told, f"{len(answers.lost)} of {answers.made} requests were lost:\n{told}"
