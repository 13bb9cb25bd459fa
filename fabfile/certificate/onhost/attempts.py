"""What the host remembers of its certificate authority: failures, pauses, and what was alerted.

One JSON file: {ACME directory: see `Memory`, "alerted": problem, "alerted_reason": its reason}.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, TypedDict, cast

from ...machine.onhost.atomic import replace
from ...machine.onhost.reserve import given

ALERT_SECONDS = 60
# No limit of an authority is longer than a week; one of years would be a mistake and end all renewals.
LONGEST_RETRY_AFTER = 8 * 86400


class Memory(TypedDict):
    """What the host remembers of an ACME server. Times in seconds since 1970.

    failures: in a row. since: when the last one was. next: before when nothing is asked. reason: of the last failure.
    unseen: addresses of ours that this host cannot see though the authority can. learned: whether that was ever
    looked at. now: this host's clock.
    """

    failures: int
    since: float
    next: float
    reason: str
    unseen: list[str]
    learned: bool
    now: float


def remembered(path: str, server: str) -> Memory:
    """What the host remembers of that server. Changes nothing."""
    found: Memory = {
        "failures": 0,
        "since": 0.0,
        "next": 0.0,
        "reason": "",
        "unseen": [],
        "learned": False,
        "now": 0.0,
    }
    kept = _read(Path(path)).get(server)
    if isinstance(kept, dict):
        found.update(cast("Memory", kept))
    found["now"] = time.time()
    return found


def failed(path: str, server: str, reason: str, pauses: list[float], retry_after: float) -> Memory:
    """Remember a failure; the pause after it grows from one to the next.

    pauses: in seconds, the last one for every failure from there on; retry_after: seconds since 1970,
    what the authority itself said, or 0; eight days at most count.
    """
    now = remembered(path, server)
    now["since"] = now["now"]
    now["failures"] += 1
    now["reason"] = reason
    pause = pauses[min(now["failures"], len(pauses)) - 1]
    named = min(retry_after, now["since"] + LONGEST_RETRY_AFTER)
    now["next"] = max(now["since"] + pause, named)
    _keep(path, server, now)
    return now


def succeeded(path: str, server: str, unseen: list[str] | None = None) -> None:
    """Forget the failures. unseen: addresses at which the self-test failed, though the order did not."""
    now = remembered(path, server)
    new: Memory = {
        "failures": 0,
        "since": 0.0,
        "next": 0.0,
        "reason": "",
        "unseen": now["unseen"] if unseen is None else unseen,
        "learned": now["learned"] or unseen is not None,
        "now": now["now"],
    }
    if now != new:
        _keep(path, server, new)


def unseen(path: str, server: str, addresses: list[str]) -> None:
    """Remember at which addresses the host does not see itself. Failures and pauses stay."""
    now = remembered(path, server)
    if addresses != now["unseen"] or not now["learned"]:
        _keep(path, server, {**now, "unseen": addresses, "learned": True})


def alert(path: str, problem: str, command: str, message: str, reason: str = "") -> str:
    """Run a command with the message on standard input, unless it was run for this problem already.

    problem: what makes one problem the same as another; "" when all is well. reason: of the problem, see
    errors.ExpectedError; when all is well, one that may not be over: what was told for it is not forgotten.
    Returns "sent", "known" or what went wrong with the command.
    """
    file = Path(path)
    before = _read(file)
    if before.get("alerted", "") == problem or (not problem and reason and before.get("alerted_reason") == reason):
        return "known"
    # It is not remembered then: the next run tries to tell again.
    if problem and (failed := tell(command, message)):
        return failed
    _write(file, {"alerted": problem, "alerted_reason": reason})
    return "sent"


def tell(command: str, message: str) -> str:
    """Run a command with the message on standard input. Returns what went wrong with it, '' for nothing."""
    try:
        # Through the environment: an argument, maybe with a token in it, is everybody's to see.
        done = subprocess.run(
            ["/bin/sh", "-c", 'eval "$ALERT_COMMAND"'], env={**os.environ, "ALERT_COMMAND": command},
            input=message + "\n", text=True, timeout=ALERT_SECONDS, capture_output=True, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"it did not end within {ALERT_SECONDS} s"
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"exit status {done.returncode}: {last}" if done.returncode else ""


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        found = json.loads(path.read_text())
        return found if isinstance(found, dict) else {}
    return {}


def _keep(path: str, server: str, memory: Memory) -> None:
    _write(Path(path), {server: {key: value for key, value in memory.items() if key != "now"}})


def _write(path: Path, changes: dict[str, Any]) -> None:
    """On a full disk nothing is remembered: what happened is more than that it cannot be written down."""
    with contextlib.suppress(OSError), given(path.parent.parent):
        replace(path, json.dumps(_read(path) | changes, indent=1).encode(), 0o600)
