"""Our containers on the server."""

from __future__ import annotations

from typing import Any

from ..machine.host import Host
from ..machine.remote_call import Call
from ..settings import Settings
from .onhost import containers as onhost


def look(settings: Settings) -> Call:
    """What `containers` asks of the server, for Host.foresee."""
    return onhost.listed, (settings.deploy_dir,), {}


def containers(host: Host, settings: Settings) -> list[dict[str, Any]]:
    """Our containers: service, image, state, health. Not those of a certbot or `nginx -t` run."""
    function, args, _ = look(settings)
    return [{key: row[key] for key in ("service", "image", "state", "health")} for row in host.call(function, *args)]
