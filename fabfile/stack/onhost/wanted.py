"""What nginx shall run on this server: the files of one generation (generations.py)."""

from __future__ import annotations

import re
import time
from pathlib import Path

from ... import layout
from ...accounts.onhost import generation, sessions
from ...accounts.onhost.accounts_conf import maps
from ...machine.onhost import beneath
from . import relay
from .generations import content, synced

MAPS = "accounts.conf"
SESSIONS = "sessions.conf"
CHALLENGE = "challenge.conf"
GENERATION = "generation.conf"


def wanted(root: Path, *, make: bool = True) -> dict[str, bytes]:
    """All of it: what was synced, the accounts as they are; or the relay, where the registry has moved away.

    make: also the secret of the page's sessions, where there is none.
    """
    if gone := relay.moved(str(root)):
        return relay.configuration(synced(root), gone["address"])
    return with_accounts(root, {**synced(root), **_challenge(root)}, make=make)


def _challenge(root: Path) -> dict[str, bytes]:
    """How nginx answers any challenge for the account that several servers share: with token and thumbprint (RFC 8555,
    8.1). nginx.conf includes it where there are several.
    """
    file = root / layout.THUMBPRINT
    thumbprint = beneath.text(file.parent, file.name) if beneath.there(file.parent, file.name) else ""
    if not re.fullmatch(r"[A-Za-z0-9_-]{43}", thumbprint):
        return {}
    return {
        CHALLENGE: (
            "# Written by `up`: whichever server of this registry is asked has the answer to each challenge.\n"
            r"location ~ ^/\.well-known/acme-challenge/(?<challenge>[A-Za-z0-9_-]+)\z {"
            "\n"
            "    default_type text/plain;\n"
            f'    return 200 "$challenge.{thumbprint}";\n'
            "}\n"
        ).encode()
    }


def with_accounts(root: Path, config: dict[str, bytes], day: int = 0, *, make: bool = True) -> dict[str, bytes]:
    """A configuration with the accounts as they are. day: of the page's sessions, 0 for the one that is live."""
    config = {**config, MAPS: maps(root / layout.ACCOUNTS), **relay.known(root)}
    if layout.FLEET_CONF in config:
        config[GENERATION] = generation.conf(root)
    if page := config.get(layout.PAGE_CONF):
        key = sessions.secret(root / layout.PAGE_SECRET, make=make)
        config[SESSIONS] = sessions.maps(root / layout.ACCOUNTS, page, key, day or _day(root))
    return config


def known(root: Path) -> bool:
    """Whether what nginx has is of the accounts as they are; where it has none, there is nothing to know."""
    live = content(root / layout.LIVE)
    return MAPS not in live or (live[MAPS], live.get(GENERATION)) == (
        maps(root / layout.ACCOUNTS),
        generation.conf(root),
    )


def _day(root: Path) -> int:
    """The day of the sessions that are live, so that another `up` changes nothing; today where that is too old."""
    today, live = int(time.time()) // sessions.DAY, root / layout.LIVE / SESSIONS
    was = sessions.day_of(live.read_bytes()) if live.is_file() else 0
    return was if was in (today, today - 1) else today


def as_live(root: Path) -> dict[str, bytes]:
    """The configuration that is live, without the certificate."""
    return {n: c for n, c in content(root / layout.LIVE).items() if not n.startswith(f"{layout.TLS}/")}
