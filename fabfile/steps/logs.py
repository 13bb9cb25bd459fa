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
    return readable(re.sub(r"(?m)^\\x1b\[2K", "", shown))


def readable(text: str) -> str:
    """Each line with one time, to the second, and without an alarm about what is none.

    A push first asks which layers are there, and the registry writes its 404 as an error (distribution,
    registry/handlers/app.go, logError): that is `info` here.
    """
    text = re.sub(r"(?m)^(\S+ +\| \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+Z ", r"\1Z ", text)
    text = re.sub(r'(?m)^(\S+ +\| \S+Z )(?:time="[^"]*" |\d{4}/\d\d/\d\d \d\d:\d\d:\d\d )', r"\1", text)
    return re.sub(
        r"(?m)^(\S+ +\| \S+Z )level=error "
        r'(?=.* err\.code="(?:blob|manifest|name) unknown" .* http\.response\.status=404 )',
        r"\1level=info ",
        text,
    )
