"""Changes of accounts on the host that count at once: the file first, then what nginx knows of it."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from ...accounts.onhost.accounts_file import Rights
from ...accounts.onhost.accounts_file import put as put_into_file
from ...accounts.onhost.accounts_file import remove as remove_from_file
from ...layout import ACCOUNTS
from ...machine.onhost.atomic import Refusal, RefusedError, disk_remedy
from ...machine.onhost.reserve import given
from .nginx import refresh, require_current


class Put(TypedDict):
    """What `put` did.

    done: what accounts_file.put says. untold: why nginx could not be told: the file is changed then, so its
    passwords are the new ones.
    """

    done: list[str]
    untold: Refusal | None


class Removed(TypedDict):
    """What `remove` did. done: whether there was such an account. untold: as of Put."""

    done: bool
    untold: Refusal | None


def put(
    directory: str,
    entries: dict[str, str],
    rights: Rights,
    *,
    alone: bool = False,
) -> Put:
    """accounts.put, in force when this returns, unless nginx could not be told."""
    require_current(directory)
    with given(Path(directory)):
        done = put_into_file(f"{directory}/{ACCOUNTS}", entries, rights, alone)
        return {"done": done, "untold": _refreshed(directory)}


def remove(directory: str, user: str) -> Removed:
    """accounts.remove, in force when this returns, unless nginx could not be told; also where an earlier one was cut
    off.
    """
    require_current(directory)
    with given(Path(directory)):
        done = remove_from_file(f"{directory}/{ACCOUNTS}", user)
        return {"done": done, "untold": _refreshed(directory)}


def _refreshed(directory: str) -> Refusal | None:
    """Have nginx know them. Returns why it could not be told, or None."""
    try:
        refresh(directory)
    except RefusedError as error:
        return error.refusal()
    except OSError as error:
        return RefusedError(str(error), disk_remedy(error.errno or 0) or "./fab -H … check").refusal()
    return None
