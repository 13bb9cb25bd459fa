"""Our file in /etc/cron.d, and what it runs where DEPLOY_DIR is away."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from ...machine.onhost import outside

# Cron passes over a file whose name has a dot, without a word (cron(8)).
CRON_FILE = "/etc/cron.d/private-docker-registry"
AWAY_FILE = f"{outside.DIRECTORY}/away"
MODES = {CRON_FILE: 0o644, AWAY_FILE: 0o600}


def install(texts: list[str]) -> dict[str, Any]:
    """Write the two files where they differ. Returns {"changed", "daemon": whether cron runs, "age": seconds since
    cron's was written, 0 where there was none}.

    texts: of cron's file, and of what it runs where DEPLOY_DIR is away.
    """
    found = installed(texts)
    # Cron's own comes last: what it names is there by then.
    for name, text in reversed(_files(texts)):
        outside.put(Path(name), text, MODES[name])
    return found


def installed(texts: list[str]) -> dict[str, Any]:
    """What `install` would return. Changes nothing."""
    path = Path(CRON_FILE)
    changed = any(outside.differs(Path(name), text, MODES[name]) for name, text in _files(texts))
    age = time.time() - path.stat().st_mtime if path.is_file() else 0.0
    return {"changed": changed, "daemon": _daemon_runs(), "age": age}


def _files(texts: list[str]) -> list[tuple[str, bytes]]:
    return [(name, text.encode()) for name, text in zip(MODES, texts, strict=True)]


def _daemon_runs() -> bool:
    """Not one in a container: their processes are here, too, in another PID namespace."""
    own = Path("/proc/self/ns/pid").readlink()
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # the process ended in the meantime
            if comm.read_bytes().strip() in (b"cron", b"crond") and own == (comm.parent / "ns/pid").readlink():
                return True
    return False
