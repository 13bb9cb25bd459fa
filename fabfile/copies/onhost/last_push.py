"""The end of pushing on a server that another one takes over from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ...layout import Service
from ...machine.onhost import store
from ...machine.onhost.atomic import RefusedError
from ...stack.onhost import beside
from ...stack.onhost.containers import nginx_container
from ...store.onhost.barrier import passed

# Most pushes are done by then.
SECONDS = 60.0


def done(directory: str) -> str:
    """Wait until no request is under way that began before pushes were refused. Returns what was cut off, or ''.

    What takes longer than SECONDS is cut off at the registry, by a restart of it: its client was told nothing yet.
    """
    if not passed(SECONDS):
        return ""
    ids = [each["id"] for each in beside.there() if each["running"] and each["service"] == Service.REGISTRY]
    if ids:
        subprocess.run(["docker", "restart", *ids], check=True, capture_output=True)
    return "pushes that went on for a minute were cut off"


def answers(directory: str) -> bool:
    """Whether the registry is there and serves. Changes nothing."""
    try:
        store.require(Path(directory))
        running = {each["service"] for each in beside.there() if each["running"]}
        return bool(nginx_container()) and Service.REGISTRY in running
    except (RefusedError, OSError, subprocess.SubprocessError):
        return False
