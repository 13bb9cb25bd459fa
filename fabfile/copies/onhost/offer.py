"""What a server lets the other one have: a command that its key of SSH is bound to, whatever it asks for.

    epoch          who this one is
    stage TOKEN    make a copy to be fetched, unless nothing came since that token (see since.py)
    done TOKEN     all of that copy has arrived
    rsync …        the copy, by rsync's own daemon: read-only, and shut into that directory (rsyncd.conf(5))

Nothing else can be read, and nothing written but what was copied when. Only the first one makes copies.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from ...layout import COPY_FOLLOWED, STANDBY_LOCK, STANDBY_RSYNC
from ...machine.onhost.atomic import HELD, RefusedError, locked, replace
from . import inside, since, stage, standing

# What rsync asks for, whatever options it has, when it wants a module of a daemon through ssh.
RSYNC = "rsync --server --daemon ."
MODULE = "copy"
# Where rsync has the directory open, so that no path leads it there.
HANDLE = 63
CONFIG = f"""\
use chroot = yes
uid = 0
gid = 0
read only = yes
list = no
reverse lookup = no
max verbosity = 0
log file = /dev/null
refuse options = remove-source-files remove-sent-files
[{MODULE}]
path = /proc/self/fd/{HANDLE}
"""
# gc is at work, or another run of the same.
BUSY = "busy"
# How old a copy must be that nobody fetched to the end.
LEFT_SECONDS = 86400.0


def answer(directory: str, asked: str) -> None:
    """Do what the other server asks for, and print the answer as JSON. Raises RefusedError for what it may not have."""
    try:
        verb, *words = shlex.split(asked) or [""]
    except ValueError:
        verb, words = "", []
    state = standing.read(directory)
    if state is None:
        raise RefusedError("this server knows of no other one")
    if verb == "epoch" and not words:
        _say({"role": state["role"], "epoch": state["epoch"], "copied": state["copied"]})
        return
    if state["role"] != standing.FIRST:
        raise RefusedError("this server is not the first: it gives no copy")
    if asked == RSYNC:
        _rsync(directory)
    elif verb == "stage" and len(words) < 3 and all(map(_plain, words)):
        _stage(directory, *words)
    elif verb == "done" and len(words) == 1 and since.TOKEN.match(words[0]):
        _done(directory, words[0])
    else:
        raise RefusedError("that is none of the things that a standby asks for")


def _plain(word: str) -> bool:
    return bool(re.fullmatch(r"[\d.-]{1,80}", word))


def _say(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


def _stage(directory: str, wait: str = "0", known: str = "") -> None:
    """wait: seconds for whoever cleans up."""
    root = Path(directory)
    epoch = (standing.read(directory) or {"epoch": 0})["epoch"]
    now, token = time.time(), since.token(root)
    try:
        with locked(Path(STANDBY_LOCK), min(float(wait), stage.WAIT)):
            last = standing.copied(directory)
            if known and known == last["token"] and (news := since.written(root, known)) and not news[0]:
                standing.remember(directory, {**last, "token": token, "when": now, "good": now})
                _say({"same": True, "token": token, "when": now, "epoch": epoch})
                return
            found = stage.stage(directory, min(float(wait), stage.WAIT), COPY_FOLLOWED)
    except RefusedError as error:
        if error.reason != HELD:
            raise
        _say({BUSY: error.what})
        return
    # Kept until it has arrived.
    standing.remember(directory, {**last, "waiting": f"{token} {found['when']} {found['tags']}"})
    _say({**found, "same": False, "token": token, "epoch": epoch})


def _done(directory: str, token: str) -> None:
    """What was begun with that token is the standby's; what was linked for it may be freed."""
    last = standing.copied(directory)
    begun, _, rest = last["waiting"].partition(" ")
    if begun == token:
        when, _, tags = rest.partition(" ")
        now = time.time()
        standing.remember(
            directory, {**last, "token": token, "when": float(when), "good": now, "tags": int(tags), "waiting": ""}
        )
        stage.drop(directory, COPY_FOLLOWED)
    _say({})


def _rsync(directory: str) -> NoReturn:
    root = Path(directory)
    # For as long as it runs: its own handles go with it.
    lock = os.open(STANDBY_LOCK, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RefusedError("another copy is on its way") from None
    config = root / STANDBY_RSYNC
    if not config.is_file() or config.read_text() != CONFIG:
        replace(config, CONFIG.encode(), 0o600)
    with inside.opened(root, COPY_FOLLOWED) as handle:
        os.dup2(handle, HANDLE)
    os.set_inheritable(HANDLE, True)
    os.set_inheritable(lock, True)
    argv = ["rsync", "--server", "--daemon", f"--config={config}", "."]
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - it shall be that process
    except FileNotFoundError:
        print("rsync: command not found", file=sys.stderr)
        sys.exit(127)


def forget(directory: str) -> None:
    """Remove a copy that nobody fetched to the end for a day: what it links could not be freed."""
    root = Path(directory)
    if standing.read(directory) is None:
        return
    with inside.opened(root, COPY_FOLLOWED) as handle:
        old = time.time() - os.fstat(handle).st_mtime > LEFT_SECONDS
    if old:
        try:
            with locked(Path(STANDBY_LOCK), 0):
                stage.drop(directory, COPY_FOLLOWED)
        except RefusedError:
            return
