"""What the host remembers of its certificate authority: failures, pauses, and what was alerted.

One JSON file: {ACME directory: see `remembered`, "alerted": problem}.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from ...machine.onhost.atomic import replace
from ...machine.onhost.reserve import given

ALERT_SECONDS = 60
# No limit of an authority is longer than a week; one of years would be a mistake and end all renewals.
LONGEST_RETRY_AFTER = 8 * 86400


def remembered(path: str, server: str) -> dict[str, Any]:
    """{"failures": in a row, "since": when the last one was, in seconds since 1970, "next": before when nothing is
    asked, "reason": of the last failure, "unseen": addresses of ours that this host cannot see though the authority can,
    "learned": whether that was ever looked at, "now": this host's clock}.
    """
    found: dict[str, Any] = {
        "failures": 0,
        "since": 0.0,
        "next": 0.0,
        "reason": "",
        "unseen": [],
        "learned": False,
    }
    found.update(_read(Path(path)).get(server, {}), now=time.time())
    return found


def failed(path: str, server: str, reason: str, pauses: list[float], retry_after: float) -> dict[str, Any]:
    """Remember a failure; the pause after it grows from one to the next. See `remembered`.

    pauses: in seconds, the last one for every failure from there on; retry_after: seconds since 1970,
    what the authority itself said, or 0; eight days at most count. A pause is a little shorter than that: cron, which comes at the
    same minute of another day, must not come a moment too early.
    """
    now = remembered(path, server)
    now["since"] = now.pop("now")
    now["failures"] += 1
    now["reason"] = reason
    pause = pauses[min(now["failures"], len(pauses)) - 1]
    named = min(retry_after, now["since"] + LONGEST_RETRY_AFTER)
    now["next"] = max(now["since"] + 0.98 * pause, named)
    _write(Path(path), server, now)
    return now


def succeeded(path: str, server: str, unseen: list[str] | None = None) -> None:
    """Forget the failures. unseen: addresses at which the self-test failed, though the order did not."""
    now = remembered(path, server)
    kept = now["unseen"] if unseen is None else unseen
    learned = now["learned"] or unseen is not None
    new = {
        "failures": 0,
        "since": 0.0,
        "next": 0.0,
        "reason": "",
        "unseen": kept,
        "learned": learned,
    }
    if any(now[key] != value for key, value in new.items()):
        _write(Path(path), server, new)


def unseen(path: str, server: str, addresses: list[str]) -> None:
    """Remember at which addresses the host does not see itself. Failures and pauses stay."""
    now = remembered(path, server)
    if addresses != now["unseen"] or not now["learned"]:
        del now["now"]
        _write(Path(path), server, now | {"unseen": addresses, "learned": True})


def alert(path: str, problem: str, command: str, message: str, keep: str = "") -> str:
    """Run a command with the message on standard input, unless it was run for this problem already.

    problem: what makes one problem the same as another; "" when all is well, which only forgets what was told
    of other things than `keep`.
    Returns "sent", "known" or what went wrong with the command.
    """
    file = Path(path)
    told = _read(file).get("alerted", "")
    if told == problem or (not problem and keep and keep in told):
        return "known"
    outcome = "sent"
    if problem:
        try:
            # Through the environment: an argument, maybe with a token in it, is everybody's to see.
            done = subprocess.run(
                ["/bin/sh", "-c", 'eval "$ALERT_COMMAND"'], env={**os.environ, "ALERT_COMMAND": command}, input=message + "\n", text=True, timeout=ALERT_SECONDS,
                capture_output=True, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"it did not end within {ALERT_SECONDS} s"
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            # It is not remembered: the next run tries to tell again.
            return f"exit status {done.returncode}: {last}"
    _write(file, "alerted", problem)
    return outcome


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    return {}


def _write(path: Path, key: str, value: Any) -> None:
    """On a full disk nothing is remembered: what happened is more than that it cannot be written down."""
    with contextlib.suppress(OSError), given(path.parent.parent):
        replace(path, json.dumps(_read(path) | {key: value}, indent=1).encode(), 0o600)
