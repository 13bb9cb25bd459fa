"""Our file in /etc/cron.d."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path
from typing import TypedDict

from ...layout import CRON_FILE, RENEW_UNHEARD
from ...machine.onhost import beneath
from ...machine.onhost.atomic import replace


class Installed(TypedDict):
    """Of our file.

    changed: whether it differs, or did. daemon: whether cron runs. age: seconds since it was written, 0 where there
    is none.
    """

    changed: bool
    daemon: bool
    age: float


class LookedAt(Installed):
    """And whether cron's job comes to something.

    inv: why `./inv` does not start as cron would start it. unheard: what by-cron.sh could not have `inv` tell. '' for
    nothing.
    """

    inv: str
    unheard: str


def install(text: str, look: str) -> Installed:
    """Write the file where it differs. Returns what was there. look: the text of machine/onhost/cron_runs.sh."""
    found = installed(text, look)
    if found["changed"]:
        path = Path(CRON_FILE)
        path.parent.mkdir(exist_ok=True)
        replace(path, text.encode(), 0o644)
    return found


def installed(text: str, look: str) -> Installed:
    """What `install` would return. Changes nothing."""
    path = Path(CRON_FILE)
    changed = not path.is_file() or path.read_text() != text or path.stat().st_mode & 0o777 != 0o644
    age = time.time() - path.stat().st_mtime if path.is_file() else 0.0
    return {"changed": changed, "daemon": _daemon_runs(look), "age": age}


def _daemon_runs(look: str) -> bool:
    return subprocess.run(["sh", "-c", f"{look}cron_runs"], capture_output=True, check=False).returncode == 0


def looked_at(text: str, look: str, directory: str) -> LookedAt:
    """See LookedAt. Changes nothing. look: as for `install`; directory: DEPLOY_DIR."""
    unheard = ""
    with contextlib.suppress(FileNotFoundError):
        unheard = beneath.text(Path(directory), RENEW_UNHEARD).strip()
    return {**installed(text, look), "inv": _starts(directory), "unheard": unheard}


def _starts(directory: str) -> str:
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    argv = ["/bin/sh", "-c", "./inv --list"]
    done = subprocess.run(
        argv, cwd=directory, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
    return f"{last or 'it says nothing'} (exit status {done.returncode})" if done.returncode else ""
