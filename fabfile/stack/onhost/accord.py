"""Of several servers: the accounts of this one, and those that are in force for all (accounts/onhost/generation.py).

A change is one new generation. Each server that can be reached gets it (`take`), where it counts at once; then it is
put in force in the registry (`commit`). A server that was not reached sees a generation there that is neither its own
nor the one before: within two seconds it serves nobody (deploy/nginx/fleet.conf.j2), until cron has it (`heal`).
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypedDict

from ... import layout
from ...accounts.onhost import accounts_file, generation
from ...accounts.onhost.accounts_file import Rights
from ...accounts.onhost.generation import Generation
from ...machine.onhost.atomic import RefusedError, locked, replace
from ...machine.onhost.owner import AUTH
from ...machine.onhost.reserve import given
from . import committed
from .nginx import refresh, require_current
from .wanted import known

# A change that is on its way is in force within that many seconds, or it never will be.
UNDER_WAY = 120.0
DRAFT = ".change"


class Proposed(TypedDict):
    """A generation that nobody has yet; new is None where nothing would change. done: see accounts_file.put."""

    new: Generation | None
    done: list[str]


def current(directory: str) -> Generation | None:
    """The one in force. Changes nothing. Raises RefusedError where the registry does not say."""
    return committed.read(Path(directory))


def put(directory: str, entries: dict[str, str], rights: Rights) -> Proposed:
    """What accounts_file.put would make of the accounts in force. Nothing changes."""
    with _drafted(Path(directory)) as (draft, base):
        done = accounts_file.put(str(draft), entries, rights)
        return _proposed(draft, base, done)


def remove(directory: str, user: str) -> Proposed:
    """What accounts_file.remove would make of the accounts in force. Nothing changes. done: [] for no such account."""
    with _drafted(Path(directory)) as (draft, base):
        gone = accounts_file.remove(str(draft), user)
        return _proposed(draft, base, ["removed"] * gone)


def take(directory: str, new: Generation) -> None:
    """Have these accounts here, from now on; the ones before them are as good until they are in force."""
    root = Path(directory)
    require_current(directory)
    with given(root), _lock(root):
        _have(root, new, new["before"])


def bring(directory: str, new: Generation) -> bool:
    """`take` of one that is in force; nothing need run here. Returns whether something changed."""
    root = Path(directory)
    with given(root), _lock(root):
        if generation.up_to_date(root, new):
            return False
        _have(root, new, "")
    return True


def commit(directory: str, new: Generation) -> None:
    """Put it in force for all servers. Raises RefusedError as committed.write."""
    root = Path(directory)
    # Who changes something at the same time does so by way of the same server, as a rule.
    with _lock(root):
        committed.write(root, new)


def begin(directory: str) -> bool:
    """Where no accounts are in force yet, those of this server are from now on; else have those in force here.

    Returns whether something changed. For a person: cron must never put old accounts in force again.
    """
    root = Path(directory)
    if committed.read(root):
        return heal(directory)
    with given(root), _lock(root):
        text = generation.lasting(accounts_file.lines(root / layout.ACCOUNTS))
        new = generation.made(text, "")
        generation.have(root, {"digest": new["digest"], "before": ""})
        committed.write(root, new)
        refresh(directory)
    return True


def heal(directory: str) -> bool:
    """Have the accounts that are in force here. Returns whether something changed. For cron, and for `up`.

    Where none are, or a change of them is on its way, nothing is done. Raises RefusedError where the registry says
    nothing.
    """
    root = Path(directory)
    with _lock(root):
        found = committed.read(root)
        if not found:
            return False
        if generation.up_to_date(root, found):
            # Who was cut off before nginx was told.
            return not known(root) and refresh(directory)
        mine = generation.had(root)
        if mine["before"] == found["digest"] and _age(root) < UNDER_WAY:
            return False
        with given(root):
            _have(root, found, "")
    return True


def _have(root: Path, new: Generation, before: str) -> None:
    file = root / layout.ACCOUNTS
    own = accounts_file.lines(file)
    # Of a push-test that is at work here.
    text = new["text"] + "".join(str(line) for line in own if accounts_file.TEMPORARY.fullmatch(line.user))
    # This first: who is cut off here has accounts that are not those of the record, and cron sees that.
    generation.have(root, {"digest": new["digest"], "before": before})
    old = file.stat() if file.exists() else None
    replace(file, text.encode(), 0o600, (old.st_uid, old.st_gid) if old else (AUTH, 0))
    refresh(str(root))


@contextlib.contextmanager
def _drafted(root: Path) -> Iterator[tuple[Path, Generation]]:
    """A file of the accounts in force, to be changed, in a place that only root may enter and that goes again."""
    place = root / layout.AUTH / DRAFT
    with given(root), _lock(root):
        base = committed.read(root)
        if not base:
            raise RefusedError("no accounts are in force for all servers yet", "./fab bootstrap")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700)
        try:
            file = place / Path(layout.ACCOUNTS).name
            replace(file, base["text"].encode(), 0o600)
            yield file, base
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _proposed(draft: Path, base: Generation, done: list[str]) -> Proposed:
    text = generation.lasting(accounts_file.lines(draft))
    same = text == base["text"]
    return {"new": None if same else generation.made(text, base["digest"]), "done": done}


def _age(root: Path) -> float:
    return abs(time.time() - (root / layout.GENERATION).stat().st_mtime)


def _lock(root: Path) -> AbstractContextManager[None]:
    if not (root / layout.AUTH).is_dir():
        raise RefusedError(f"nothing is deployed: there is no {root / layout.AUTH}", "./fab -H … sync")
    return locked(root / layout.AUTH / ".generation.lock")
