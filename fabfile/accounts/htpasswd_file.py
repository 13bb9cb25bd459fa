"""A htpasswd file of the operator's own machine."""

from __future__ import annotations

from pathlib import Path

from .. import rules
from ..errors import UsageError
from .onhost import accounts_file as onhost
from .passwords import MAX_COST


def read(file: str) -> tuple[dict[str, str], list[str]]:
    """A htpasswd file: user -> entry that the registry takes, and why each other line is not one."""
    try:
        text = Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", "") or "not text"
        raise UsageError(f"--import {file}: {why}") from None
    entries: dict[str, str] = {}
    refused = []
    for number, line in enumerate(text.splitlines(), 1):
        user, colon, digest = line.strip().partition(":")
        if not user.strip() or user.startswith("#"):
            continue
        if why := _not_taken(user, digest if colon else "", entries):
            refused.append(f"{file}:{number}: {user}: {why}")
        else:
            entries[user] = f"{user}:{digest}"
    return entries, refused


def _not_taken(user: str, digest: str, entries: dict[str, str]) -> str:
    try:
        rules.user_name(user)
    except ValueError as error:
        return str(error)
    match = onhost.BCRYPT.fullmatch(digest)
    if not match:
        kinds = {"$apr1$": "MD5", "{SHA}": "SHA-1", "$5$": "SHA-256", "$6$": "SHA-512"}
        kind = next((name for mark, name in kinds.items() if digest.startswith(mark)), "no bcrypt")
        return f"a hash ({kind}) that the registry does not take"
    if int(match[1]) > MAX_COST:
        return f"bcrypt of cost {match[1]}: each login would take minutes ({MAX_COST} at most)"
    return "twice in this file" if user in entries else ""
