"""`down`: the containers go; data, accounts and certificates stay."""

from __future__ import annotations

from ..machine.host import Host, deployed, require_deployed
from ..report import Outcome
from ..settings import Settings
from ..stack.containers import containers, look
from ..stack.onhost import containers as onhost


def down(host: Host, settings: Settings) -> Outcome:
    """Stop and remove the containers. Data, accounts and certificates stay."""
    host.foresee([deployed(settings.deploy_dir), look(settings)])
    require_deployed(host, settings.deploy_dir)
    running = containers(host, settings)
    host.call(onhost.down, settings.deploy_dir)
    return Outcome(
        "containers removed; data, accounts and certificates are still there" if running else "nothing runs",
        changed=bool(running),
    )
