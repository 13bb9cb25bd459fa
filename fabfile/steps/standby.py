"""`standby`: a second server that follows the first each minute, serves pulls, and can take over."""

from __future__ import annotations

from .. import report
from ..copies import twins
from ..copies.onhost import behind, peer, standing
from ..errors import StepError, UsageError
from ..machine import lock
from ..machine.host import Host, require_deployed
from ..report import Outcome
from ..settings import Settings
from ..text import counted, one_line
from . import check, provision, schedule, ship, sync, up


def standby(first: Host, other: Host, settings: Settings, *, synced: bool = False) -> None:
    """Make the server of STANDBY one that stands by, or look whether all of it is so. Prints a line for each part.

    first: of -H, which is deployed; synced: just now. Nothing of it is stopped. Raises StepError where one of both is
    not fit, where they do not reach each other, or where the other one has images that the first has not. Run again, it
    goes on.
    """
    require_deployed(first, settings.deploy_dir)
    require_another(first, other)
    epoch = _epoch(first, other, settings)
    if not synced:
        report.step("sync", lambda: sync.sync(first, settings), first.option)
        report.step("up", lambda: up.up(first, settings), first.option)
    print(f"{settings.standby}:", flush=True)
    with lock.exclusive(other, settings, "standby"):
        complete = check.require(other, settings, elsewhere=True)
        report.step("provision", lambda: provision.provision(other, settings, known=complete), other.option)
        _refuse_lost(first, other, settings)
        report.step("sync", lambda: sync.sync(other, settings), other.option)
        if settings.images == "ship":
            report.step("ship", lambda: ship.ship(other, settings), other.option)
        report.step("keys", lambda: _acquainted(first, other, settings, epoch), other.option)
    # Without the lock: it takes that itself for what came new.
    report.step("follow", lambda: twins.followed(other, settings), other.option)
    with lock.exclusive(other, settings, "standby"):
        report.step("up", lambda: up.up(other, settings), other.option)
        report.step("schedule", lambda: schedule.schedule(other, settings), other.option)
    report.step("schedule", lambda: schedule.schedule(first, settings), first.option)


def require_another(first: Host, other: Host) -> None:
    """Raise UsageError where both are one machine."""
    if first.host_key == other.host_key:
        raise UsageError(
            f"STANDBY={other.name} is the server itself: both have the same host key",
            "name another server in STANDBY; a clone of it needs host keys of its own: ssh-keygen -A",
        )


def _epoch(first: Host, other: Host, settings: Settings) -> int:
    """The epoch that the first one has, or gets. Raises StepError where it is the first no more."""
    state = first.call(standing.read, settings.deploy_dir)
    theirs = twins.state(other, settings)
    if state and state["role"] != standing.FIRST:
        raise StepError(
            f"{first.name} is not the first any more: {state['other']} is",
            "swap HOSTS and STANDBY in .env, then ./fab standby makes this one stand by",
        )
    if theirs and theirs["role"] == standing.FIRST and (not state or theirs["epoch"] > state["epoch"]):
        raise StepError(
            f"{other.name} has taken over and is the first now; nothing was changed",
            "swap HOSTS and STANDBY in .env, then this again",
        )
    return max(state["epoch"] if state else 1, theirs["epoch"] if theirs else 1)


def _refuse_lost(first: Host, other: Host, settings: Settings) -> None:
    """Raise StepError where the other one has images that would go."""
    there, here = twins.state(other, settings), first.call(standing.read, settings.deploy_dir)
    # A first one that is new, in the place of one that died, must not empty its standby.
    if (there and here and there["role"] == standing.SECOND and there["epoch"] == here["epoch"]) or other.forced:
        return
    ours = first.call(behind.all_tags, settings.deploy_dir)
    theirs = other.call(behind.all_tags, settings.deploy_dir)
    if there and there["role"] == standing.FORMER:
        named = set(other.call(behind.lost, settings.deploy_dir))
        lost = [name for name in theirs if name in named and ours.get(name) != theirs[name]]
    else:
        lost = [name for name, digest in theirs.items() if ours.get(name) != digest]
    if lost:
        shown = ", ".join(map(one_line, sorted(lost)[:20]))
        raise StepError(
            f"{other.name} has {counted(len(lost), 'image')} that the first one has not, and that would go: {shown}",
            f"./fab -H {settings.standby} backup --to DIRECTORY, then ./fab -H … restore --from DIRECTORY --merge; "
            "or let them go: ./fab --force -H … standby",
        )


def _acquainted(first: Host, other: Host, settings: Settings, epoch: int) -> Outcome:
    """Each has a key, knows the host key that was verified here, and lets the other one ask. Then both have a role."""
    directory = settings.deploy_dir
    pairs = ((other, first), (first, other))
    news = [here.call(peer.let_in, directory, there.call(peer.key, directory)) for here, there in pairs]
    found = []
    for here, there in pairs:
        found.append(here.call(peer.know, directory, there.host_key, twins.places(there, settings)))
    before = other.call(standing.read, directory)
    other.call(standing.begin, directory, standing.SECOND, twins.called(first), epoch)
    first.call(standing.begin, directory, standing.FIRST, twins.called(other), epoch)
    words = f"it reaches the first one at {found[0]}, and is reached at {found[1]}"
    return Outcome(words, changed=any(news) or before is None)
