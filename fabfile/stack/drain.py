"""One of several servers goes for a while: those who choose a server by its health choose another one first."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from ..machine.host import Host
from ..settings import Settings
from .onhost import drain as onhost

# Load balancers look every five seconds (docs/balancer.md), and believe the second answer.
NOTICED = 10.0


@contextlib.contextmanager
def leaving(host: Host, settings: Settings) -> Iterator[None]:
    """Have nobody sent to this server while something is changed there. It serves whoever comes all the same.

    With one server there is nobody else to be sent to: nothing is done then.
    """
    if not settings.fleet:
        yield
        return
    begin(host, settings)
    try:
        yield
    finally:
        host.call(onhost.end, settings.deploy_dir)


def begin(host: Host, settings: Settings) -> None:
    """Have /health say it, and wait until a load balancer has noticed."""
    host.call(onhost.begin, settings.deploy_dir)
    if settings.load_balancer:
        time.sleep(NOTICED)
