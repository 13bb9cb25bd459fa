"""`promote`: the standby takes over, and the first one steps back."""

from __future__ import annotations

import contextlib

from ..copies import twins
from ..copies.onhost import last_push, standing
from ..errors import StepError
from ..machine import lock
from ..machine.host import Host
from ..report import Outcome
from ..settings import Settings
from ..text import counted


def promote(first: Host, other: Host, settings: Settings) -> Outcome:
    """Let the standby be the first, with nothing lost: the first one takes no push any more, then the last copy.

    Pulls go on on both. Raises StepError where it does not stand by, or where the last copy fails: neither of both
    takes a push then, until it is run again. Killed anywhere, it goes on when it is run again.
    """
    directory = settings.deploy_dir
    was, here = _states(first, other, settings)
    if here["role"] == standing.FIRST:
        done = first.call(standing.step_back, directory, here["epoch"])
        other.call(standing.take_over, directory)
        return Outcome(f"{twins.called(other)} is the first already", changed=done, details=_hint(other, settings))
    if was["role"] != standing.FIRST:
        raise StepError(f"{first.name} is not the first", "HOSTS in .env, or -H, names another server")
    with lock.exclusive(first, settings, "promote"):
        # So that little is left for the last one, during which nobody may push.
        twins.followed(other, settings)
        first.call(standing.still, directory, twins.called(other))
        # What was being pushed then.
        how = first.call(last_push.done, directory)
        # A standby that takes over by mistake must not find the old one at work: so the copy comes after that.
        twins.followed(other, settings)
        with lock.exclusive(other, settings, "promote"):
            now = other.call(standing.take_over, directory)
        first.call(standing.step_back, directory, now["epoch"])
    words = f"{twins.called(other)} takes pushes now, and has all that {twins.called(first)} has"
    return Outcome(f"{words}{f'; {how}' if how else ''}", details=_hint(other, settings))


def promote_lost(first: Host | None, other: Host, settings: Settings) -> Outcome:
    """Let the standby be the first although the first one is lost. first: where SSH reaches it all the same.

    Raises StepError where the first one is well enough for `promote`.
    """
    directory = settings.deploy_dir
    here = twins.state(other, settings)
    if here is None or here["role"] == standing.FORMER:
        raise StepError(f"{other.name} does not stand by", "./fab standby, while the first one is there")
    if first is not None and here["role"] == standing.SECOND and not other.forced:
        _refuse_well(first, settings)
    last = other.call(standing.copied, directory)
    if here["role"] == standing.SECOND and not last["when"]:
        raise StepError(f"{other.name} has copied nothing yet, so it cannot take over", "restore --from a backup")
    with lock.exclusive(other, settings, "promote --lost"):
        now = other.call(standing.take_over, directory)
    if first is not None:
        with contextlib.suppress(StepError):
            first.call(standing.step_back, directory, now["epoch"])
    name = now["other"]
    if here["role"] == standing.FIRST:
        return Outcome(f"{twins.called(other)} is the first already", changed=False, details=_hint(other, settings))
    details = [
        f"lost     what was pushed to {name} after the last copy, of {twins.copy_age(last)}, and no more than that;",
        f"         which images these are, {name} says when it is back: ./fab -H {name} status",
        *_hint(other, settings),
    ]
    words = f"{twins.called(other)} takes pushes now, and has {counted(last['tags'], 'tag')}"
    return Outcome(words, details=details, doubtful=True)


def _refuse_well(first: Host, settings: Settings) -> None:
    try:
        well = first.call(last_push.answers, settings.deploy_dir)
    except StepError:
        return
    if well:
        raise StepError(
            f"{first.name} is there and serves; nothing was changed",
            "./fab -H … promote loses nothing; if it must be so all the same: ./fab --force -H … promote --lost",
        )


def _states(first: Host, other: Host, settings: Settings) -> tuple[standing.State, standing.State]:
    was, here = (twins.state(host, settings) for host in (first, other))
    if was is None or here is None or here["role"] == standing.FORMER:
        raise StepError(f"{other.name} does not stand by for {first.name}", "./fab -H … standby makes it so")
    return was, here


def _hint(other: Host, settings: Settings) -> list[str]:
    address = next((where for where, _ in twins.places(other, settings)), "")
    names = " and ".join(settings.hosts)
    return [
        f"DNS      let {names} lead to {address or 'it'} now; clients follow as the record's TTL says",
        f".env     HOSTS={settings.standby}, and STANDBY the old first one: ./fab standby makes that one stand by",
    ]
