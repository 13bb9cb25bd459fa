"""cron on the server: what it is told, and whether it does it."""

from __future__ import annotations

from .. import layout
from ..machine.host import CRON, Host
from ..machine.remote_call import Call
from ..settings import Settings
from .onhost import cron as onhost


def cron_text(settings: Settings) -> str:
    """The file for /etc/cron.d. Cron gives a job next to no environment, so it says what it needs."""
    return (
        "# Written by `schedule`. Renews the registry's certificate where it is due.\n"
        "SHELL=/bin/sh\n"
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        'MAILTO=""\n'
        f"{settings.cron_schedule} root cd {settings.deploy_dir} && sh ./{layout.CRON_SCRIPT}\n"
    )


def look(settings: Settings) -> Call:
    """What `installed` asks of the server, for Host.foresee."""
    return onhost.installed, (cron_text(settings), CRON.read_text("utf-8")), {}


def installed(host: Host, settings: Settings) -> onhost.Installed:
    """What `install` would return. Changes nothing."""
    return host.call(onhost.installed, cron_text(settings), CRON.read_text("utf-8"))


def look_at(settings: Settings) -> Call:
    """What `looked_at` asks of the server, for Host.foresee."""
    return onhost.looked_at, (cron_text(settings), CRON.read_text("utf-8"), settings.deploy_dir), {}


def looked_at(host: Host, settings: Settings) -> onhost.LookedAt:
    """`installed`, and whether cron could start `inv`: see onhost.cron.looked_at. Changes nothing."""
    return host.call(onhost.looked_at, cron_text(settings), CRON.read_text("utf-8"), settings.deploy_dir)


def install(host: Host, settings: Settings) -> onhost.Installed:
    """Write our file for cron where it differs: see onhost.cron.install."""
    return host.call(onhost.install, cron_text(settings), CRON.read_text("utf-8"))
