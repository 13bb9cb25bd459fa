"""The accounts file on the host (htpasswd with bcrypt): read and changed under a lock, replaced whole.

What htpasswd has no place for stands in a comment above the account's line, so that one rename changes
both: `# ci role=push repositories=team-a/* changed=2026-11-25T08:00:00Z`.
"""

from __future__ import annotations

import calendar
import re
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ...machine.onhost.atomic import FULL, RefusedError, locked, replace
from ...machine.onhost.owner import AUTH
from .roles import ROLES

CHANGED = "%Y-%m-%dT%H:%M:%SZ"
# What the registry takes (golang.org/x/crypto/bcrypt); any other hash never lets anyone in.
BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
# 0.25 s of one core for each check. nginx remembers for a while whose password was right.
COST = 12
FACTS = re.compile(
    rf"# (?P<user>\S+) role=(?P<role>{'|'.join(ROLES)}) "
    r"repositories=(?P<repositories>[a-z0-9._/*,-]*) changed=(?P<changed>\S+)"
)
# Accounts of a push-test that was killed: their name carries the second they were made, by the operator's clock, and
# their facts by this host's.
TEMPORARY = re.compile(r"push-test-([0-9a-f]+)-[0-9a-f]+")
TEMPORARY_SECONDS = 3600


class Rights(TypedDict):
    """What an account may do.

    role: "" for the one it has, `push` for a new one. repositories: patterns; None for those that it
    has, empty for all.
    """

    role: str
    repositories: list[str] | None


class Account(TypedDict):
    """An account, as it is shown.

    repositories: patterns; empty for all. changed: when, '' where nobody knows. cost: of its bcrypt hash. usable:
    whether the registry takes the hash.
    """

    user: str
    role: str
    repositories: list[str]
    changed: str
    cost: int
    usable: bool


@dataclass
class Line:
    """An account, or with no user a comment that somebody wrote."""

    user: str
    text: str
    # An account without facts is from before roles, or written by hand: it may do all.
    role: str = "admin"
    repositories: tuple[str, ...] = ()
    changed: str = ""

    def __str__(self) -> str:
        """What stands in the file."""
        if not self.changed:
            return f"{self.text}\n"
        facts = f"role={self.role} repositories={','.join(self.repositories)} changed={self.changed}"
        return f"# {self.user} {facts}\n{self.text}\n"

    @property
    def cost(self) -> int:
        """The cost of the bcrypt hash; 0 for another hash, which the registry refuses."""
        match = BCRYPT.fullmatch(self.text.partition(":")[2])
        return int(match[1]) if match else 0


def listed(path: str) -> list[Account]:
    """Every account, in the order of the file. Raises RefusedError for a line that is no entry."""
    _require_directory(Path(path))
    return [
        {
            "user": line.user,
            "role": line.role,
            "repositories": list(line.repositories),
            "changed": line.changed,
            "cost": line.cost,
            "usable": line.cost > 0,
        }
        for line in lines(Path(path))
        if line.user
    ]


def put(path: str, entries: dict[str, str], rights: Rights, alone: bool = False) -> list[str]:
    """Add accounts or change them, all or none.

    entries: user -> `user:hash`, or "" to keep the password. alone: no push-test can be at work, so
    whatever one left behind goes, however young. Returns what became of each: "added" or "changed".
    """
    file = Path(path)
    with _locked(file):
        kept = _without_leftovers(lines(file), 0 if alone else TEMPORARY_SECONDS)
        there = {line.user: line for line in kept if line.user}
        for user, entry in entries.items():
            old = there.get(user)
            if not entry and not old:
                raise RefusedError(f"there is no account {user}", f"./fab -H … htpasswd --user {user}")
            there[user] = _changed(old or Line(user, entry, "push"), entry, rights)
        known = [line.user for line in kept]
        new = [there[user] for user in entries if user not in known]
        _write(file, [*(there.get(line.user, line) for line in kept), *new])
    return ["changed" if user in known else "added" for user in entries]


def remove(path: str, user: str) -> bool:
    """Remove an account; False when there was none (and the file is not touched)."""
    file = Path(path)
    with _locked(file):
        found = lines(file)
        there = [line for line in found if line.user != user]
        if len(there) == len(found):
            return False
        _write(file, _without_leftovers(there, TEMPORARY_SECONDS))
    return True


def lines(path: Path) -> list[Line]:
    """Every line of the file. Raises RefusedError, with its number, for one that is no entry."""
    if not path.exists():
        return []
    found: list[Line] = []
    facts: re.Match[str] | None = None
    # At line breaks alone, as the registry cuts it: a comment may hold what else ends a line.
    whole = _text(path).removesuffix("\n")
    for number, text in enumerate(re.split("\r?\n", whole) if whole else (), 1):
        user, colon, digest = text.strip().partition(":")
        if facts and user != facts["user"]:
            # Taken for a comment, it would make the account an admin.
            raise _not_an_entry(path, number, f"the line of the account {facts['user']} belongs here")
        if (not user and not colon) or user.startswith("#"):
            facts = FACTS.fullmatch(text.strip())
            if not facts and re.match(r"#\s*\S+ role=", text):
                raise _not_an_entry(path, number, "these rights cannot be read")
            found.append(Line("", text))
        elif not user or not digest or not text.isprintable():
            raise _not_an_entry(path, number, "not an entry of the form user:hash")
        else:
            line = Line(user, text.strip())
            if facts:
                found.pop()
                line.role, line.changed = facts["role"], facts["changed"]
                line.repositories = tuple(filter(None, facts["repositories"].split(",")))
            found.append(line)
            facts = None
    return found


def _not_an_entry(path: Path, number: int, what: str) -> RefusedError:
    return RefusedError(
        f"{path}:{number}: {what}, and so nothing is changed",
        f"correct or delete line {number} on the server",
    )


def _changed(old: Line, entry: str, rights: Rights) -> Line:
    places = rights["repositories"]
    return Line(
        old.user,
        entry or old.text,
        rights["role"] or old.role,
        old.repositories if places is None else tuple(places),
        time.strftime(CHANGED, time.gmtime()),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise RefusedError(f"{path}:{number}: not text; nothing was changed", "restore or delete the file") from None


def _locked(file: Path) -> AbstractContextManager[None]:
    _require_directory(file)
    return locked(file.with_name(".lock"))


def _require_directory(file: Path) -> None:
    if not file.parent.is_dir():
        raise RefusedError(f"nothing is deployed: there is no {file.parent}", "./fab -H … sync")


def _without_leftovers(found: list[Line], age: int) -> list[Line]:
    """Without the accounts of a push-test that are older than that; 0: however old, by whatever clock."""

    def leftover(line: Line) -> bool:
        match = TEMPORARY.fullmatch(line.user)
        return match is not None and (not age or _made(line, match) < time.time() - age)

    return [line for line in found if not leftover(line)]


def _made(line: Line, match: re.Match[str]) -> float:
    try:
        return calendar.timegm(time.strptime(line.changed, CHANGED))
    except ValueError:
        return int(match[1], 16)


def _write(path: Path, found: list[Line]) -> None:
    try:
        # Until `up` replaces it, whoever read the old file has to read the new one.
        old = path.stat() if path.exists() else None
        owner = (old.st_uid, old.st_gid) if old else (AUTH, 0)
        replace(path, "".join(map(str, found)).encode(), 0o600, owner)
    except OSError as error:
        raise RefusedError(f"{path}: {error.strerror}; nothing was changed", FULL) from None
