"""The accounts of several servers, changed on all that can be reached and put in force for all, whoever was not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..errors import ExpectedError, StepError
from ..machine.fleet import Fleet, Server
from ..machine.host import Host
from ..report import Outcome
from ..settings import Settings
from .onhost import accord as onhost
from .onhost.accord import Proposed
from .onhost.committed import FASTER

# Somebody else changes accounts at the same moment: then what is to be done is worked out once more.
ATTEMPTS = 5
R = TypeVar("R")
Propose = Callable[[Host, Settings], Proposed]


@dataclass(frozen=True)
class Agreed:
    """A change that is in force. done: what became of each account; [] for none. behind: who does not have it yet."""

    done: list[str]
    has: Sequence[Server] = ()
    behind: Sequence[str] = ()

    def outcome(self, summary: str, details: Sequence[str] = ()) -> Outcome:
        """What to say of it."""
        where = "all" if not self.behind else f"{len(self.has)} of {len(self.has) + len(self.behind)}"
        late = [
            f"{name} was not reached: it serves nobody now, and follows by itself within a minute of being back"
            for name in self.behind
        ]
        return Outcome(f"{summary} on {where} servers", details=[*details, *late], doubtful=bool(late))


def change(servers: Fleet, propose: Propose, details: Sequence[str] = ()) -> Agreed:
    """Do it. It counts on all of them when this returns; one that was not reached serves nobody until it has it.

    propose: says on a server what shall be. details: what must not be lost where it is not in force at the end.
    Raises StepError; FleetError where no server could be asked.
    """
    for _ in range(ATTEMPTS):
        try:
            return _attempt(servers, propose, details)
        except ExpectedError as error:
            if error.reason != FASTER:
                raise
    raise StepError("somebody else changes the accounts all the time", *details, "the same command again")


def _attempt(servers: Fleet, propose: Propose, details: Sequence[str]) -> Agreed:
    if not servers.servers:
        raise servers.failed("htpasswd", servers.away)
    proposed = _first_that_answers(servers.servers, propose)
    new = proposed["new"]
    if not new:
        return Agreed(proposed["done"])

    def take(host: Host, settings: Settings) -> None:
        host.call(onhost.take, settings.deploy_dir, new)

    def commit(host: Host, settings: Settings) -> None:
        host.call(onhost.commit, settings.deploy_dir, new)

    taken = servers.each("accounts", take, gather=True)
    has = [each for each in servers.servers if each.name in taken.values]
    if not has:
        raise servers.failed("htpasswd", taken.errors)
    try:
        _first_that_answers(has, commit)
    except ExpectedError as error:
        if error.reason == FASTER:
            raise
        raise StepError(
            f"the accounts are changed on {_names(has)}, but not in force for all: {error.what}",
            *details, *error.remedies, "then the same command again; else it is taken back within minutes",
        ) from None  # fmt: skip
    behind = [each.name for each in servers.servers if each not in has]
    return Agreed(proposed["done"], has, [*behind, *servers.away])


def begin(host: Host, settings: Settings) -> Outcome:
    """For `bootstrap`, once the registry runs on the first: put its accounts in force, or have those that are."""
    if host.call(onhost.begin, settings.deploy_dir):
        return Outcome("the accounts are in force for all servers")
    return Outcome("the accounts are those in force", changed=False)


def heal(host: Host, settings: Settings) -> Outcome:
    """Have the accounts on a server that are in force, where they are not there."""
    if host.call(onhost.heal, settings.deploy_dir):
        return Outcome("fetched the accounts that are in force")
    return Outcome("the accounts are those in force", changed=False)


def bring(first: Host, host: Host, settings: Settings) -> Outcome:
    """For `bootstrap`, before anything runs on another server: have the accounts there that are in force.

    first: a server whose registry runs.
    """
    current = first.call(onhost.current, settings.deploy_dir)
    if not current:
        raise StepError("no accounts are in force for all servers yet", "./fab bootstrap")
    changed = host.call(onhost.bring, settings.deploy_dir, current)
    return Outcome("accounts brought" if changed else "the accounts are those in force", changed=changed)


def _first_that_answers(servers: Sequence[Server], action: Callable[[Host, Settings], R]) -> R:
    wrong: list[ExpectedError] = []
    for each in servers:
        try:
            return action(each.host, each.settings)
        except ExpectedError as error:
            if error.reason == FASTER:
                raise
            wrong.append(error)
    raise wrong[0]


def _names(servers: Sequence[Server]) -> str:
    return ", ".join(each.short for each in servers)
