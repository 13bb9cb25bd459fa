"""Our containers on the server."""

from __future__ import annotations

from typing import TypedDict

from ..machine.host import Host
from ..machine.remote_call import Call
from ..settings import Settings
from .onhost import containers as onhost


class Container(TypedDict):
    """A container of ours: see onhost.Container."""

    service: str
    image: str
    state: str
    health: str


def look(settings: Settings) -> Call:
    """What `containers` asks of the server, for Host.foresee."""
    return onhost.listed, (settings.deploy_dir,), {}


def containers(host: Host, settings: Settings) -> list[Container]:
    """Our containers. Not those of a certbot or `nginx -t` run."""
    return [
        {"service": row["service"], "image": row["image"], "state": row["state"], "health": row["health"]}
        for row in host.call(onhost.listed, settings.deploy_dir)
    ]
