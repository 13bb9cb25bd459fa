"""Our file in /etc/cron.d."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TypedDict

from ...machine.onhost.atomic import replace

# Cron passes over a file whose name has a dot, without a word (cron(8)).
CRON_FILE = "/etc/cron.d/private-docker-registry"


class Installed(TypedDict):
    """Of our file.

    changed: whether it differs, or did. daemon: whether cron runs. age: seconds since it was written, 0 where there
    is none.
    """

    changed: bool
    daemon: bool
    age: float


def install(text: str) -> Installed:
    """Write the file where it differs. Returns what was there."""
    found = installed(text)
    if found["changed"]:
        path = Path(CRON_FILE)
        path.parent.mkdir(exist_ok=True)
        replace(path, text.encode(), 0o644)
    return found


def installed(text: str) -> Installed:
    """What `install` would return. Changes nothing."""
    path = Path(CRON_FILE)
    changed = not path.is_file() or path.read_text() != text or path.stat().st_mode & 0o777 != 0o644
    age = time.time() - path.stat().st_mtime if path.is_file() else 0.0
    return {"changed": changed, "daemon": _daemon_runs(), "age": age}


def _daemon_runs() -> bool:
    """Not one in a container: their processes are here, too, in another PID namespace."""
    own = Path("/proc/self/ns/pid").readlink()
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # the process ended in the meantime
            if comm.read_bytes().strip() in (b"cron", b"crond") and own == (comm.parent / "ns/pid").readlink():
                return True
    return False
