"""An nginx that stands in for the second in which one takes the place of another.

It is the nginx that compose.yml names, with all but ports 80 and 443 of the host. So it shows first that this one
starts and is healthy. In that second the host leads new connections over IPv4 to it, as Docker leads them to
the one that has the ports (iptables-extensions(8), DNAT). It ends with its last request, and nobody waits for that.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...layout import PROJECT, Service
from ...machine.onhost.atomic import RefusedError
from .beside import listening
from .containers import NOT_STARTED, await_healthy, compose, inspected, last_words, run
from .retire import LONGEST

LISTENING_SECONDS = 10
# Of the host, which lead to the same ones of every nginx of ours.
PORTS = ("80", "443")
# New connections, and whose rule it is.
NEW = ("--syn", "-m", "addrtype", "--dst-type", "LOCAL", "-m", "comment", "--comment", PROJECT)


class Rule(NamedTuple):
    """What happens to new connections. program: iptables or ip6tables; how: what follows of NEW; ports: of the host."""

    program: str
    table: str
    how: tuple[str, ...]
    ports: tuple[str, ...] = PORTS

    def command(self, option: str) -> list[str]:
        """option: -I puts it in, -D takes it out."""
        to = ("PREROUTING", "-p", "tcp", "-m", "multiport", "--dports", ",".join(self.ports))
        return [self.program, "-w", "1", "-t", self.table, option, *to, *NEW, *self.how]

    def carry_out(self, option: str) -> bool:
        """Returns False where it could not be done, as there is no iptables."""
        with contextlib.suppress(FileNotFoundError, subprocess.TimeoutExpired):
            argv = self.command(option)
            done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=2, check=False)
            return done.returncode == 0
        return False


class StandIn(NamedTuple):
    """address: of the container, with the bits of its network, as 172.18.0.4/16."""

    address: str

    @property
    def way(self) -> Rule:
        """New connections are led to it. Not those of its neighbours: its answers would not come by the host."""
        to = self.address.partition("/")[0]
        return Rule("iptables", "nat", ("!", "-s", self.address, "-j", "DNAT", "--to-destination", to))


def outliving(script: str) -> subprocess.Popen[bytes]:
    """A shell that goes on when we are killed: it sees that by its standard input, which ends then."""
    return subprocess.Popen(
        ["sh", "-c", script], start_new_session=True, cwd="/",
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@contextlib.contextmanager
def standing_in(root: Path) -> Iterator[StandIn]:
    """Start it, and wait until it is healthy; in the end, or when we are killed, it ends once nobody is led to it.

    Raises RefusedError with what its log says where it does not get as far: then it is gone.
    """
    name = f"{PROJECT}-{Service.NGINX}-run-{os.urandom(4).hex()}"
    # Before it is there, there is somebody who ends it. What was let in a moment ago is taken out of the queue first.
    script = (
        f"cat >/dev/null; while iptables -w 1 -t nat -S PREROUTING | grep -q {PROJECT}; do sleep 1; done; sleep 1; "
        f"for n in 1 2 3 4 5; do docker kill --signal QUIT {name} && break; sleep 1; done; "
        f"timeout {LONGEST} docker wait {name}; docker rm --force --volumes {name}"
    )
    guard = outliving(script)
    try:
        try:
            # Docker lets packets through to what is published alone, wherever that is.
            ports = ("--publish", "127.0.0.1::80", "--publish", "127.0.0.1::443")
            options = ("--detach", "--no-deps", "--quiet-pull", "--name", name)
            run(compose(root, "run", *options, *ports, Service.NGINX), "docker compose run", NOT_STARTED)
            await_listening(name, name)
            await_healthy([name])
            network = next(iter(inspected([name])[0]["NetworkSettings"]["Networks"].values()))
        except BaseException:
            subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True,
                           stdin=subprocess.DEVNULL, check=False)  # fmt: skip
            raise
        yield StandIn(f"{network['IPAddress']}/{network['IPPrefixLen']}")
    finally:
        if guard.stdin:
            guard.stdin.close()


def await_listening(container: str, name: str) -> None:
    """Wait until an nginx listens. Raises RefusedError with what its log says where it does not."""
    end = time.monotonic() + LISTENING_SECONDS
    while time.monotonic() < end:
        found = inspected([container])[0]
        state = found["State"]
        if state["Running"] and listening(int(state["Pid"])):
            return
        if found["RestartCount"] or state["Status"] == "exited":
            break
        time.sleep(0.02)
    raise RefusedError(f"container {name} does not start: {last_words(name)}", NOT_STARTED)
