"""sessions.conf: who is signed in on the page, and which list is theirs. What the page is: deploy/nginx/page.conf.j2.

A session is a token of the day: nobody has to write down who signed in. Today's and yesterday's count. It is made of
the account's own line, so it ends with a new password or other rights, and nobody else's does.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ...machine.onhost.atomic import replace
from .accounts_conf import NAME, as_map, quoted
from .accounts_file import TEMPORARY, Line, lines

HEAD = "# Written by `htpasswd`, `up` and cron from the accounts file; your changes would be overwritten.\n"
DAY = 86400
# What the templates tell of the settings.
TOLD = re.compile(rb"^# page: mode=(on|admin) public=(\S*)$", re.M)
WRITTEN = re.compile(rb"^# day (\d+)$", re.M)
# nginx takes no parameter of more than 4096 bytes.
LONGEST = 3500
# The view of whoever may pull all.
ALL = "all"


def secret(path: Path, *, make: bool) -> str:
    """Of this server. make: where there is none, make one; without it FileNotFoundError is raised."""
    if make and not path.is_file():
        replace(path, os.urandom(32).hex().encode(), 0o600)
    return path.read_text("ascii")


def told(page: bytes) -> tuple[str, tuple[str, ...]]:
    """PAGE and ANONYMOUS_PULL, as a page.conf tells them; "off" where it is none."""
    found = TOLD.search(page)
    if not found:
        return "off", ()
    return found[1].decode(), tuple(filter(None, found[2].decode().split(",")))


def view(patterns: Sequence[str], public: Sequence[str]) -> str:
    """What stands for all that somebody may see: other rights have another one. patterns: none for all of it."""
    if not patterns:
        return ALL
    return hashlib.sha256("\n".join(sorted({*patterns, *public})).encode()).hexdigest()[:16]


def views(accounts: Sequence[Line], mode: str, public: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """View -> its patterns, none for all; of each account that may sign in, and of strangers."""
    found = {view(line.repositories, public): line.repositories for line in _signing_in(accounts, mode)}
    if public and mode == "on":
        found[view(public, ())] = ()
    return {name: () if name == ALL else tuple(sorted({*patterns, *public})) for name, patterns in found.items()}


def maps(accounts_file: Path, page: bytes, key: str, day: int) -> bytes:
    """sessions.conf: $ticket, $signed_in, $view and $patterns. Raises RefusedError as accounts.lines.

    page: the page.conf that it goes with; key: the secret of this server; day: since 1970.
    """
    mode, public = told(page)
    tokens, sessions, seen, patterns = [], [], [], []
    for line in _signing_in(lines(accounts_file), mode):
        user = f'"~^{quoted(line.user)}\\z"'
        today, yesterday = (token(key, line, day - ago) for ago in (0, 1))
        tokens.append(f"{user} {today};")
        sessions.append(f'"~^(?:{today}|{yesterday})\\z" {line.user};')
        seen.append(f"{user} {view(line.repositories, public)};")
        patterns.append(f"{user} '{_listed(line.repositories or ('*',))}';")
    strangers = public if mode == "on" else ()
    return "\n".join(
        [
            f"{HEAD}# day {day}\n",
            as_map("$account", "$ticket", tokens, '""'),
            as_map("$http_x_session", "$signed_in", sessions, '""'),
            as_map("$account", "$view", seen, view(strangers, ()) if strangers else '""'),
            as_map("$account", "$patterns", patterns, f"'{_listed(strangers)}'"),
        ]
    ).encode()


def token(key: str, line: Line, day: int) -> str:
    """Of an account, for a day: 64 hexadecimal digits."""
    return hmac.new(key.encode(), f"{day}\n{line.user}\n{line}".encode(), hashlib.sha256).hexdigest()


def day_of(sessions: bytes) -> int:
    """Of a sessions.conf; 0 for none."""
    found = WRITTEN.search(sessions)
    return int(found[1]) if found else 0


def _signing_in(accounts: Sequence[Line], mode: str) -> list[Line]:
    """Not those of a push-test: so nobody else notices one."""
    named = [
        line for line in accounts if NAME.fullmatch(line.user) and line.cost and not TEMPORARY.fullmatch(line.user)
    ]
    return [line for line in named if mode == "on" or line.role == "admin"]


def _listed(patterns: Sequence[str]) -> str:
    """As JSON; the first of them where they are too many."""
    text = ""
    for each in patterns:
        if len(text) + len(each) + 3 > LONGEST:
            break
        text += f'{"," if text else ""}"{each}"'
    return f"[{text}]"
