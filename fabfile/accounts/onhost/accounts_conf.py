"""accounts.conf: the accounts as nginx has to know them, who has which role, and where."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from ...machine.onhost.atomic import RefusedError
from .accounts_file import COST, TEMPORARY, Line, lines

HEAD = "# Written by `htpasswd` and `up` from the accounts file; your changes would be overwritten.\n"
# So many patterns of an account stand in a refusal: each may be long, and clients show one line.
TOLD = 5
# A name of other characters, written by hand, gets no role: it could mean something to nginx.
NAME = re.compile(r"[A-Za-z0-9._@-]+")


def maps(accounts_file: Path) -> bytes:
    """accounts.conf: $role, $scope, $limits, $checkable and $generation.

    Raises RefusedError as accounts.lines, or for no file.

    Regular expressions throughout, as a plain string in a map is compared without regard to case
    (nginx, ngx_http_map_module). $generation stands for the whole accounts file: what nginx remembers is
    filed under it, so every change makes it forget. Those of a push-test are left out: each is a name of its own
    whose password nobody has twice, and one that is gone has no role. So nobody else notices a push-test.
    """
    if not accounts_file.is_file():
        raise RefusedError(
            f"{accounts_file.name} is missing, and so nothing is changed",
            "./fab -H … htpasswd --user NAME makes a new one",
        )
    there = lines(accounts_file)
    accounts = [line for line in there if NAME.fullmatch(line.user) and line.cost]
    lasting = "".join(str(line) for line in there if not TEMPORARY.fullmatch(line.user))
    generation = hashlib.sha256(lasting.encode()).hexdigest()[:16]
    roles = [f'"~^{quoted(line.user)}\\z" {line.role};' for line in accounts]
    known = [f'"~^{quoted(line.user)}\\z" $http_authorization;' for line in accounts]
    scopes = [row for line in accounts for row in _scopes(line)]
    limits = [f'"~^{quoted(line.user)}\\z" "{_told(line)}";' for line in accounts if line.repositories]
    return "\n".join(
        [
            HEAD,
            as_map("$account", "$role", roles, '""'),
            # What $repository is, $endpoint finds: see access.conf.
            as_map('"$account $endpoint $repository"', "$scope", scopes, "outside"),
            as_map("$account", "$limits", limits, '""'),
            as_map("$remote_user", "$checkable", known, f'"{_decoy(accounts, generation)}"'),
            as_map('""', "$generation", [], f'"{generation}"'),
        ]
    ).encode()


def variables(text: bytes) -> set[bytes]:
    """What an accounts.conf tells the rest of the configuration."""
    return set(re.findall(rb"^map .* (\$\w+) \{$", text, re.M))


def _decoy(accounts: list[Line], generation: str) -> str:
    """What is checked in the place of a name that has no account: a wrong password for one that has.

    The registry refuses an unknown name at once, so the time of its answer would tell. It is an account of
    the usual cost, and a password of 256 bits that nobody was given.
    """
    usual = sorted(accounts, key=lambda line: (line.cost != COST, -line.cost))
    password = hashlib.sha256(f"decoy {generation}".encode()).hexdigest()
    name = usual[0].user if usual else "nobody"
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def pattern(text: str) -> str:
    """A pattern of repositories as a regular expression: `*` is anything, slashes too."""
    return ".*".join(map(quoted, text.split("*")))


def _scopes(line: Line) -> list[str]:
    """Where the account may do what its role says; elsewhere it is `outside`."""
    user = quoted(line.user)
    if not line.repositories:
        return [f'"~^{user} " anywhere;']
    # A row for each pattern: nginx takes no parameter of more than 4096 bytes.
    places = ["base ", *(f"\\S+ {pattern(text)}\\z" for text in line.repositories)]
    return [f'"~^{user} {place}" inside;' for place in places]


def _told(line: Line) -> str:
    """Where the account is inside, for a person who is outside; the first few of many."""
    shown = line.repositories[:TOLD]
    return ", ".join(shown) + f" and {len(line.repositories) - TOLD} more" * (len(line.repositories) > TOLD)


def quoted(text: str) -> str:
    """A name or a piece of a pattern for a regular expression."""
    return text.replace(".", r"\.")


def as_map(source: str, target: str, rows: list[str], default: str) -> str:
    """A map of nginx."""
    body = "".join(f"    {row}\n" for row in [*rows, f"default {default};"])
    return f"map {source} {target} {{\n{body}}}\n"
