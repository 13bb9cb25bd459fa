"""`logs`: the last lines of each container."""

from __future__ import annotations

import re

from ..machine.host import Host, deployed, require_deployed
from ..settings import Settings
from ..stack.onhost import containers as onhost


def logs(host: Host, settings: Settings, lines: int) -> str:
    """The last lines of every container's log."""
    directory = settings.deploy_dir
    host.foresee([deployed(directory), (onhost.logs, (directory, lines), {})])
    require_deployed(host, directory)
    shown = host.call(onhost.logs, directory, lines)
    # Compose itself begins each line with this, as if to a terminal (2.26, with --ansi never too).
    return re.sub(r"(?m)^\\x1b\[2K", "", shown)
