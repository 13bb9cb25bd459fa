"""A server that takes leave of the others: /health says so first, then nginx lets nobody new in, and finishes."""

from __future__ import annotations

from pathlib import Path

from ...layout import DRAINING, FULL
from . import door
from .containers import nginx_container


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
    return door.stop(container, int(seconds)) if container else 0
