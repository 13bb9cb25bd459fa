"""Our file in /etc/cron.d."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path
from typing import Any

from ...machine.onhost import beneath
from ...machine.onhost.atomic import replace

# Cron passes over a file whose name has a dot, without a word (cron(8)).
CRON_FILE = "/etc/cron.d/private-docker-registry"


def install(text: str) -> dict[str, Any]:
    """Write the file where it differs. Returns {"changed", "daemon": whether cron runs, "age": seconds since
    the file was written, 0 where there was none}.
    """
    found = installed(text)
    if found["changed"]:
        path = Path(CRON_FILE)
        path.parent.mkdir(exist_ok=True)
        replace(path, text.encode(), 0o644)
    return found


def installed(text: str) -> dict[str, Any]:
    """What `install` would return. Changes nothing."""
    path = Path(CRON_FILE)
    changed = not path.is_file() or path.read_text() != text or path.stat().st_mode & 0o777 != 0o644
    age = time.time() - path.stat().st_mtime if path.is_file() else 0.0
    return {"changed": changed, "daemon": _daemon_runs(), "age": age}


def looked_at(text: str, directory: str) -> dict[str, Any]:
    """`installed`, and {"inv": why `./inv` does not start as cron would start it, "unheard": what by-cron.sh could not
    have `inv` tell}; '' for nothing. Changes nothing.
    """
    with contextlib.suppress(FileNotFoundError):
        unheard = beneath.text(Path(directory), "log/renew.unheard").strip()
        return installed(text) | {"inv": _starts(directory), "unheard": unheard}
    return installed(text) | {"inv": _starts(directory), "unheard": ""}


def _starts(directory: str) -> str:
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    argv = ["/bin/sh", "-c", "./inv --list"]
    done = subprocess.run(
        argv, cwd=directory, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
    return f"{last or 'it says nothing'} (exit status {done.returncode})" if done.returncode else ""


def _daemon_runs() -> bool:
    """Not one in a container: their processes are here, too, in another PID namespace."""
    own = Path("/proc/self/ns/pid").readlink()
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # the process ended in the meantime
            if comm.read_bytes().strip() in (b"cron", b"crond") and own == (comm.parent / "ns/pid").readlink():
                return True
    return False
