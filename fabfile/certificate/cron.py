"""What cron on the server is told."""

from __future__ import annotations

from ..settings import Settings


def cron_text(settings: Settings) -> str:
    """The file for /etc/cron.d. Cron gives a job next to no environment, so it says what it needs."""
    return (
        "# Written by `schedule`. Renews the registry's certificate where it is due.\n"
        "SHELL=/bin/sh\n"
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        'MAILTO=""\n'
        f"{settings.cron_schedule} root cd {settings.deploy_dir} && sh ./by-cron.sh\n"
    )
