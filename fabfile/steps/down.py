"""`down`: the containers go; data, accounts and certificates stay."""

from __future__ import annotations

from ..machine.host import Host, deployed, require_deployed
from ..report import Outcome
from ..settings import Settings
from ..stack import drain
from ..stack.containers import containers, look
from ..stack.onhost import containers as onhost
from ..stack.onhost import drain as onhost_drain

# What is under way when one of several servers goes has that many seconds.
PATIENCE = 300.0


def down(host: Host, settings: Settings) -> Outcome:
    """Stop and remove the containers. Data, accounts and certificates stay."""
    host.foresee([deployed(settings.deploy_dir), look(settings)])
    require_deployed(host, settings.deploy_dir)
    running = containers(host, settings)
    details = []
    if running and settings.fleet:
        # The others serve: so nobody is cut off, but who takes longer than that.
        drain.begin(host, settings)
        if cut := host.call(onhost_drain.leave, settings.deploy_dir, PATIENCE):
            details = [f"cut      {cut} connections that were still at a push or a pull after {PATIENCE:.0f} s"]
    host.call(onhost.down, settings.deploy_dir)
    return Outcome(
        "containers removed; data, accounts and certificates are still there" if running else "nothing runs",
        changed=bool(running),
        details=details,
    )
