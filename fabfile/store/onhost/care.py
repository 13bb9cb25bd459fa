"""What the server does by itself each night: the log of uses, the trash; where there are rules, these and garbage."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TypedDict

from ...layout import CARE_RECORD, RETENTION
from ...machine.onhost import store
from ...machine.onhost.atomic import RefusedError, replace
from ...machine.onhost.reserve import given
from ...stack.onhost import workers
from ...stack.onhost.containers import nginx_container
from . import collect, handles, retention, trash, uses, walk

# Who cleans up by hand is done by then.
WAIT = 600.0


class Night(TypedDict):
    """What a night brought.

    when: in seconds since 1970. removed: tags. freed, waiting: bytes. left: repositories in which something cannot be
    read. held: repository -> why the rules do not count there. problems: texts. by_hand: there are no rules, so
    nothing is taken unasked; what was taken before is purged.
    """

    when: float
    removed: int
    freed: int
    waiting: int
    left: list[str]
    held: dict[str, str]
    problems: list[str]
    by_hand: bool


def care(directory: str) -> Night:
    """Fold the log of uses and empty the trash; where there is a retention.ini, first remove tags by it, and collect.

    What fails is no reason to leave out the rest. It keeps what it returns, for `last`.
    """
    found: Night = {
        "when": 0.0, "removed": 0, "freed": 0, "waiting": 0, "left": [], "held": {}, "problems": [],
        "by_hand": not Path(directory, RETENTION).is_file(),
    }  # fmt: skip
    if away := store.problem(Path(directory)):
        # Each of them would say the same.
        found["problems"].append(away[0])
    else:
        _care(directory, found)
    found["when"] = time.time()
    with given(Path(directory)):
        replace(Path(directory, CARE_RECORD), json.dumps(found).encode(), 0o600)
    return found


def _care(directory: str, found: Night) -> None:
    for part in (_empty, _fold) if found["by_hand"] else (_rules, _collect, _fold):
        try:
            part(directory, found)
        except RefusedError as error:
            found["problems"].append(error.what)


def _rules(directory: str, found: Night) -> None:
    judged = retention.retention(directory, dry=False, cron=True)
    found["removed"], found["held"] = judged["removed"], judged["held"]


def _collect(directory: str, found: Night) -> None:
    done = collect.collect(directory, wait=WAIT)
    _freed(done, found)
    found["left"] = sorted(done["left"])
    for name, why in done["held"].items():
        found["held"][name] = ", ".join(filter(None, (found["held"].get(name), why)))


def _empty(directory: str, found: Night) -> None:
    _freed(collect.emptied(directory, wait=WAIT), found)


def _freed(done: collect.Collected, found: Night) -> None:
    found["freed"], found["waiting"] = done["purged"], done["waiting"]
    if done["delayed"]:
        found["problems"].append(done["delayed"])


def _fold(directory: str, _: Night) -> None:
    fold(directory)


def fold(directory: str) -> None:
    """Fold the log of uses, and have nginx begin a new one. Not while `gc` reads its end."""
    with trash.opened(directory, WAIT) as bin_:
        known: set[str] = set()
        store = walk.repositories(bin_.top) if bin_ else walk.Store()
        # What is not seen there would be forgotten.
        handles.require_known(store.odd, "the uses log was not folded, as ")
        for repository in store.repositories.values():
            known |= repository.revisions.keys()
        uses.fold(directory, known, time.time())
        if nginx_container():
            workers.renewed()


def last(directory: str) -> Night | None:
    """What the last night brought; None where there was none. Changes nothing."""
    try:
        found: Night = json.loads(Path(directory, CARE_RECORD).read_text())
    except (OSError, ValueError):
        return None
    # Of an earlier version.
    found.setdefault("by_hand", False)
    return found
