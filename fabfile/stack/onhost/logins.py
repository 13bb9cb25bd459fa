"""Changes of accounts on the host that count at once: the file first, then what nginx knows of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...accounts.onhost.accounts_file import Rights
from ...accounts.onhost.accounts_file import put as put_into_file
from ...accounts.onhost.accounts_file import remove as remove_from_file
from ...machine.onhost.atomic import RefusedError, disk_remedy
from ...machine.onhost.reserve import given
from .nginx import ACCOUNTS, refresh, require_current


def put(
    directory: str,
    test: list[str],
    entries: dict[str, str],
    rights: Rights,
    *,
    alone: bool = False,
) -> dict[str, Any]:
    """accounts.put, in force when this returns. test: see nginx.refresh.

    Returns {"done": what accounts.put says, "problem", "remedy": why nginx could not be told, or ""}: the
    file is changed then, so its passwords are the new ones.
    """
    require_current(directory)
    with given(Path(directory)):
        done = put_into_file(f"{directory}/{ACCOUNTS}", entries, rights, alone)
        return {"done": done, **_told(directory, test)}


def remove(directory: str, test: list[str], user: str) -> dict[str, Any]:
    """accounts.remove, in force when this returns, also where an earlier one was cut off. Returns what `put` does."""
    require_current(directory)
    with given(Path(directory)):
        done = remove_from_file(f"{directory}/{ACCOUNTS}", user)
        return {"done": done, **_told(directory, test)}


def _told(directory: str, test: list[str]) -> dict[str, str]:
    try:
        refresh(directory, test)
    except RefusedError as error:
        return {"problem": error.what, "remedy": error.remedy}
    except OSError as error:
        return {"problem": str(error), "remedy": disk_remedy(error.errno or 0) or "./fab -H … check"}
    return {"problem": "", "remedy": ""}
