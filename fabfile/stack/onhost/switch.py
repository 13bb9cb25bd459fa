"""What runs becomes what compose.yml says, and nobody who pushes or pulls is cut off.

Whoever is not there is started. A registry or an `auth` that must be another is made beside the old one, asked, and
led to; the old one ends when it is done (beside.py, retire.py). Two nginx cannot have the same ports: see door.py.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TypedDict

from ...layout import Inside, Service
from ...machine.onhost.atomic import RefusedError
from . import ask, beside, door, generations, workers
from .beside import Found
from .containers import CHECK, NOT_STARTED, await_healthy, run, start_missing, try_alone
from .retire import ENDS, retire
from .stand_in import standing_in

PATIENCE = 600.0


class Switched(TypedDict):
    """What took the place of what. replaced: services. cut: connections to nginx that were cut off at something."""

    replaced: list[str]
    cut: int


def bring_up(root: Path, *, keep: bool = False, patience: float = PATIENCE) -> Switched:
    """Do it, and wait until all is healthy.

    keep: what served before is kept, for `back`; without it, it ends. patience: seconds to wait at most for a moment in
    which nginx can be replaced without cutting off a long transfer. Raises RefusedError where a container
    does not start, or does not answer: then the one before goes on.
    """
    ended = beside.tidy(root)
    chosen = beside.serving(root, beside.there())
    changed = beside.obsolete(root, chosen)
    for name in [name for name in changed if not beside.usable(chosen[name])]:
        # Nobody is served by it.
        changed.remove(name)
        beside.remove(chosen.pop(name))
    if any(name not in chosen or not chosen[name]["running"] for name in Service.SERVING):
        # Those that served and still end are there for Compose, too.
        ends = Counter(each["service"] for each in beside.old(beside.there()))
        start_missing(root, {name: ends[name] + 1 for name in Service.SERVING})
        chosen = beside.serving(root, beside.there())
    changed = [name for name in Service.SERVING if name in changed]
    await_healthy([each["id"] for name, each in chosen.items() if name not in changed])
    done: Switched = {"replaced": [], "cut": 0}
    for name in changed:
        if name == Service.NGINX:
            done["cut"] = _nginx(root, chosen[name], patience)
        else:
            _registry(root, chosen[name])
        done["replaced"].append(name)
    if not keep and (ended or changed):
        finish(root)
    return done


def finish(root: Path) -> None:
    """Let what served before end, once it is done."""
    ended = [each for each in beside.tidy(root) if ENDS not in each["name"]]
    if ended:
        # From the reload on nobody begins to ask them.
        retire(ended, workers.renewed())


def back(root: Path, patience: float = PATIENCE) -> list[str]:
    """Let what served before serve again, where it is still there. Returns the services. What took its place ends."""
    found = beside.there()
    chosen, done = beside.serving(root, found), []
    for old in reversed(beside.old(found)):
        name = old["service"]
        if name not in chosen or name in done or ENDS in old["name"]:
            continue
        if name == Service.NGINX:
            door.quiet(patience)
            door.swap(chosen[name], old)
        else:
            run(["docker", "start", old["id"]], "docker start", NOT_STARTED)
            beside.lead(root, old)
        beside.succeed(chosen[name], old)
        run(["docker", "update", "--restart", "unless-stopped", old["id"]], "docker update", CHECK)
        done.append(name)
    finish(root)
    return done


def _registry(root: Path, old: Found) -> None:
    """A registry, or an `auth`, beside the old one; the requests go there once it answers as it must."""
    with beside.holding(root):
        new = beside.make(root, old["service"])
        try:
            await_healthy([new["id"]])
            ask.require(root, old, new)
        except RefusedError as error:
            beside.remove(new)
            error.add("what ran before goes on")
            raise
        beside.lead(root, new)
    beside.succeed(old, new)


def _nginx(root: Path, old: Found, patience: float) -> int:
    """Another nginx. What can be found out before is: that it takes the configuration, and that it starts."""
    try_alone(root, configuration=Inside.CONFIGURATION)
    try:
        with standing_in(root) as instead:
            new = beside.make(root, Service.NGINX, start=False)
            as_loaded = partial(generations.as_loaded, root)
            try:
                with as_loaded():
                    door.quiet(patience)
                cut = door.swap(old, new, instead, as_loaded)
                try:
                    await_healthy([new["id"]])
                except RefusedError:
                    # It may want what the old one has no mount for.
                    generations.stay(root)
                    door.swap(new, old, instead)
                    raise
            except RefusedError:
                generations.stay(root)
                beside.remove(new)
                raise
    except RefusedError as error:
        error.add("what ran before goes on")
        raise
    beside.succeed(old, new)
    return cut
