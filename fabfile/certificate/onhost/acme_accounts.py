"""certbot's accounts at an ACME server: which one counts, and what becomes of one that is of no use.

They lie in accounts/HOST/PATH/ID below certbot's directory (certbot, AccountFileStorage).
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...machine.onhost import beneath
from ...machine.onhost.atomic import RefusedError

KEY = "private_key.json"
PARTS = ("meta.json", KEY, "regr.json")
FORGOTTEN = "forgotten"
# What says that the authority does not know the account (RFC 8555, 6.7), that it was ended there, or that
# the one that the renewal file names is not here: certbot's words, and the authorities'.
UNKNOWN = re.compile(
    r"accountDoesNotExist|Account \S+ not found|Account at \S+ does not exist|\baccount\b.{0,40}\bdeactivated", re.I
)


def known(conf: str, server: str) -> list[str]:
    """IDs of the accounts at that server, the oldest first. conf: certbot's directory; server: a directory URL."""
    return sorted((name for name, made in _accounts(Path(conf), server).items() if made), key=_order(conf, server))


def chosen(conf: str, server: str, lineage: str) -> str:
    """The account to use: that of the certificate's renewal file, else the newest; '' where there is none.

    With more than one certbot asks, and at night nobody answers.
    """
    ids = known(conf, server)
    try:
        text = beneath.text(Path(conf), f"renewal/{lineage}.conf")
    except (FileNotFoundError, NotADirectoryError, RefusedError):
        text = ""
    named = re.search(r"^account = (\w+)$", text, re.M)
    if named and named[1] in ids:
        return named[1]
    return ids[-1] if ids else ""


def part(conf: str, server: str, account: str, name: str) -> str:
    """One of the files of an account, see PARTS."""
    return beneath.text(Path(conf), f"{_place(server)}/{account}/{name}")


def take(conf: str, server: str, account: str, parts: dict[str, str]) -> bool:
    """Have an account of another host, and no other one at that server: what was here is moved out of sight.

    Returns whether anything was changed.
    """
    top, place = Path(conf), _place(server)
    if not re.fullmatch(r"\w{1,64}", account) or set(parts) != set(PARTS):
        raise RefusedError(f"{account!r} is no account of certbot's", "./fab -H … bootstrap")
    there = _accounts(top, server)
    ours = bool(there.get(account)) and all(part(conf, server, account, name) == parts[name] for name in PARTS)
    others = [name for name in there if name != account or not ours]
    for name in others:
        set_aside(conf, server, name)
    if not ours:
        with beneath.directory(top, f"{place}/{account}", make=0o700) as directory:
            for name, text in parts.items():
                beneath.write_new(directory, name, text.encode(), 0o600)
    return bool(others) or not ours


def set_aside(conf: str, server: str, account: str) -> str:
    """Move an account out of certbot's sight. Returns its new place below `conf`, '' where there is none."""
    top = Path(conf)
    if not re.fullmatch(r"\w{1,64}", account):
        return ""
    name = f"{account}-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        with beneath.directory(top, _place(server)) as old, beneath.directory(top, FORGOTTEN, make=0o700) as new:
            os.rename(account, name, src_dir_fd=old, dst_dir_fd=new)
    except (FileNotFoundError, NotADirectoryError, RefusedError):
        return ""
    return f"{FORGOTTEN}/{name}"


def set_damaged_aside(conf: str, server: str) -> list[str]:
    """Move accounts out of sight that a full disk left half made: certbot ends at the first of them."""
    damaged = [name for name, made in _accounts(Path(conf), server).items() if not made]
    return [place for name in damaged if (place := set_aside(conf, server, name))]


def _place(server: str) -> str:
    parts = urlsplit(server)
    return f"accounts/{parts.netloc}{parts.path}".rstrip("/")


def _accounts(top: Path, server: str) -> dict[str, dict[str, Any]]:
    """ID -> its meta.json; {} for one of which a file is missing or is no JSON."""
    try:
        with beneath.directory(top, _place(server)) as directory:
            names = [name for name in os.listdir(directory) if re.fullmatch(r"\w{1,64}", name)]  # noqa: PTH208 - of a handle
    except (FileNotFoundError, NotADirectoryError, RefusedError):
        # Also where certbot itself made a link of it (constants.LE_REUSE_SERVERS): then it chooses alone.
        return {}
    return {name: _meta(top, f"{_place(server)}/{name}") for name in names}


def _meta(top: Path, place: str) -> dict[str, Any]:
    try:
        found = {part: json.loads(beneath.text(top, f"{place}/{part}")) for part in PARTS}
    except (FileNotFoundError, NotADirectoryError, RefusedError, ValueError):
        return {}
    meta = found["meta.json"]
    return meta if isinstance(meta, dict) else {}


def _order(conf: str, server: str) -> Any:
    accounts = _accounts(Path(conf), server)
    # As text: `2026-11-26T13:31:40Z`.
    return lambda name: (str(accounts[name].get("creation_dt", "")), name)
