"""Our file in /etc/cron.d, and what it runs where DEPLOY_DIR is away."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path
from typing import TypedDict

from ...layout import AWAY_FILE, CRON_FILE, RENEW_UNHEARD
from ...machine.onhost import beneath, outside

# Cron's own comes last: what it names is there by then.
MODES = {AWAY_FILE: 0o600, CRON_FILE: 0o644}


class Installed(TypedDict):
    """Of our files.

    changed: whether they differ, or did. daemon: whether cron runs. age: seconds since cron's was written, 0 where
    there is none.
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


def install(texts: list[str], look: str) -> Installed:
    """Write the files where they differ. Returns what was there.

    texts: of cron's file, and of what it runs where DEPLOY_DIR is away; look: of machine/onhost/cron_runs.sh.
    """
    found = installed(texts, look)
    for name, text in _files(texts):
        outside.put(Path(name), text, MODES[name])
    return found


def remove() -> bool:
    """Cron runs nothing of ours any more. Returns whether it did."""
    try:
        Path(CRON_FILE).unlink()
    except FileNotFoundError:
        return False
    return True


def installed(texts: list[str], look: str) -> Installed:
    """What `install` would return. Changes nothing."""
    path = Path(CRON_FILE)
    changed = any(outside.differs(Path(name), text, MODES[name]) for name, text in _files(texts))
    age = time.time() - path.stat().st_mtime if path.is_file() else 0.0
    return {"changed": changed, "daemon": _daemon_runs(look), "age": age}


def _files(texts: list[str]) -> list[tuple[str, bytes]]:
    cron, away = texts
    return list(zip(MODES, (away.encode(), cron.encode()), strict=True))


def _daemon_runs(look: str) -> bool:
    return subprocess.run(["sh", "-c", f"{look}cron_runs"], capture_output=True, check=False).returncode == 0


def looked_at(texts: list[str], look: str, directory: str) -> LookedAt:
    """See LookedAt. Changes nothing. texts, look: as for `install`; directory: DEPLOY_DIR."""
    unheard = ""
    with contextlib.suppress(FileNotFoundError):
        unheard = beneath.text(Path(directory), RENEW_UNHEARD).strip()
    return {**installed(texts, look), "inv": _starts(directory), "unheard": unheard}


def _starts(directory: str) -> str:
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    argv = ["/bin/sh", "-c", "./inv --list"]
    done = subprocess.run(
        argv, cwd=directory, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
    return f"{last or 'it says nothing'} (exit status {done.returncode})" if done.returncode else ""
