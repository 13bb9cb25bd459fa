"""Our containers on the server."""

from __future__ import annotations

from typing import Any

from ..machine.host import Host
from ..settings import Settings
from . import compose
from .onhost import containers as onhost


def containers(host: Host, settings: Settings) -> list[dict[str, Any]]:
    """Our containers: service, image, state, health. Not those of a certbot or `nginx -t` run."""
    rows = host.call(onhost.listed, compose.containers(settings))
    return [{key: row[key] for key in ("service", "image", "state", "health")} for row in rows]
