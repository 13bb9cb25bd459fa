"""`up`, `down`, `logs`, `status`: the containers."""

from __future__ import annotations

import re
from typing import Any

from . import compose, nginx
from .host import Host, require_deployed
from .onhost import containers as onhost
from .report import Outcome
from .settings import Settings


def up(host: Host, settings: Settings) -> Outcome:
    """Make what was synced run. See nginx.up for what it raises."""
    return nginx.up(host, settings)


def down(host: Host, settings: Settings) -> Outcome:
    """Stop and remove the containers. Data, accounts and certificates stay."""
    require_deployed(host, settings.deploy_dir)
    running = containers(host, settings)
    host.run(compose.down(settings), remedy="./fab -H … check")
    return Outcome(
        "containers removed; data, accounts and certificates are still there" if running else "nothing runs",
        changed=bool(running),
    )


def logs(host: Host, settings: Settings, lines: int) -> str:
    """The last lines of every container's log."""
    require_deployed(host, settings.deploy_dir)
    shown = str(host.run(compose.logs(settings, lines), remedy="./fab -H … check").stdout)
    # Compose itself begins each line with this, as if to a terminal (2.26, with --ansi never too).
    return re.sub(r"(?m)^\\x1b\[2K", "", shown)


def containers(host: Host, settings: Settings) -> list[dict[str, Any]]:
    """Our containers: service, image, state, health. Not those of a certbot or `nginx -t` run."""
    rows = host.call(onhost.listed, compose.containers(settings))
    return [{key: row[key] for key in ("service", "image", "state", "health")} for row in rows]
