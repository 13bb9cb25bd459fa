"""On the old server, in the seconds in which a registry moves: each is one trip, as nobody may push meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...layout import Service
from ...machine.onhost.atomic import RefusedError
from ...stack.onhost import nginx, relay
from ...stack.onhost.containers import CHECK, compose, run
from ...store.onhost import barrier
from . import stage


def begin(directory: str, quiet: float) -> stage.Staged:
    """From now on nobody may push; the last copy is made. quiet: seconds for pushes that are at it to end."""
    relay.freeze(directory)
    barrier.passed(quiet)
    return stage.stage(directory)


def go(  # noqa: PLR0913, PLR0917 - each is what it says
    directory: str, lineage: str, to: str, addresses: Sequence[str], name: str, token: str
) -> str:
    """nginx hands people over to the new server, at the first of these addresses that is it. Returns the address.

    to: what to type behind -H; name, token: see relay.reach. Raises RefusedError where people would not get there.
    """
    address, wrong = relay.reach(addresses, name, token)
    if not address:
        raise RefusedError(*unreached(to, wrong))
    relay.leave(directory, to, address)
    hand_over(directory, lineage, to, name, token)
    return address


def hand_over(directory: str, lineage: str, to: str, name: str, token: str) -> None:
    """The second half of it, once more."""
    nginx.reconfigure(directory, lineage)
    address, wrong = relay.reach(["127.0.0.1"], name, token)
    if not address:
        raise RefusedError(
            f"what comes here does not get to {to}: {'; '.join(wrong)}",
            "does a firewall keep containers from it? Then run it again",
        )


def again(directory: str, lineage: str, to: str, address: str) -> None:
    """Hand people over as before, to where the registry still is."""
    relay.leave(directory, to, address)
    nginx.reconfigure(directory, lineage)


def end(directory: str, patience: float) -> stage.Staged:
    """Nothing is taken here any more, and what was, last of all, can be fetched: a push that was slow to end.

    patience: seconds to wait for what is under way. Layers that somebody still pulls are sent to the end, by nginx.
    """
    barrier.passed(patience)
    stop = compose(Path(directory), "stop", "--timeout", "10", Service.REGISTRY, Service.AUTH)
    run(stop, "docker compose stop", CHECK)
    return stage.stage(directory)


def unreached(to: str, wrong: Sequence[str]) -> tuple[str, str]:
    """What is wrong where the new server is at none of its addresses, and what to do."""
    return (
        f"ports 80 and 443 of {to} are not reached from the old server: {'; '.join(wrong) or 'it has no address'}",
        "open them in the new server's firewall, or its provider's; then run it again",
    )


def stay(directory: str, lineage: str) -> None:
    """The registry is here as before, and takes pushes."""
    relay.come_back(directory)
    nginx.reconfigure(directory, lineage)
    relay.thaw(directory)
