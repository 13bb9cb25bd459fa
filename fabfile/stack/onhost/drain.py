"""A server that takes leave of the others: /health says so first, then nginx lets nobody new in, and finishes."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from ...layout import DRAINING, FULL
from .beside import listening
from .containers import inspected, nginx_container

ESTABLISHED = "01"


def begin(directory: str) -> None:
    """Have /health say that this server takes leave; it serves on. Nothing is reloaded."""
    place = Path(directory, FULL)
    if place.is_dir():
        Path(directory, DRAINING).touch()


def end(directory: str) -> bool:
    """It stays. Returns whether it was to go."""
    try:
        Path(directory, DRAINING).unlink()
    except FileNotFoundError:
        return False
    return True


def leave(directory: str, seconds: float) -> int:
    """Let nobody new in, and wait until what nginx is at has ended. Who comes now is refused, and asks another server.

    seconds: to wait at most; what is not done then is cut off. Returns how many connections that were. nginx does not
    run afterwards.
    """
    container = nginx_container()
    if not container:
        return 0
    pid = int(inspected([container])[0]["State"]["Pid"])
    # SIGQUIT (compose.yml): the listeners are closed at once.
    with subprocess.Popen(
        ["docker", "stop", "--time", str(int(seconds)), container],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as stopping:  # fmt: skip
        cut, until = 0, time.monotonic() + seconds
        while stopping.poll() is None:
            if time.monotonic() < until:
                cut = listening(pid, ESTABLISHED)
            time.sleep(0.05)
    return cut if time.monotonic() >= until else 0
