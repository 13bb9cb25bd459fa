"""What cron on the server is told."""

from __future__ import annotations

import zlib

from ..settings import Settings


def cron_text(settings: Settings) -> str:
    """The file for /etc/cron.d. Cron gives a job next to no environment, so it says what it needs."""
    return (
        "# Written by `schedule`. Renews the registry's certificate where it is due; frees space at night.\n"
        "SHELL=/bin/sh\n"
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        'MAILTO=""\n'
        f"{_line(settings.cron_schedule, settings, 'renew')}"
        # Not between one and three, when some clocks are changed; and whoever pulls has the disk first.
        f"{_line(f'{_minute(settings)} 4 * * *', settings, 'care', 'nice ionice -c 3 ')}"
    )


def _line(when: str, settings: Settings, task: str, gently: str = "") -> str:
    log = f"log/{task}.log"
    return f"{when} root cd {settings.deploy_dir} && mkdir -p log && {gently}./inv {task} --log {log} >>{log} 2>&1\n"


def _minute(settings: Settings) -> int:
    """One that differs between domains: several registries may share a disk."""
    return zlib.crc32(settings.registry_domain.encode()) // 7 % 60
