"""What the steps of `bootstrap` look at, asked at once: a second one then has nothing more to ask.

A step that changes something makes the rest forgotten, and the steps after it look for themselves. So
nothing here has to be complete: what is missing, or asked in vain, only costs its time.
"""

from __future__ import annotations

from . import certificates, compose, errand, templates
from .host import Host
from .onhost import accounts, atomic, attempts, certbot, certificate, cron, nginx, sync
from .settings import Settings


def look(host: Host, settings: Settings) -> None:
    """Ask the host, with one command, whatever the steps will want to know. Changes nothing."""
    calls: list[errand.Call] = [
        (sync.state, (settings.deploy_dir, templates.names(settings)), {}),
        (accounts.listed, (settings.accounts_file,), {}),
        (nginx.settled, (settings.deploy_dir, settings.lineage), {}),
        (atomic.exists, (f"{settings.deploy_dir}/compose.yml",), {}),
        (certbot.busy, (compose.CERTBOT_CONTAINER,), {}),
        (certificate.on_disk, certificates.files_of(settings), {}),
        (attempts.remembered, (settings.attempts_file, settings.acme_directory), {}),
        (certificate.served, (settings.registry_domain,), {}),
        (cron.installed, (certificates.cron_text(settings),), {}),
    ]
    host.foresee(calls)
