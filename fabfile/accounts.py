"""`htpasswd`: who may log in."""

from __future__ import annotations

from . import report
from .credentials import checked_name, checked_password, generated, hashed
from .host import Host
from .onhost import accounts as onhost
from .report import Outcome
from .settings import Settings


def put(host: Host, settings: Settings, user: str, password: str, *, show: bool = False) -> Outcome:
    """Add an account or change its password. It counts from the next request on.

    show: print the password, once, because we made it.

    Raises UsageError for a bad name or password, StepError where the file is damaged.
    """
    entry = hashed(checked_name(user), checked_password(password))
    done = host.call(onhost.put, settings.accounts_file, user, entry)
    details = [f"password of {user}, shown this once: {password}"] if show else []
    return Outcome(f"account {user} {done}", details=details)


def remove(host: Host, settings: Settings, user: str) -> Outcome:
    """Remove an account. Its password is refused from the next request on."""
    if host.call(onhost.remove, settings.accounts_file, user):
        return Outcome(f"account {user} removed")
    return Outcome(f"there is no account {user}", changed=False)


def listed(host: Host, settings: Settings) -> list[dict[str, object]]:
    """Every account: its name, and whether the registry can use its hash."""
    return host.call(onhost.listed, settings.accounts_file)


def exists(host: Host, settings: Settings, user: str) -> bool:
    """Whether there is an account of that name."""
    return any(account["user"] == user for account in listed(host, settings))


def first(host: Host, settings: Settings, passwords: list[str]) -> Outcome:
    """For `bootstrap`: make the account REGISTRY_USER with a new password, unless it is there.

    The password is put into `passwords`, for the caller to show.
    """
    user = settings.registry_user
    if exists(host, settings, user):
        return Outcome(f"account {user} is there", changed=False)
    password = generated()
    done = put(host, settings, user, password)
    passwords.append(password)
    return done


def show(accounts: list[dict[str, object]]) -> None:
    """Print the accounts."""
    rows = [
        (
            str(account["user"]),
            "bcrypt" if account["usable"] else "not bcrypt: the registry refuses it",
        )
        for account in accounts
    ]
    report.table(("user", "hash"), rows)
