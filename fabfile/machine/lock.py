"""One at a time: the lock of a host, and the audit log that it writes."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import sys
from collections.abc import Iterator

from ..errors import StepError
from ..layout import AUDIT_LOG, LOCK, MOVED, RECORD
from ..settings import Settings
from ..text import one_line
from ..version import VERSION, newer
from . import away
from .conversation import Conversation
from .host import Host
from .scripts import script

SCRIPT = "lock.sh"
# What may be done where the registry was before it moved.
MOVED_TASKS = ("move", "down")


@contextlib.contextmanager
def exclusive(host: Host, settings: Settings, task: str, *, seconds: int = 0, path: str = "") -> Iterator[None]:
    """Do something on the host that no one else may do at the same time, and log it there.

    seconds: how long to wait for somebody else; path: of another lock than that of the host. The lock is a process
    there that ends with our connection. Raises StepError with the holder's name and time when it is taken, with the
    host's own words where it cannot be taken at all, and where a newer version of this tool deployed the host.
    """
    with _conversation(host, settings, task, str(seconds), path or LOCK):
        yield


@contextlib.contextmanager
def audited(host: Host, settings: Settings, task: str) -> Iterator[None]:
    """Do something on the host that others may do at the same time, and log it there.

    Raises StepError where a newer version of this tool deployed the host.
    """
    with _conversation(host, settings, task, "-", LOCK):
        yield


def audit_log(settings: Settings) -> str:
    """When, who, which task, outcome: a line each, on the server."""
    return f"{settings.deploy_dir}/{AUDIT_LOG}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user that has no name (OSError since Python 3.13)
        return str(os.getuid())


@contextlib.contextmanager
def _conversation(host: Host, settings: Settings, task: str, wait: str, path: str) -> Iterator[None]:
    who = f"{_user()}@{socket.gethostname()}"
    # In the audit log a tab begins a field and a line break a line; a name may have either in it.
    words = [one_line(word) for word in (who, task)]
    argv = [
        "sh",
        "-c",
        script(SCRIPT),
        "lock",
        path,
        wait,
        audit_log(settings),
        *words,
        f"{settings.deploy_dir}/{RECORD}",
        f"{settings.deploy_dir}/{MOVED}",
    ]
    keeper = host.converse(argv)
    answer = keeper.receive()
    said, _, deployed = answer.partition(" ")
    if said == "away":
        keeper.close()
        raise away.error(host.name, settings.deploy_dir, deployed)
    if said not in {"held", "busy", "moved"}:
        raise _unlocked(host, keeper)
    if said == "busy":
        keeper.close()
        raise StepError(
            f"{host.name}: somebody else is at work: {deployed or 'they left no name'}",
            "wait for them; if their machine died: ./fab -H … unlock" if path == LOCK else "wait for them to end",
        )
    if said == "moved" and task.partition(" ")[0] not in MOVED_TASKS:
        keeper.send("")
        keeper.close()
        raise StepError(
            f"{host.name}: nothing was changed: this registry has moved to {deployed}, and only hands people over",
            f"./fab -H {deployed} TASK; the way back: ./fab -H … move --back; the end here: ./fab -H … move --done",
        )
    if said == "held" and _too_old(host, deployed):
        # Nothing was done, so there is nothing to log.
        keeper.send("")
        keeper.close()
        raise StepError(
            f"{host.name}: nothing was changed: version {deployed} of this tool deployed it, and this is {VERSION}",
            "git pull brings this one up to date; or go on all the same: ./fab --force -H … TASK",
        )
    outcome = "interrupted"
    try:
        yield
        outcome = "ok"
    except Exception as error:
        outcome = "failed: " + (str(error).splitlines() or [type(error).__name__])[0]
        raise
    finally:
        # When the connection is gone, the keeper has noticed by itself.
        with contextlib.suppress(OSError, EOFError):
            keeper.send(one_line(outcome))
            keeper.close()


def _unlocked(host: Host, keeper: Conversation) -> StepError:
    """Why there was no answer about the lock: nobody is at work for all we know."""
    end = keeper.ended()
    remedy = f"on the server: ls -ld {LOCK} shows what is there, and df /run whether there is room"
    if "flock" in end.said and end.status == 127:
        remedy = "on the server: apt-get install util-linux brings flock"
    return host.failed(end, "the lock cannot be taken", remedy)


def _too_old(host: Host, deployed: str) -> bool:
    """Whether this tool must leave the host alone. A server's own `inv` is the version that deployed it."""
    older = not host.local and newer(deployed)
    if host.forced:
        found = f"version {deployed} deployed {host.name}, and this is {VERSION}: going on"
        print(f"--force: {found if older else f'not needed, no newer version deployed {host.name}'}", file=sys.stderr)
    return older and not host.forced
