"""Names, passwords and their hashes. A password comes from a prompt or standard input, never from argv."""

from __future__ import annotations

import getpass
import secrets
import sys

from .. import rules
from ..errors import UsageError
from ..secret import Secret
from .onhost import roles
from .onhost.accounts_file import COST, Rights

# Beyond this length bcrypt ignores the rest, the registry's too.
MAX_BYTES = 72
# An imported hash of more would keep a core busy for seconds at each login.
MAX_COST = 14


def hashed(user: str, password: Secret, cost: int = COST) -> str:
    """One line of the accounts file: `user:$2y$…` (bcrypt, the only hash that the registry takes)."""
    from passlib.apache import HtpasswdFile  # slow to import
    from passlib.context import CryptContext

    context = CryptContext(["bcrypt"], bcrypt__default_rounds=cost, bcrypt__default_ident="2y")
    file = HtpasswdFile(context=context, default_scheme="bcrypt")
    file.set_password(user, password.reveal())
    return str(file.to_string().decode().strip())


def generated() -> Secret:
    """A new random password of 160 bits."""
    return Secret(secrets.token_urlsafe(20))


def asked(user: str) -> Secret:
    """The password of a user: a hidden prompt, twice, or the first line of standard input.

    Raises UsageError when it is empty or the two differ.
    """
    if not sys.stdin.isatty():
        password = Secret(sys.stdin.readline().rstrip("\r\n"))
        if not password:
            raise UsageError(
                f"no password for {user} on standard input",
                "run it on a terminal, pipe the password in, or add --generate",
            )
        return checked_password(password)
    try:
        password = checked_password(Secret(getpass.getpass(f"New password for {user}: ")))
        again = Secret(getpass.getpass("The same once more: "))
    except EOFError:
        raise UsageError(f"no password for {user}; nothing was changed", "run it again") from None
    if again != password:
        raise UsageError("the two passwords differ; nothing was changed", "run it again")
    return password


def checked_name(user: str) -> str:
    """The name, or UsageError with what is expected."""
    try:
        return rules.user_name(user)
    except ValueError as error:
        raise UsageError(f"user name '{user}': {error}") from None


def checked_password(password: Secret) -> Secret:
    """The password, or UsageError with what is wrong. A colon is fine."""
    text = password.reveal()
    if not text:
        raise UsageError("the password is empty", "choose another, or add --generate")
    if "\0" in text or "\n" in text or "\r" in text:
        raise UsageError("the password contains a NUL or a line break", "choose another")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise UsageError("the password is not valid UTF-8 text", "choose another") from None
    if size > MAX_BYTES:
        raise UsageError(
            f"the password has {size} bytes; bcrypt takes {MAX_BYTES} at most",
            "choose a shorter one",
        )
    return password


def rights(role: str, repositories: list[str] | None) -> Rights:
    """The options --role and --repository, checked, as accounts.put takes them."""
    if role == roles.METRICS and repositories:
        raise UsageError("--repository: an account with the role metrics has no part in any repository")
    try:
        return {
            "role": roles.role(role) if role else "",
            "repositories": rules.repositories(repositories) if repositories else None,
        }
    except ValueError as error:
        option = "--role" if role and role not in roles.ROLES else "--repository"
        raise UsageError(f"{option}: {error}") from None


def new_password(user: str, *, generate: bool) -> Secret:
    """A password for a user whose name is checked first: generated, or asked for."""
    checked_name(user)
    return generated() if generate else asked(user)
