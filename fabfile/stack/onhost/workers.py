"""The processes of nginx on the host: one master, and those that it began."""

from __future__ import annotations

import contextlib
from pathlib import Path


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
