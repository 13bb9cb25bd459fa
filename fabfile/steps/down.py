"""`down`: the containers go; data, accounts and certificates stay."""

from __future__ import annotations

from ..machine.host import Host, require_deployed
from ..report import Outcome
from ..settings import Settings
from ..stack import compose
from ..stack.containers import containers


def down(host: Host, settings: Settings) -> Outcome:
    """Stop and remove the containers. Data, accounts and certificates stay."""
    require_deployed(host, settings.deploy_dir)
    running = containers(host, settings)
    host.run(compose.down(settings), remedy="./fab -H … check")
    return Outcome(
        "containers removed; data, accounts and certificates are still there" if running else "nothing runs",
        changed=bool(running),
    )
