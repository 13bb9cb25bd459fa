"""Which task is done how where there are several servers: at once, in turn, by the first one. Here alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from .errors import UsageError
from .names import place
from .settings import Settings


class Way(Enum):
    """How a task is done on several servers."""

    # On all at the same time.
    EACH = "each"
    # On one after the other, in the order of HOSTS. The first that fails is the last.
    IN_TURN = "in turn"
    # On all, in an order of its own.
    TOGETHER = "together"
    # What it is about is shared, so one server does it for all.
    FIRST = "first"
    # It is for one server that is named.
    ONE = "one"


WAYS: dict[Way, tuple[str, ...]] = {
    Way.EACH: ("check", "provision", "sync", "schedule", "status", "doctor", "logs", "events"),
    # `ship` packs each image once for all, and has one way out of this machine.
    # An authority may hand out one pending order to two who ask for one account, so orders come one by one, too.
    Way.IN_TURN: ("ship", "up", "down", "init-letsencrypt", "renew", "push-test", "upgrade", "rollback"),
    Way.TOGETHER: ("bootstrap", "htpasswd", "forget"),
    Way.FIRST: ("images", "retention", "gc", "backup", "restore", "pin"),
    Way.ONE: ("init", "unlock", "adopt", "move", "move-to", "standby", "promote"),
}
# They change what all servers have alike: whoever leaves one out makes it another registry.
SHARED = ("bootstrap", "sync", "htpasswd", "forget")
# They make one registry of several servers, which takes images that all of them see.
MAKING = ("bootstrap", "htpasswd", "init-letsencrypt", "forget")


def way(task: str) -> Way:
    """How it is done. task: as it is typed, with what follows."""
    word = task.partition(" ")[0]
    return next(found for found, tasks in WAYS.items() if word in tasks)


def spoken(text: str, whole: str) -> str:
    """A remedy with all servers in the commands that change what they have alike.

    whole: as `-H a,b`, '' where HOSTS names them.
    """
    return re.sub(rf"-H … (?=(?:{'|'.join(SHARED)})\b)", f"{whole} ".lstrip(), text)


def require_one(task: str, named: Sequence[str]) -> None:
    """Raise UsageError where several servers are named for a task that one alone can have."""
    word = task.partition(" ")[0]
    if len(named) > 1 and way(task) is Way.ONE:
        raise UsageError(f"{word} is for one server, and {len(named)} are named", f"./fab -H {named[0]} {word}")


def require(task: str, named: Sequence[str], settings: Settings) -> None:
    """Raise UsageError where the task cannot be done on these servers, before any of them is reached.

    named: as behind -H, or all of HOSTS.
    """
    word, looks = task.partition(" ")[0], "--diff" in task
    several = len(named) > 1
    require_one(task, named)
    if looks or (word not in SHARED and not (several and word in MAKING)):
        return
    if several and not settings.on_s3 and word in MAKING:
        raise UsageError(
            f"{word} on {len(named)} servers: each would have images of its own, as STORAGE=disk says",
            f"STORAGE=s3 in .env (docs/fleet.md); or one of them: ./fab -H {named[0]} {word}",
        )
    if several and settings.on_s3 and not settings.fleet:
        raise UsageError(
            f"{word} on {len(named)} servers that HOSTS does not name: nothing was changed",
            f"HOSTS={' '.join(named)} in .env, then ./fab {word}",
        )
    here, all_of_them = {place(name) for name in named}, {place(name) for name in settings.fleet}
    if word in SHARED and all_of_them and here != all_of_them:
        left = ", ".join(name for name in settings.fleet if place(name) not in here)
        strange = ", ".join(name for name in named if place(name) not in all_of_them)
        what = f"HOSTS does not name {strange}" if strange else f"it would leave {left} as it is"
        raise UsageError(
            f"{word} changes what all servers of HOSTS have alike; {what}: nothing was changed",
            f"./fab {word}, without -H; a server that is gone for good: ./fab forget SERVER",
        )
