"""The processes of nginx on the host: one master, and those that it began."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from ...machine.onhost.atomic import RefusedError
from .containers import nginx_container, run

TAKEOVER_SECONDS = 20


def workers(master: int) -> set[int]:
    """The worker processes that take new connections. One that shuts down has another title."""
    found = set()
    for pid in children(master):
        with contextlib.suppress(OSError):  # it ended in the meantime
            # Bytes: a process may give itself a name that is no text.
            if Path(f"/proc/{pid}/cmdline").read_bytes().strip(b"\0 ") == b"nginx: worker process":
                found.add(pid)
    return found


def children(master: int) -> set[int]:
    """All processes that it began, helpers too."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((process / "stat").read_bytes().rpartition(b")")[2].split()[1]) == master:
                found.add(int(process.name))
    return found


def alive(processes: dict[int, int]) -> list[int]:
    """Which of these processes are still there: with the time at which each began, as a number is used again."""
    return [pid for pid, started in processes.items() if began(pid) == started]


def began(pid: int) -> int:
    """When a process began, in ticks since the machine did (proc(5), stat, 22); 0 for none, or one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def master() -> int:
    """Process ID, on the host, of our nginx."""
    found = nginx_container()
    if not found:
        raise RefusedError("nginx does not run", "./fab -H … up")
    inspect = ["docker", "inspect", "--format", "{{.State.Pid}}", found]
    process = run(inspect, "docker inspect", "./fab -H … check").stdout.strip()
    # It may have ended since. A signal to process 0 would be one to our own group (kill(2)).
    if not process.isdecimal() or int(process) == 0:
        raise RefusedError("nginx does not run", "./fab -H … up")
    return int(process)


def renewed() -> dict[int, int]:
    """Have nginx begin new processes, with what it runs already. Returns the old ones, for workers.alive.

    These go on until their last request is done. Raises RefusedError where nginx does not run.
    """
    process = master()
    old = {pid: started for pid in children(process) if (started := began(pid))}
    serving = workers(process)
    os.kill(process, signal.SIGHUP)
    wait_for_takeover(process, serving)
    return old


def wait_for_takeover(master: int, old: set[int]) -> None:
    """`-s reload` only sends a signal: wait until no old worker takes a connection any more.

    Old workers finish what they are at, a long push for example; that is not waited for.
    """
    end = time.monotonic() + TAKEOVER_SECONDS
    while old & workers(master) or not workers(master):
        if time.monotonic() > end:
            if workers(master) - old:
                # An old one that does not end answers with what the new ones know of the accounts.
                return
            raise RefusedError("nginx does not take over the new configuration", "./fab -H … logs shows why")
        time.sleep(0.02)
