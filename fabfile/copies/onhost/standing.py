"""Who this server is beside another one: the first, a standby, or one that another took over from.

`standby/state.json` says it; `nginx/full/standby.json` has nginx refuse every push and delete, with the sentence in it.
An epoch goes with it, which grows when a standby takes over: of two that were the first, the higher one is.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TypedDict, cast

from ...layout import FULL, FULL_STANDBY, LOG, NGINX, STANDBY, STANDBY_COPIED, STANDBY_LOST, STANDBY_STATE
from ...machine.onhost.atomic import RefusedError, replace

FIRST, SECOND, FORMER = "first", "standby", "former"


class State(TypedDict):
    """What state.json says.

    role: FIRST, SECOND or FORMER. other: how people name the other server. copied: of a standby that took over, the
    first one's clock at the last copy, in seconds since 1970; else 0. since: when the role began.
    """

    role: str
    epoch: int
    other: str
    copied: float
    since: float


class Copied(TypedDict):
    """The last copy, as both remember it.

    token: see since.py, of its begin. when: its begin by the first one's clock; good: when it was last known that the
    standby has all of it, by the clock of whoever remembers; whole: when it was last compared in full; in seconds since
    1970. waiting: the copy that is being fetched, of the first one: token, time and tags. problem: why the last run of
    the standby failed. untold: whether nginx has to be told of accounts or a certificate. settings: whether the first
    one's settings are others.
    """

    token: str
    when: float
    good: float
    whole: float
    tags: int
    references: str
    waiting: str
    problem: str
    untold: bool
    settings: bool


NEVER: Copied = {
    "token": "", "when": 0.0, "good": 0.0, "whole": 0.0, "tags": 0, "references": "", "waiting": "", "problem": "",
    "untold": False, "settings": False,
}  # fmt: skip


def read(directory: str) -> State | None:
    """What it is; None for a server that knows of no other. Raises RefusedError where that cannot be read."""
    path = Path(directory, STANDBY_STATE)
    try:
        return cast("State", json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RefusedError(f"{path} cannot be read: {error}", "./fab standby writes it anew") from None


def begin(directory: str, role: str, other: str, epoch: int) -> None:
    """Be the first, or a standby, beside that other one. What this one was before is gone on with where it is so."""
    root = Path(directory)
    was = read(directory)
    (root / STANDBY).mkdir(mode=0o700, exist_ok=True)
    if role == SECOND:
        _refuse(root, f"this server stands by and takes no push and no delete: both go to {other}")
        if was is None or was["role"] != SECOND:
            # What was copied to it in another life says nothing.
            (root / STANDBY_COPIED).unlink(missing_ok=True)
            (root / STANDBY_LOST).unlink(missing_ok=True)
    if was is None or (was["role"], was["epoch"], was["other"]) != (role, epoch, other):
        write(root, {"role": role, "epoch": epoch, "other": other, "copied": 0.0, "since": time.time()})
    if role == FIRST:
        # Of a `promote` that did not come to its end.
        (root / FULL / f"{FULL_STANDBY}.json").unlink(missing_ok=True)


def still(directory: str, other: str) -> None:
    """Take no push and no delete from now on, as another server is about to take over. What was begun goes on."""
    _refuse(Path(directory), f"{other} takes over from this server: pushes and deletes go there")


def take_over(directory: str) -> State:
    """Be the first from now on. Once it is so, it stays so however often this is called.

    Raises RefusedError where this one neither stands by nor is the first.
    """
    root = Path(directory)
    state = read(directory)
    if state is None or state["role"] == FORMER:
        raise RefusedError("this server does not stand by", "./fab standby makes it one that does")
    if state["role"] == SECOND:
        last = copied(directory)
        state = {
            "role": FIRST, "epoch": state["epoch"] + 1, "other": state["other"], "copied": last["when"],
            "since": time.time(),
        }  # fmt: skip
        write(root, state)
        (root / STANDBY_COPIED).unlink(missing_ok=True)
    (root / FULL / f"{FULL_STANDBY}.json").unlink(missing_ok=True)
    return state


def step_back(directory: str, epoch: int) -> bool:
    """Be the first no more, as the other one is with that epoch. Returns whether that is news."""
    root = Path(directory)
    state = read(directory)
    if state is None or state["role"] != FIRST or state["epoch"] >= epoch:
        return False
    _refuse(root, f"{state['other']} took over from this server: pushes and deletes go there")
    write(root, {**state, "role": FORMER, "epoch": epoch, "since": time.time()})
    return True


def copied(directory: str) -> Copied:
    """The last copy."""
    try:
        found: Copied = {**NEVER, **json.loads(Path(directory, STANDBY_COPIED).read_text("utf-8"))}
    except (OSError, ValueError):
        return NEVER
    return found


def remember(directory: str, found: Copied) -> None:
    """Write it down."""
    replace(Path(directory, STANDBY_COPIED), json.dumps(found).encode(), 0o600)


def write(root: Path, state: State) -> None:
    """Write state.json."""
    replace(root / STANDBY_STATE, json.dumps(state).encode(), 0o600)


def _refuse(root: Path, sentence: str) -> None:
    for name in (LOG, NGINX, FULL):
        (root / name).mkdir(mode=0o755, exist_ok=True)
    content = json.dumps({"errors": [{"code": "DENIED", "message": sentence}]}).encode()
    path = root / FULL / f"{FULL_STANDBY}.json"
    if not path.is_file() or path.read_bytes() != content:
        replace(path, content, 0o644)
