"""The accounts of the server, changed so that nginx and the registry know at once."""

from __future__ import annotations

from collections.abc import Sequence

from ..accounts.onhost import accounts_file
from ..accounts.onhost.accounts_file import Account, Rights
from ..errors import StepError
from ..machine.host import Host
from ..machine.onhost.atomic import Refusal
from ..machine.remote_call import Call
from ..report import Outcome
from ..settings import Settings
from .onhost import logins as onhost


class UntoldError(StepError):
    """The accounts file is changed, but nginx does not know of it."""


def enter(  # noqa: PLR0913 - an account is that much
    host: Host,
    settings: Settings,
    entries: dict[str, str],
    rights: Rights,
    *,
    details: Sequence[str] = (),
    alone: bool = False,
) -> list[str]:
    """accounts_file.put, in force when this returns.

    details: what must not be lost when nginx cannot be told. Raises UntoldError then.
    """
    answer = host.call(onhost.put, settings.deploy_dir, entries, rights, alone=alone)
    _require_told(host, answer["untold"], details)
    return answer["done"]


def _require_told(host: Host, untold: Refusal | None, details: Sequence[str] = ()) -> None:
    if untold:
        # Not in the first line: that one goes to the audit log.
        raise UntoldError(
            f"{host.name}: the accounts file is changed, but nginx was not told: {untold['what']}",
            *details, *untold["remedies"], "then this again", reason=untold["reason"],
        )  # fmt: skip


def remove(host: Host, settings: Settings, user: str) -> Outcome:
    """Remove an account. Its password is refused from the next request on."""
    answer = host.call(onhost.remove, settings.deploy_dir, user)
    _require_told(host, answer["untold"])
    if answer["done"]:
        return Outcome(f"account {user} removed")
    return Outcome(f"there is no account {user}", changed=False)


def look(settings: Settings) -> Call:
    """What `listed` asks of the server, for Host.foresee."""
    return accounts_file.listed, (settings.accounts_file,), {}


def listed(host: Host, settings: Settings) -> list[Account]:
    """Every account: its name, role, repositories, date, and whether the registry can use its hash."""
    return host.call(accounts_file.listed, settings.accounts_file)


def exists(host: Host, settings: Settings, user: str) -> bool:
    """Whether there is an account of that name."""
    return any(account["user"] == user for account in listed(host, settings))
