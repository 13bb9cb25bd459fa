"""`up`: what was synced runs."""

from __future__ import annotations

from ..machine.host import Host
from ..machine.remote_call import Call
from ..report import Outcome
from ..settings import Settings
from ..stack import accord, nginx
from ..stack.onhost import drain as onhost_drain
from ..store import page


def looks(settings: Settings) -> list[Call]:
    """What `up` asks of the server, for Host.foresee."""
    return nginx.looks(settings)


def up(host: Host, settings: Settings, *, ordering: bool = False) -> Outcome:
    """Make what was synced run. See nginx.up for `ordering`, and for what it raises."""
    done = nginx.up(host, settings, ordering=ordering)
    if settings.fleet:
        # Changed meanwhile, where this server was not reached.
        accord.heal(host, settings)
        host.call(onhost_drain.end, settings.deploy_dir)
    if done.changed:
        page.look(host, settings)
    return done
