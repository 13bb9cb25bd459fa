"""The end of a container that served: its last requests are done first, and nobody waits for that.

A process of its own, on the host, does: it goes on when the connection ends that began it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from ...layout import Service
from .beside import Found, rename
from .workers import alive

# In the name of a container that somebody lets end.
ENDS = "-ends"
# No request is waited for longer. The registry's own limit is in config.yml (draintimeout).
LONGEST = 12 * 3600


def retire(found: Sequence[Found], asking: Mapping[int, int]) -> None:
    """Let these containers end, and be removed, once nobody asks them any more.

    asking: processes of nginx that still may (workers.renewed): what is under way in them is not cut off.
    """
    for each in found:
        rename(each, f"{each['name']}{ENDS}")
    if found:
        apart(lambda: _finish(found, dict(asking)))


def apart(action: Callable[[], None]) -> None:
    """Do it in a process that nobody waits for, and that holds nothing of ours: no lock, no connection."""
    if child := os.fork():
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            for handle in (0, 1, 2):
                os.dup2(nothing, handle)
            os.closerange(3, 65536)
            os.chdir("/")
            action()
    finally:
        os._exit(0)


def _finish(found: Sequence[Found], asking: dict[int, int]) -> None:
    end = time.monotonic() + LONGEST
    while alive(asking) and time.monotonic() < end:
        time.sleep(0.5)
    for each in found:
        if each["service"] != Service.NGINX:
            # What it is at, it finishes.
            _docker("kill", "--signal", "TERM", each["id"])
    for each in found:
        with contextlib.suppress(subprocess.TimeoutExpired):
            _docker("wait", each["id"])
        _docker("rm", "--force", "--volumes", each["id"])


def _docker(*args: str) -> None:
    subprocess.run(["docker", *args], capture_output=True, stdin=subprocess.DEVNULL, timeout=LONGEST, check=False)
