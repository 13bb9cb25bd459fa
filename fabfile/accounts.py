"""`htpasswd`: who may log in, and what for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import compose, report
from .credentials import MAX_COST, checked_name, checked_password, generated, hashed
from .errors import StepError, UsageError
from .host import Host
from .onhost import accounts as onhost
from .onhost import logins
from .onhost.accounts import Rights
from .report import Outcome
from .settings import Settings


def put(  # noqa: PLR0913 - an account is that much
    host: Host,
    settings: Settings,
    user: str,
    password: str,
    rights: Rights,
    *,
    show: bool = False,
) -> Outcome:
    """Add an account or change it. It counts when this returns.

    password: "" keeps the one that it has. rights: see onhost.accounts.Rights. show: print the
    password, once, because we made it.

    Raises UsageError for a bad name or password, StepError where the file is damaged.
    """
    entry = hashed(checked_name(user), checked_password(password)) if password else ""
    details = [f"password of {user}, shown this once: {password}"] if show else []
    (done,) = enter(host, settings, {user: entry}, rights, details=details)
    return Outcome(f"account {user} {done}", details=details)


class UntoldError(StepError):
    """The accounts file is changed, but nginx does not know of it."""


def enter(  # noqa: PLR0913 - see `put`
    host: Host,
    settings: Settings,
    entries: dict[str, str],
    rights: Rights,
    *,
    details: Sequence[str] = (),
    alone: bool = False,
) -> list[str]:
    """onhost.accounts.put, in force when this returns.

    details: what must not be lost when nginx cannot be told. Raises UntoldError then.
    """
    test = compose.nginx_test_running(settings)
    answer = host.call(logins.put, settings.deploy_dir, test, entries, rights, alone=alone)
    if answer["problem"]:
        # Not in the first line: that one goes to the audit log.
        raise UntoldError(
            f"{host.name}: the accounts file is changed, but nginx was not told: {answer['problem']}",
            "; ".join([*details, answer["remedy"]]),
        )
    done: list[str] = answer["done"]
    return done


def remove(host: Host, settings: Settings, user: str) -> Outcome:
    """Remove an account. Its password is refused from the next request on."""
    if host.call(logins.remove, settings.deploy_dir, compose.nginx_test_running(settings), user):
        return Outcome(f"account {user} removed")
    return Outcome(f"there is no account {user}", changed=False)


def bring(host: Host, settings: Settings, file: str, rights: Rights) -> Outcome:
    """Add the accounts of a htpasswd file of the operator's machine, with their passwords.

    Raises StepError, once the good ones are there, when a line was not taken; UsageError for no file.
    """
    entries, refused = read(file)
    done: list[str] = []
    if entries:
        done = enter(host, settings, entries, rights)
    for text in refused:
        report.line("warn", "htpasswd", text, 0.0)
    counted = ", ".join(f"{done.count(what)} {what}" for what in ("added", "changed"))
    if refused:
        raise StepError(
            f"{file}: {len(refused)} of {len(entries) + len(refused)} lines were not taken ({counted})",
            "give each of them a new password: ./fab -H … htpasswd --user NAME",
        )
    return Outcome(f"accounts of {file}: {counted}", changed=bool(done))


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
        checked_name(user)
    except UsageError as error:
        return error.what.partition(": ")[2]
    match = onhost.BCRYPT.fullmatch(digest)
    if not match:
        kinds = {"$apr1$": "MD5", "{SHA}": "SHA-1", "$5$": "SHA-256", "$6$": "SHA-512"}
        kind = next((name for mark, name in kinds.items() if digest.startswith(mark)), "no bcrypt")
        return f"a hash ({kind}) that the registry does not take"
    if int(match[1]) > MAX_COST:
        return f"bcrypt of cost {match[1]}: each login would take minutes ({MAX_COST} at most)"
    return "twice in this file" if user in entries else ""


def listed(host: Host, settings: Settings) -> list[dict[str, Any]]:
    """Every account: its name, role, repositories, date, and whether the registry can use its hash."""
    return host.call(onhost.listed, settings.accounts_file)


def exists(host: Host, settings: Settings, user: str) -> bool:
    """Whether there is an account of that name."""
    return any(account["user"] == user for account in listed(host, settings))


def first(host: Host, settings: Settings, passwords: list[str]) -> Outcome:
    """For `bootstrap`: make the admin REGISTRY_USER with a new password, unless it is there.

    The password is put into `passwords`, for the caller to show.
    """
    user = settings.registry_user
    if exists(host, settings, user):
        return Outcome(f"account {user} is there", changed=False)
    password = generated()
    try:
        done = put(host, settings, user, password, {"role": "admin", "repositories": None})
    except UntoldError:
        passwords.append(password)
        raise
    passwords.append(password)
    return done


def show(accounts: list[dict[str, Any]], *, as_json: bool = False) -> None:
    """Print the accounts."""
    if as_json:
        print(json.dumps(accounts, indent=2))
        return
    rows = [
        (
            account["user"],
            account["role"],
            ", ".join(account["repositories"]) or "all",
            account["changed"] or "before roles, or by hand",
            f"bcrypt {account['cost']}" if account["usable"] else "not bcrypt: the registry refuses it",
        )
        for account in accounts
    ]
    report.table(("user", "role", "repositories", "changed", "hash"), rows)
