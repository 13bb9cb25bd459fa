"""A registry goes from one server to another: what is copied, and the seconds in which it changes hands.

At no time do both servers take pushes: the new one has refused them since before it ran, and is let go once the old one
hands people over; the old one refuses them from then on for ever (relay.py).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .. import layout, report
from ..certificate.onhost import probe
from ..errors import StepError
from ..machine import lock
from ..machine.host import Host
from ..report import Outcome
from ..settings import Settings
from ..stack.onhost import nginx, relay
from ..store.words import size
from ..text import counted, one_line
from . import between, taking
from .onhost import arrive, leaving, stage

# What pushes that are at it when nobody may push any more have to end, in seconds.
QUIET = 3.0
# And to end afterwards, until the old registry is stopped.
LATE = 10.0
# Somebody may be at work on the old server just then.
PATIENCE = 60


@dataclass(frozen=True)
class Move:
    """old: serves now; new: shall. to: how the new one is written behind -H."""

    old: Host
    new: Host
    settings: Settings
    to: str

    @property
    def directory(self) -> str:
        """DEPLOY_DIR, the same on both."""
        return self.settings.deploy_dir

    def step(self, name: str, action: Callable[[], Outcome]) -> None:
        """Do it and print its line."""
        report.step(name, action, self.new.option)


def copy(this: Move, road: between.Between) -> tuple[stage.Staged, arrive.Arrived]:
    """Copy what is new since the last pass."""
    with taking.staged(this.old, this.settings) as found:
        return found, road.pull()


def told(done: tuple[stage.Staged, arrive.Arrived], road: between.Between) -> Outcome:
    """What a pass brought, in words."""
    found, arrived = done
    how = "from server to server" if road.shell else f"through this machine ({one_line(road.why)})"
    bad = sorted({*arrived["bad"], *found["missing"]})
    details = [
        f"warn     {each}: missing on the old server, or rotten there: {_whose(found, each)}" for each in bad[:20]
    ]
    details += [f"warn     left out: {one_line(each)}" for each in found["dropped"][:20]]
    words = f"{counted(found['tags'], 'tag')}: {counted(arrived['blobs'], 'blob')}, {size(arrived['sent'])} sent {how}"
    return Outcome(words, bool(arrived["blobs"]), details, doubtful=bool(details))


def _whose(found: stage.Staged, digest: str) -> str:
    return ", ".join(map(one_line, found["missing"].get(digest, [])[:5])) or "backup on the old server names its images"


def serve(this: Move) -> Outcome:
    """What came is put in its place, and served; nobody may push there yet. Raises StepError for a bad certificate."""
    this.new.call(arrive.settle, this.directory)
    # Not by way of the step `up`, which may find that nothing is to be done: whose the files are has changed.
    done = this.new.call(nginx.up, this.directory, this.settings.lineage)
    if done["problem"]:
        raise StepError(
            f"{this.new.name}: the certificate that came is not used: {done['problem']}", "./fab -H … status"
        )
    started = ", ".join(done["started"])
    return Outcome(f"started {started}" if started else "runs", bool(started))


def candidates(this: Move) -> list[str]:
    """The addresses by which the old server may reach the new one, the likeliest first."""
    own, name = between.connected(this.new)[0], this.to.rpartition("@")[2]
    named = this.old.call(relay.resolved, [name.partition(":")[0] if name.count(":") == 1 else name])
    return [each for each in dict.fromkeys([*named, own, *this.new.call(relay.addresses)]) if each]


@contextlib.contextmanager
def shown(this: Move) -> Iterator[str]:
    """A file on the new server by which it is known, for as long as the block runs. Yields its name."""
    webroot = f"{this.directory}/{layout.WEBROOT}"
    token = this.new.call(probe.place, webroot)
    try:
        yield token
    finally:
        with contextlib.suppress(StepError):
            this.new.call(probe.remove, webroot, token)


def reached(this: Move) -> str:
    """The address at which the old server reaches the new one. Raises StepError for none."""
    every = candidates(this)
    with shown(this) as token:
        address, wrong = this.old.call(relay.reach, every, this.settings.registry_domain, token)
    if not address:
        raise StepError(*leaving.unreached(this.to, wrong))
    return address


def switch(this: Move, road: between.Between, addresses: Sequence[str], relays: relay.Moved | None = None) -> Outcome:
    """Nobody may push for some seconds: the last of it is copied, and the old server hands people over.

    addresses: of the new one, as `candidates`. relays: where that one hands people over until then.
    """
    old, new, directory, lineage = this.old, this.new, this.directory, this.settings.lineage
    ours = [each for each, _ in between.places(old, this.settings)]
    with lock.exclusive(old, this.settings, "move", seconds=PATIENCE), shown(this) as token:
        begun = time.monotonic()
        try:
            found = old.call(leaving.begin, directory, QUIET)
            with road.shell_of() as shell:
                arrived = new.call(arrive.last, directory, lineage, shell, ours, found["references"])
            old.call(leaving.go, directory, lineage, this.to, addresses, this.settings.registry_domain, token)
        except BaseException:
            # Where the connection is gone, cron does it.
            with contextlib.suppress(StepError):
                old.call(leaving.stay, directory, lineage)
            if relays:
                with contextlib.suppress(StepError):
                    new.call(leaving.again, directory, lineage, relays["to"], relays["address"])
            raise
        new.call(relay.thaw, directory)
        seconds = time.monotonic() - begun
    return Outcome(
        f"pushes were refused for {seconds:.1f} s, {counted(arrived['blobs'], 'blob')} came in them; {old.name} hands "
        "people over"
    )


def bring_late(this: Move) -> int:
    """What the old server took while the last copy was made: a push that was slow to end. Returns how many tags came.

    From then on its registry does not run.
    """
    found = this.old.call(leaving.end, this.directory, LATE)
    try:
        if found["references"] == this.new.call(arrive.came, this.directory):
            return 0
        road = between.Between(this.old, this.new, this.settings)
        road.open()
        with contextlib.closing(road), road.shell_of() as shell:
            return this.new.call(arrive.late, this.directory, shell)
    finally:
        with contextlib.suppress(StepError):
            this.old.call(stage.drop, this.directory)


def hand_over(this: Move) -> None:
    """nginx on the old server hands people over; raises StepError where it does not."""
    with shown(this) as token:
        name = this.settings.registry_domain
        this.old.call(leaving.hand_over, this.directory, this.settings.lineage, this.to, name, token)
