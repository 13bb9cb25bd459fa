"""The accounts file on the host (htpasswd with bcrypt): read and changed under a lock, replaced whole."""

from __future__ import annotations

import re
import time
from contextlib import AbstractContextManager
from pathlib import Path

from .atomic import RefusedError, locked, replace

# What the registry takes (golang.org/x/crypto/bcrypt); any other hash never lets anyone in.
BCRYPT = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")
# Accounts of a push-test that was killed: their name carries the second they were made.
TEMPORARY = re.compile(r"push-test-([0-9a-f]+)-[0-9a-f]+")
TEMPORARY_SECONDS = 600


def listed(path: str) -> list[dict[str, object]]:
    """[{"user", "usable"}] in the order of the file. Raises RefusedError for a line that is no entry."""
    _require_directory(Path(path))
    return [
        {"user": user, "usable": bool(BCRYPT.fullmatch(entry.partition(":")[2]))}
        for user, entry in _entries(Path(path))
        if user
    ]


def put(path: str, user: str, entry: str, alone: bool = False) -> str:
    """Add an account or replace its line; entry: `user:hash`. Returns "added" or "changed".

    alone: no push-test can be at work, so whatever one left behind goes, however young.
    """
    file = Path(path)
    with _locked(file):
        lines = _without_leftovers(_entries(file), 0 if alone else TEMPORARY_SECONDS)
        known = any(name == user for name, _ in lines)
        kept = [(name, text) for name, text in lines if name != user]
        _write(file, [*kept, (user, entry)])
    return "changed" if known else "added"


def remove(path: str, user: str) -> bool:
    """Remove an account; False when there was none (and the file is not touched)."""
    file = Path(path)
    with _locked(file):
        lines = _without_leftovers(_entries(file), TEMPORARY_SECONDS)
        kept = [(name, text) for name, text in lines if name != user]
        if len(kept) == len(lines):
            return False
        _write(file, kept)
    return True


def _locked(file: Path) -> AbstractContextManager[None]:
    _require_directory(file)
    return locked(file.with_name(".lock"))


def _require_directory(file: Path) -> None:
    if not file.parent.is_dir():
        raise RefusedError(f"nothing is deployed: there is no {file.parent}", "./fab -H … sync")


def _entries(path: Path) -> list[tuple[str, str]]:
    """(user, whole line) of each line; the user of a comment or an empty line is ''."""
    if not path.exists():
        return []
    entries = []
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise RefusedError(
            f"{path}:{number}: not text; nothing was changed", "restore or delete the file"
        ) from None
    for number, line in enumerate(text.splitlines(), 1):
        user, colon, digest = line.strip().partition(":")
        if (not user and not colon) or user.startswith("#"):
            entries.append(("", line))
        elif not user or not digest or not line.isprintable():
            raise RefusedError(
                f"{path}:{number}: not an entry of the form user:hash, and so nothing is changed",
                f"correct or delete line {number} on the server",
            )
        else:
            entries.append((user, line.strip()))
    return entries


def _without_leftovers(lines: list[tuple[str, str]], age: int) -> list[tuple[str, str]]:
    def leftover(user: str) -> bool:
        match = TEMPORARY.fullmatch(user)
        return match is not None and int(match[1], 16) < time.time() - age

    return [(user, line) for user, line in lines if not leftover(user)]


def _write(path: Path, lines: list[tuple[str, str]]) -> None:
    try:
        replace(path, "".join(f"{line}\n" for _, line in lines).encode(), 0o600)
    except OSError as error:
        raise RefusedError(
            f"{path}: {error.strerror}; nothing was changed", "df -h shows the disks"
        ) from None
