"""`htpasswd`: who may log in, and what for."""

from __future__ import annotations

import json
from collections.abc import Callable

from .. import report
from ..accounts import htpasswd_file
from ..accounts.onhost.accounts_file import Account, Rights
from ..accounts.onhost.roles import METRICS
from ..accounts.passwords import checked_name, checked_password, generated, hashed
from ..errors import StepError, UsageError
from ..machine.host import Host, refuse_away, require_deployed
from ..machine.remote_call import Call
from ..report import Outcome
from ..secret import Secret
from ..settings import Settings
from ..stack import logins
from ..store import page


def looks(settings: Settings) -> list[Call]:
    """What `first` asks of the server, for Host.foresee."""
    return [logins.look(settings)]


def put(  # noqa: PLR0913 - an account is that much
    host: Host,
    settings: Settings,
    user: str,
    password: Secret | None,
    rights: Rights,
    *,
    show: bool = False,
) -> Outcome:
    """Add an account or change it. It counts when this returns.

    password: None keeps the one that it has. rights: see accounts_file.Rights. show: print the
    password, once, because we made it.

    Raises UsageError for a bad name or password, and for a role that the settings do not have; StepError where the file
    is damaged.
    """
    if rights["role"] == METRICS and not settings.metrics:
        raise UsageError("--role metrics is for METRICS=on", "set it in .env, then ./fab -H … sync up")
    entry = hashed(checked_name(user), checked_password(password)) if password else ""
    details = [f"password of {user}, shown this once: {password.reveal()}"] if show and password else []
    (done,) = logins.enter(host, settings, {user: entry}, rights, details=details)
    page.accounts(host, settings)
    return Outcome(f"account {user} {done}", details=details)


def bring(host: Host, settings: Settings, file: str, rights: Rights) -> Outcome:
    """Add the accounts of a htpasswd file of the operator's machine, with their passwords.

    Raises StepError, once the good ones are there, when a line was not taken; UsageError for no file.
    """
    entries, refused = htpasswd_file.read(file)
    done: list[str] = []
    if entries:
        done = logins.enter(host, settings, entries, rights)
        page.accounts(host, settings)
    for text in refused:
        report.line("warn", "htpasswd", text, 0.0)
    counted = ", ".join(f"{done.count(what)} {what}" for what in ("added", "changed"))
    if refused:
        raise StepError(
            f"{file}: {len(refused)} of {len(entries) + len(refused)} lines were not taken ({counted})",
            "give each of them a new password: ./fab -H … htpasswd --user NAME",
        )
    return Outcome(f"accounts of {file}: {counted}", changed=bool(done))


def remove(host: Host, settings: Settings, user: str) -> Outcome:
    """Remove an account. Its password, and its session on the page, are refused from the next request on."""
    done = logins.remove(host, settings, user)
    page.accounts(host, settings)
    return done


def first(host: Host, settings: Settings, made: Callable[[Secret], None]) -> Outcome:
    """For `bootstrap`: make the admin REGISTRY_USER with a new password, unless it is there.

    made: is told the password, which it has to show.
    """
    user = settings.registry_user
    if logins.exists(host, settings, user):
        return Outcome(f"account {user} is there", changed=False)
    password = generated()
    try:
        done = put(host, settings, user, password, {"role": "admin", "repositories": None})
    except logins.UntoldError:
        made(password)
        raise
    made(password)
    return done


def listed(host: Host, settings: Settings) -> list[Account]:
    """Every account, see accounts_file.listed. Raises StepError where DEPLOY_DIR is away, too."""
    try:
        found = logins.listed(host, settings)
    except StepError:
        require_deployed(host, settings.deploy_dir)
        raise
    if not found:
        # Docker makes empty directories for what it cannot find.
        refuse_away(host, settings.deploy_dir)
    return found


def show(accounts: list[Account], *, as_json: bool = False) -> None:
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
