"""How much there may be of everything at once, in one place: derived from the server's memory and cores.

One address at its limits must leave room for all others, and all together must fit the memory that nginx has:
a process that takes more is killed, with every push and pull that it carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor, log2

MB = 1 << 20
# nginx with nothing to do (zones, workers, and its memory file system for answers about passwords), a connection
# with a begun header, and a pull at 128 KB of output_buffers. Measured with the kernel's share of it.
AT_REST, IDLE, PULL = 72 * MB, 34_000, 220_000
# Slots for connections, for each request that may be under way: one for the client, one for the registry
# behind it, and as many for those who only begin.
SLOTS = 4
# Seconds that a password check takes one core, at bcrypt's cost 12.
CHECK = 0.25
# Seconds that somebody waits at most for the checks before.
PATIENCE = 15


@dataclass(frozen=True)
class Capacity:
    """Limits of the stack on one server. Memory in MB."""

    workers: int
    connections: int  # of each worker
    descriptors: int  # of each worker
    nginx_memory: int
    registry_memory: int
    auth_memory: int
    requests: int  # of all addresses but the gateway's
    requests_of_one: int  # of each address
    requests_of_gateway: int  # of the bridge's: all clients over IPv6 or Docker's own proxy
    checks: int  # passwords that are looked at, at once, of all addresses but the gateway's
    checks_of_one: int
    checks_of_gateway: int
    checks_a_second: int  # that one address is let through to
    checks_waiting: int


def derived(size: Mapping[str, int]) -> Capacity:
    """The limits for a server of that size: see onhost.machine.size."""
    cores, memory = max(1, size["cores"]), _class(size["memory"])
    nginx = min(max(192 * MB, memory * 3 // 8), 4096 * MB)
    # A sixth is for what was not foreseen.
    budget = nginx * 5 // 6 - AT_REST
    requests = budget // (PULL + (SLOTS - 2) * IDLE)
    workers = min(cores, 16)
    connections = SLOTS * requests // workers
    pace = max(2, round(cores / CHECK / 2))
    checks = 16 * cores
    return Capacity(
        workers=workers,
        connections=connections,
        descriptors=2 * connections,
        nginx_memory=nginx // MB,
        registry_memory=min(max(192 * MB, memory * 3 // 8), 4096 * MB) // MB,
        auth_memory=min(max(96 * MB, memory // 16), 256 * MB) // MB,
        requests=requests * 2 // 3,
        requests_of_one=max(64, requests // 8),
        requests_of_gateway=requests // 3,
        checks=checks,
        checks_of_one=checks * 3 // 4,
        checks_of_gateway=checks // 2,
        checks_a_second=pace,
        checks_waiting=pace * PATIENCE,
    )


def _class(memory: int) -> int:
    """The power of two below it: a new kernel that leaves a megabyte less replaces no container.

    A server that is sold with 2 GB has 1.9.
    """
    return 1 << floor(log2(max(memory, 512 * MB) * 1.15))
