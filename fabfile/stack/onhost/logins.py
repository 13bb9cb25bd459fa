"""Changes of accounts on the host that count at once: the file first, then what nginx knows of it."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from ...accounts.onhost.accounts_file import Rights
from ...accounts.onhost.accounts_file import put as put_into_file
from ...accounts.onhost.accounts_file import remove as remove_from_file
from ...machine.onhost.atomic import Refusal, RefusedError
from ...machine.onhost.reserve import given
from .nginx import ACCOUNTS, refresh, require_current


class Put(TypedDict):
    """What `put` did.

    done: what accounts_file.put says. untold: why nginx could not be told: the file is changed then, so its
    passwords are the new ones.
    """

    done: list[str]
    untold: Refusal | None


def put(
    directory: str,
    test: list[str],
    entries: dict[str, str],
    rights: Rights,
    *,
    alone: bool = False,
) -> Put:
    """accounts.put, in force when this returns, unless nginx could not be told. test: see nginx.refresh."""
    require_current(directory)
    with given(Path(directory)):
        done = put_into_file(f"{directory}/{ACCOUNTS}", entries, rights, alone)
        try:
            refresh(directory, test)
        except RefusedError as error:
            return {"done": done, "untold": error.refusal()}
    return {"done": done, "untold": None}


def remove(directory: str, test: list[str], user: str) -> bool:
    """accounts.remove, in force when this returns, also where an earlier one was cut off."""
    require_current(directory)
    with given(Path(directory)):
        done = remove_from_file(f"{directory}/{ACCOUNTS}", user)
        refresh(directory, test)
    return done
