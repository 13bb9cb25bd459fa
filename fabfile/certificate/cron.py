"""What cron on the server is told."""

from __future__ import annotations

import shlex

from ..settings import Settings
from .onhost.cron import AWAY_FILE

# In /run: after a reboot it is news again.
TOLD = "/run/private-docker-registry.away"
ALERT_SECONDS = 60


def cron_files(settings: Settings) -> tuple[str, str]:
    """What `schedule` writes: the file for /etc/cron.d, and what cron runs where DEPLOY_DIR is away."""
    return cron_text(settings), away_text(settings)


def cron_text(settings: Settings) -> str:
    """The file for /etc/cron.d. Cron gives a job next to no environment, so it says what it needs."""
    directory, log = settings.deploy_dir, "log/renew.log"
    renew = f"rm -f {TOLD}; cd {directory} && mkdir -p log && ./inv renew --log {log} >>{log} 2>&1"
    return (
        "# Written by `schedule`. Renews the registry's certificate where it is due.\n"
        "SHELL=/bin/sh\n"
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        'MAILTO=""\n'
        f"{settings.cron_schedule} root if [ -f {directory}/inv ]; then {renew}; else sh {AWAY_FILE}; fi\n"
    )


def away_text(settings: Settings) -> str:
    """A script that tells ALERT_COMMAND, once, that DEPLOY_DIR is away: it can use nothing that is in there.

    In a file of its own that root alone reads: the command may have a token in it, and a line of cron has a
    limit (crontab(5): some 1000 characters).
    """
    directory, name = settings.deploy_dir, settings.registry_domain
    problem = (
        f"{name}: cron found no registry in {directory}, so nothing is renewed: is its disk mounted? "
        f"findmnt -T {directory} on the server shows where it is"
    )
    return (
        f"# Written by `schedule`. Cron runs it where {directory} has no `inv`.\n"
        f"told={TOLD}\n"
        f"problem={shlex.quote(problem)}\n"
        'if command -v logger >/dev/null; then logger -t private-docker-registry -- "$problem"; fi\n'
        '[ ! -e "$told" ] || exit 0\n'
        f"ALERT_COMMAND={shlex.quote(settings.alert_command)}\n"
        "export ALERT_COMMAND\n"
        '[ -n "$ALERT_COMMAND" ] || exit 0\n'
        "printf '%s\\n' \"$problem\" |\n"
        f'    timeout {ALERT_SECONDS} /bin/sh -c \'eval "$ALERT_COMMAND"\' >/dev/null 2>&1 && : >"$told"\n'
    )
