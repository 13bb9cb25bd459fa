"""Our file in /etc/cron.d."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TypedDict

from ...layout import CRON_FILE
from ...machine.onhost.atomic import replace


class Installed(TypedDict):
    """Of our file.

    changed: whether it differs, or did. daemon: whether cron runs. age: seconds since it was written, 0 where there
    is none.
    """

    changed: bool
    daemon: bool
    age: float


def install(text: str, look: str) -> Installed:
    """Write the file where it differs. Returns what was there. look: the text of machine/onhost/cron.sh."""
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
