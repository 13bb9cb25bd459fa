"""`htpasswd`: who may log in. Passwords come from a prompt or standard input, never from argv."""

from __future__ import annotations

import getpass
import secrets
import sys

from . import report
from .errors import UsageError
from .host import Host
from .onhost import accounts as onhost
from .report import Outcome
from .settings import Settings, user_name

# Beyond this length bcrypt ignores the rest, the registry's too.
MAX_BYTES = 72
# The registry checks the hash at every request: 63 ms at this cost, 249 ms at 12 (two cores).
COST = 10


def path(settings: Settings) -> str:
    """The accounts file on the server."""
    return f"{settings.deploy_dir}/registry/auth/htpasswd"


def put(host: Host, settings: Settings, user: str, password: str, *, show: bool = False) -> Outcome:
    """Add an account or change its password. It counts from the next request on.

    show: print the password, once, because we made it.

    Raises UsageError for a bad name or password, StepError where the file is damaged.
    """
    entry = hashed(checked_name(user), checked_password(password))
    done = host.call(onhost.put, path(settings), user, entry)
    details = [f"password of {user}, shown this once: {password}"] if show else []
    return Outcome(f"account {user} {done}", details=details)


def remove(host: Host, settings: Settings, user: str) -> Outcome:
    """Remove an account. Its password is refused from the next request on."""
    checked_name(user)
    if host.call(onhost.remove, path(settings), user):
        return Outcome(f"account {user} removed")
    return Outcome(f"there is no account {user}", changed=False)


def listed(host: Host, settings: Settings) -> list[dict[str, object]]:
    """Every account: its name, and whether the registry can use its hash."""
    return host.call(onhost.listed, path(settings))


def exists(host: Host, settings: Settings, user: str) -> bool:
    """Whether there is an account of that name."""
    return any(account["user"] == user for account in listed(host, settings))


def hashed(user: str, password: str, cost: int = COST) -> str:
    """One line of the accounts file: `user:$2y$…` (bcrypt, the only hash that the registry takes)."""
    from passlib.apache import HtpasswdFile  # slow to import
    from passlib.context import CryptContext

    context = CryptContext(["bcrypt"], bcrypt__default_rounds=cost, bcrypt__default_ident="2y")
    file = HtpasswdFile(context=context, default_scheme="bcrypt")
    file.set_password(user, password)
    return str(file.to_string().decode().strip())


def generated() -> str:
    """A new random password of 160 bits."""
    return secrets.token_urlsafe(20)


def asked(user: str) -> str:
    """The password of a user: a hidden prompt, twice, or the first line of standard input.

    Raises UsageError when it is empty or the two differ.
    """
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise UsageError(
                f"no password for {user} on standard input",
                "run it on a terminal, pipe the password in, or add --generate",
            )
        return checked_password(password)
    password = checked_password(getpass.getpass(f"New password for {user}: "))
    if getpass.getpass("The same once more: ") != password:
        raise UsageError("the two passwords differ; nothing was changed", "run it again")
    return password


def checked_name(user: str) -> str:
    """The name, or UsageError with what is expected."""
    try:
        return user_name(user)
    except ValueError as error:
        raise UsageError(f"user name '{user}': {error}") from None


def checked_password(password: str) -> str:
    """The password, or UsageError with what is wrong. A colon is fine."""
    if not password:
        raise UsageError("the password is empty", "choose another, or add --generate")
    if "\0" in password or "\n" in password or "\r" in password:
        raise UsageError("the password contains a NUL or a line break", "choose another")
    try:
        size = len(password.encode())
    except UnicodeEncodeError:
        raise UsageError("the password is not valid UTF-8 text", "choose another") from None
    if size > MAX_BYTES:
        raise UsageError(
            f"the password has {size} bytes; bcrypt takes {MAX_BYTES} at most",
            "choose a shorter one",
        )
    return password


def new_password(user: str, *, generate: bool) -> str:
    """A password for a user whose name is checked first: generated, or asked for."""
    checked_name(user)
    return generated() if generate else asked(user)


def ensure_first(host: Host, settings: Settings, *, generate: bool) -> None:
    """For `bootstrap`: make the account REGISTRY_USER unless it is there."""
    user = settings.registry_user
    if exists(host, settings, user):
        report.step("htpasswd", lambda: Outcome(f"account {user} is there", changed=False))
        return
    password = new_password(user, generate=generate)
    report.step("htpasswd", lambda: put(host, settings, user, password, show=generate))


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
