"""`htpasswd`: who may log in, and what for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from .. import report
from ..accounts import htpasswd_file
from ..accounts.onhost.accounts_file import Account, Rights
from ..accounts.onhost.roles import METRICS
from ..accounts.passwords import checked_name, checked_password, generated, hashed
from ..errors import StepError, UsageError
from ..machine.fleet import Fleet
from ..machine.host import Host, refuse_away, require_deployed
from ..machine.remote_call import Call
from ..report import Outcome
from ..secret import Secret
from ..settings import Settings
from ..stack import accord, logins
from ..stack.onhost import accord as onhost
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
    entry, details = _asked(settings, user, password, rights, show=show)
    (done,) = logins.enter(host, settings, {user: entry}, rights, details=details)
    page.accounts(host, settings)
    return Outcome(f"account {user} {done}", details=details)


def _asked(
    settings: Settings, user: str, password: Secret | None, rights: Rights, *, show: bool
) -> tuple[str, list[str]]:
    """The line of an account, and what to say of its password. Raises UsageError as `put`."""
    if rights["role"] == METRICS and not settings.metrics:
        raise UsageError("--role metrics is for METRICS=on", "set it in .env, then ./fab -H … sync up")
    entry = hashed(checked_name(user), checked_password(password)) if password else ""
    return entry, [f"password of {user}, shown this once: {password.reveal()}"] if show and password else []


def put_on_all(servers: Fleet, *, user: str, password: Secret | None, rights: Rights, show: bool = False) -> Outcome:
    """`put` where several servers are one registry: it counts on all of them."""
    entry, details = _asked(servers.first.settings, user, password, rights, show=show)
    agreed = _agreed(
        servers,
        lambda host, settings: host.call(onhost.put, settings.deploy_dir, {user: entry}, rights),
        details,
    )
    return agreed.outcome(f"account {user} {agreed.done[0]}", details)


def remove_on_all(servers: Fleet, *, user: str) -> Outcome:
    """`remove` where several servers are one registry: it counts on all of them."""
    agreed = _agreed(servers, lambda host, settings: host.call(onhost.remove, settings.deploy_dir, user))
    if agreed.done:
        return agreed.outcome(f"account {user} removed")
    return Outcome(f"there is no account {user}", changed=False)


def bring_on_all(servers: Fleet, *, file: str, rights: Rights) -> Outcome:
    """`bring` where several servers are one registry: it counts on all of them."""
    entries, refused = htpasswd_file.read(file)
    agreed = accord.Agreed([])
    if entries:
        agreed = _agreed(servers, lambda host, settings: host.call(onhost.put, settings.deploy_dir, entries, rights))
    counted = _counted(file, agreed.done, entries, refused)
    return agreed.outcome(f"accounts of {file}: {counted}") if agreed.has else Outcome(counted, changed=False)


def _agreed(servers: Fleet, propose: accord.Propose, details: Sequence[str] = ()) -> accord.Agreed:
    agreed = accord.change(servers, propose, details)
    if agreed.has:
        servers.part(agreed.has).each("page", page.accounts, gather=True)
    return agreed


def bring(host: Host, settings: Settings, file: str, rights: Rights) -> Outcome:
    """Add the accounts of a htpasswd file of the operator's machine, with their passwords.

    Raises StepError, once the good ones are there, when a line was not taken; UsageError for no file.
    """
    entries, refused = htpasswd_file.read(file)
    done: list[str] = []
    if entries:
        done = logins.enter(host, settings, entries, rights)
        page.accounts(host, settings)
    counted = _counted(file, done, entries, refused)
    return Outcome(f"accounts of {file}: {counted}", changed=bool(done))


def _counted(file: str, done: Sequence[str], entries: Mapping[str, str], refused: Sequence[str]) -> str:
    """How many were added and changed. Raises StepError where a line was not taken."""
    for text in refused:
        report.line("warn", "htpasswd", text, 0.0)
    counted = ", ".join(f"{done.count(what)} {what}" for what in ("added", "changed"))
    if refused:
        raise StepError(
            f"{file}: {len(refused)} of {len(entries) + len(refused)} lines were not taken ({counted})",
            "give each of them a new password: ./fab -H … htpasswd --user NAME",
        )
    return counted


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
