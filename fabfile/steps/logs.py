"""`logs`: the last lines of each container."""

from __future__ import annotations

import re

from ..machine.host import Host, require_deployed
from ..settings import Settings
from ..stack import compose


def logs(host: Host, settings: Settings, lines: int) -> str:
    """The last lines of every container's log."""
    require_deployed(host, settings.deploy_dir)
    shown = str(host.run(compose.logs(settings, lines), remedy="./fab -H … check").stdout)
    # Compose itself begins each line with this, as if to a terminal (2.26, with --ansi never too).
    return re.sub(r"(?m)^\\x1b\[2K", "", shown)
