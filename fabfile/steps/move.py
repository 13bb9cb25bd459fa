"""`move`: the registry goes to another server while everybody works, and the old one hands people over."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial

from .. import layout, report
from ..certificate.onhost import cron
from ..copies import between, moving, taking
from ..copies.onhost import arrive, putback
from ..errors import StepError, UsageError
from ..machine import lock
from ..machine.host import Host, here, require_deployed
from ..report import Outcome
from ..settings import Settings
from ..stack.onhost import containers, nginx, relay
from ..stack.onhost import sync as files
from ..text import counted
from . import check, provision, push_test, schedule, ship, sync, up

# What begins so in layout.RESTORING: the name of the server that it comes from.
BEGUN = "move "
# Copied again until a pass is as short as that, in seconds, or that often.
SMALL, PASSES = 10.0, 5


def move(old: Host, new: Host, settings: Settings, to: str) -> None:
    """Do it, or go on with it. No certificate is ordered, and at no time do both servers take pushes.

    Until the old server hands people over, whatever fails leaves it as it was. Raises StepError with what failed; run
    again, it goes on.
    """
    require_deployed(old, settings.deploy_dir)
    this = moving.Move(old, new, settings, to)
    _require_another(this)
    with _alone(this), report.total("move"):
        gone = old.call(relay.moved, this.directory)
        if gone and gone["to"] != to:
            raise StepError(
                f"{old.name}: this registry has moved to {gone['to']}", f"./fab -H {gone['to']} move --to {to}"
            )
        if not gone:
            _bring(this)
        _finish(this)
        push_test.prove(new, settings)
    print(
        f"\n{settings.registry_domain} is on {to} now; {old.name} hands over whoever comes there.\n"
        f"Point the DNS records of {', '.join(settings.hosts)} to {_address(this)}. When that is known everywhere:\n"
        f"  ./fab -H {old.name} move --done     the way back until then: ./fab -H {old.name} move --back"
    )


def _address(this: moving.Move) -> str:
    gone = this.old.call(relay.moved, this.directory)
    return gone["address"] if gone else this.to


@contextlib.contextmanager
def _alone(this: moving.Move) -> Iterator[None]:
    """Nobody copies anything on either server, and nobody else does anything on the new one."""
    with (
        taking.alone(this.old, this.settings, "move"),
        taking.alone(this.new, this.settings, "move"),
        lock.exclusive(this.new, this.settings, "move", seconds=taking.PATIENCE),
    ):
        yield


def _bring(this: moving.Move) -> None:
    """All of it, with the switch."""
    new, settings, directory = this.new, this.settings, this.directory
    _require_same(this)
    relays = _require_empty(this)
    complete = check.require(new, settings, elsewhere=True)
    this.step("provision", lambda: provision.provision(new, settings, known=complete))
    relays = _require_empty(this) or relays
    this.step("sync", lambda: sync.sync(new, settings))
    if settings.images == "ship":
        this.step("ship", lambda: ship.ship(new, settings))
    new.call(relay.freeze, directory)
    new.call(putback.begin, directory, f"{BEGUN}{this.old.name}")
    new.call(arrive.call_self, settings.registry_domain, here=True)
    road = between.Between(this.old, new, settings)
    road.open()
    try:
        for _ in range(PASSES):
            begun = time.monotonic()
            this.step("copy", lambda: moving.told(moving.copy(this, road), road))
            if time.monotonic() - begun < SMALL:
                break
        if relays:
            # It hands people over to us: until it holds all, it must not be anything else.
            this.step("up", lambda: up.up(new, settings))
            addresses = moving.candidates(this)
            this.old.call(nginx.try_relay, directory, settings.lineage, addresses[0])
        else:
            this.step("up", lambda: moving.serve(this))
            addresses = [moving.reached(this)]
            this.old.call(nginx.try_relay, directory, settings.lineage, addresses[0])
            push_test.prove(new, settings, source="host")
        this.step("switch", lambda: moving.switch(this, road, addresses, relays))
    finally:
        road.close()


def _require_another(this: moving.Move) -> None:
    """Raise UsageError where both are one."""
    ask = ["sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub; hostname"]
    keys = [host.run(ask, check=False).stdout for host in (this.old, this.new)]
    if keys[0] == keys[1] and between.connected(this.old) == between.connected(this.new):
        raise UsageError(f"--to {this.to}: that is the same server", "./fab -H … move --to root@new.example.com")


def _require_same(this: moving.Move) -> None:
    """Raise StepError where the settings are of another registry than the old server."""
    text = this.old.call(files.read, this.directory, [layout.SETTINGS_FILE]).get(layout.SETTINGS_FILE, "")
    if f"REGISTRY_DOMAIN='{this.settings.registry_domain}'" not in text.splitlines():
        raise StepError(
            f"{this.old.name}: nothing was changed: the settings are for {this.settings.registry_domain}, and that is "
            "another registry",
            "another server, or another ENV_FILE? Where only .env is newer: ./fab -H … sync up",
        )


def _require_empty(this: moving.Move) -> relay.Moved | None:
    """Raise StepError where the new server has something of its own. Returns where it hands people over."""
    new, directory = this.new, this.directory
    if not new.run(["sh", "-c", "command -v python3"], check=False).ok:
        return None
    if gone := new.call(relay.moved, directory):
        return gone
    there = new.call(putback.there, directory)
    if there["begun"].startswith(BEGUN):
        return None
    if there["repositories"] or there["accounts"] or there["begun"]:
        what = counted(there["repositories"], "repository") if there["repositories"] else "accounts"
        raise StepError(
            f"{new.name}: nothing was changed: that server is not empty: it has {what}",
            f"another server; or, where nothing there is needed: move {directory} away",
        )
    return None


def _rest(this: moving.Move) -> Outcome:
    tags = moving.bring_late(this)
    words = f"{counted(tags, 'tag')} came late" if tags else "nothing came late"
    return Outcome(f"{words}; the registry on {this.old.name} is stopped", bool(tags))


def _finish(this: moving.Move) -> None:
    """What comes after the switch: all of it can be done again."""
    old, new, directory, settings = this.old, this.new, this.directory, this.settings
    moving.hand_over(this)
    old.call(cron.remove)
    new.call(relay.thaw, directory)
    this.step("rest", lambda: _rest(this))
    between.Between(old, new, settings).close()
    new.call(arrive.call_self, settings.registry_domain, here=False)
    this.step("schedule", lambda: schedule.schedule(new, settings))
    new.call(arrive.end, directory)
    new.call(putback.end, directory)


def back(host: Host, settings: Settings, another: Callable[[str], Host]) -> None:
    """The registry comes back to this server, with all that was pushed since; or a move that died is ended.

    another: reaches the other server, by its name. Raises as `move`.
    """
    directory = settings.deploy_dir
    require_deployed(host, directory)
    gone = host.call(relay.moved, directory)
    begun = host.call(putback.there, directory)["begun"]
    if gone or begun.startswith(BEGUN):
        there = gone["to"] if gone else begun.removeprefix(BEGUN)
        move(another(there), host, settings, host.name)
        return
    with taking.alone(host, settings, "move --back"), lock.exclusive(host, settings, "move --back"):
        report.step("move", partial(_let_in, host, settings), host.option)


def _let_in(host: Host, settings: Settings) -> Outcome:
    """Nothing has gone yet."""
    between.Between(host, host, settings).close()
    if host.call(relay.thaw, settings.deploy_dir):
        return Outcome("nothing had gone yet: pushes are taken again")
    return Outcome("this registry is here: nothing to take back", changed=False)


def done(host: Host, settings: Settings, another: Callable[[str], Host]) -> None:
    """This server hands nobody over any more. Images and accounts stay on its disk, and no task serves them.

    another: as for `back`. Raises StepError where the registry's name leads here yet.
    """
    directory = settings.deploy_dir
    gone = host.call(relay.moved, directory)
    if not gone:
        raise StepError(f"{host.name}: this registry is here, and has moved nowhere", "./fab -H … down stops it")
    ours = {*host.call(relay.addresses), between.connected(host)[0]}
    known = here().call(relay.resolved, list(settings.hosts))
    if left := sorted(ours & {*known}):
        raise StepError(
            f"{', '.join(settings.hosts)}: DNS leads to {', '.join(left)} yet, this server: nothing was changed",
            f"point the records to {gone['address']} and wait; ./fab -H … down ends it all the same",
        )
    new = another(gone["to"])
    with lock.exclusive(host, settings, "move --done"), lock.exclusive(new, settings, "move --done"):
        report.step("move", partial(_end, host, new, settings), host.option)


def _end(host: Host, new: Host, settings: Settings) -> Outcome:
    running = host.call(containers.listed, settings.deploy_dir)
    host.call(containers.down, settings.deploy_dir)
    host.call(cron.remove)
    new.call(relay.know, settings.deploy_dir, [])
    new.call(nginx.reconfigure, settings.deploy_dir, settings.lineage)
    return Outcome(
        f"{host.name} hands nobody over any more; its images are in {settings.deploy_dir} until you delete it",
        changed=bool(running),
    )
