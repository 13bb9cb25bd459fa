"""`forget`: the registry goes on without one of its servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .. import report
from ..certificate.onhost import probe
from ..errors import UsageError
from ..layout import CRON_FILE
from ..machine.fleet import Fleet
from ..machine.host import Host
from ..names import place
from ..report import Outcome
from ..settings import HOSTS, Settings
from ..stack.onhost import relay
from ..text import counted
from . import down, pin, schedule, sync, up


def parted(settings: Settings, gone: str) -> tuple[tuple[str, ...], str]:
    """The servers that stay, and the one that goes, as HOSTS names them. Raises UsageError where it is none of them."""
    stay = tuple(name for name in settings.fleet if place(name) != place(gone))
    if not settings.fleet:
        raise UsageError("HOSTS names no several servers, so there is none to forget", "docs/fleet.md")
    if stay == settings.fleet:
        raise UsageError(f"HOSTS does not name {gone}", f"it names {', '.join(settings.fleet)}")
    return stay, next(name for name in settings.fleet if name not in stay)


def without(settings: Settings, stay: Sequence[str]) -> Settings:
    """The settings with those servers alone; one is no fleet any more."""
    return replace(settings, fleet=tuple(stay) if len(stay) > 1 else ())


def forget(stay: Fleet, gone: Fleet, name: str, settings: Settings, file: Path) -> None:
    """Have the others know of it no more, write HOSTS of the settings' file anew, and stop what runs on it.

    stay: the others, all of them reached, whose settings do not name it; gone: it alone, where it could be reached;
    settings: of the others; file: of the settings. Prints a line for each part, and what to take out of DNS. Raises
    FleetError at the first part that fails on one of the others: once more goes on.
    """
    with stay.exclusive(f"forget {name}"):
        stay.each("sync", lambda host, own: report.step("sync", lambda: sync.sync(host, own), host.option))
        stay.in_turn("up", lambda host, own: report.step("up", lambda: up.up(host, own), host.option))
        # The minute of one alone is another one.
        stay.each("schedule", lambda host, own: report.step("schedule", lambda: schedule.schedule(host, own)))
        report.step("dns", lambda: _dns(stay, settings, name))
        # A sick one is no reason to keep it.
        ended = gone.each("down", lambda host, own: report.step("down", lambda: _ended(host, own)), gather=True)
        report.step("forget", lambda: _noted(file, [each.name for each in stay.servers]))
    if not ended.values:
        print(f"It still runs, if it runs: should {name} come back, ./fab -H {name} down ends it there")


def _noted(file: Path, names: Sequence[str]) -> Outcome:
    """HOSTS in the operator's own file."""
    new = pin.put(file, {HOSTS: " ".join(names)})
    return Outcome(f"HOSTS in {file.name} names {counted(len(names), 'server')}: {', '.join(names)}", new)


def _dns(stay: Fleet, settings: Settings, gone: str) -> Outcome:
    """Which addresses lead to none of the others: clients try each of those that are there."""
    names = list(settings.hosts)
    known = stay.first.host.call(relay.resolved, names)
    own = {each.name: each.host.call(probe.mine, names) for each in stay.servers}
    mine = {address for addresses in own.values() for address in addresses} | set(settings.server_addresses)
    strange = sorted(set(known) - mine)
    if not all(own.values()):
        return Outcome(f"take the address of {gone} out of DNS, if it is there: {', '.join(known)}", changed=False)
    if not strange:
        return Outcome("DNS leads to the others alone", changed=False)
    return Outcome(f"take out of DNS, at your provider: {', '.join(strange)} of {', '.join(names)}", doubtful=True)


def _ended(host: Host, settings: Settings) -> Outcome:
    """Nothing of the registry runs there any more, and cron does nothing for it."""
    host.run(["rm", "-f", CRON_FILE])
    return down.down(host, settings)
