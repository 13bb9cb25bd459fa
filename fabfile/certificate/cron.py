"""cron on the server: what it is told, and whether it does it."""

from __future__ import annotations

import shlex
import zlib

from .. import layout
from ..machine.host import Host
from ..machine.remote_call import Call
from ..machine.scripts import CRON
from ..names import place
from ..settings import Settings
from .onhost import cron as onhost

ALERT_SECONDS = 60


def cron_files(settings: Settings) -> list[str]:
    """What `schedule` writes: the file for /etc/cron.d, and what cron runs where DEPLOY_DIR is away."""
    return [cron_text(settings), away_text(settings)]


def cron_text(settings: Settings) -> str:
    """The file for /etc/cron.d. Cron gives a job next to no environment, so it says what it needs."""
    directory, script = settings.deploy_dir, layout.CRON_SCRIPT
    # away.sh knows the directory by `cd … &&`.
    renew = f"rm -f {layout.AWAY_TOLD}; cd {directory} && sh ./{script}"
    log = layout.CARE_LOG
    care = f"cd {directory} && mkdir -p {layout.LOG} && nice ionice -c 3 ./inv care --log {log} >>{log} 2>&1"
    log = layout.BACKUP_LOG
    copy = f"cd {directory} && mkdir -p {layout.LOG} && nice ionice -c 3 ./inv backup --log {log} >>{log} 2>&1"
    there = f"root if [ -f {directory}/{script} ]; then"
    minute = f"cd {directory} && nice ionice -c 3 sh ./{layout.MINUTE_SCRIPT}"
    log = layout.STANDBY_LOG
    beside = f"cd {directory} && mkdir -p {layout.LOG} && nice ionice -c 3 ./inv follow --log {log} >>{log} 2>&1"
    return (
        "# Written by `schedule`. Renews the certificate where it is due; frees space, and copies, at night; looks "
        "each minute whether there is room.\n"
        "SHELL=/bin/sh\n"
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        'MAILTO=""\n'
        f"* * * * * root if [ -f {directory}/{layout.MINUTE_SCRIPT} ]; then {minute}; fi\n"
        f"{schedule(settings)} {there} {renew}; else sh {layout.AWAY_FILE}; fi\n"
        # Not between one and three, when some clocks are changed; and whoever pulls has the disk first.
        f"{_minute(settings)} 4 * * * {there} {care}; fi\n"
        # After that one, which makes the copy smaller.
        + (f"* * * * * root if [ -f {directory}/{layout.STANDBY_STATE} ]; then {beside}; fi\n" * bool(settings.standby))
        + (f"{settings.backup_schedule or f'{_minute(settings)} 5 * * *'} {there} {copy}; fi\n" * settings.backs_up)
    )


def schedule(settings: Settings) -> str:
    """When cron looks at the certificate, as five fields: RENEW_SCHEDULE, or twice a day.

    The minute differs between domains, and between the servers of one. Let's Encrypt asks not to come at the full hour
    (https://letsencrypt.org/docs/integration-guide/#when-to-renew).
    """
    if settings.renew_schedule:
        return settings.renew_schedule
    # Two servers that order at once may be given one order, as they have one account.
    seed = zlib.crc32(" ".join((settings.registry_domain, *map(place, settings.fleet[:1]))).encode())
    hour = seed // 59 % 12
    return f"{seed % 59 + 1} {hour},{hour + 12} * * *"


def _minute(settings: Settings) -> int:
    """One that differs between domains: several registries may share a disk."""
    return zlib.crc32(settings.registry_domain.encode()) // 7 % 60


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
        f"# Written by `schedule`. Cron runs it where {directory} has no {layout.CRON_SCRIPT}.\n"
        f"told={layout.AWAY_TOLD}\n"
        f"problem={shlex.quote(problem)}\n"
        f'if command -v logger >/dev/null; then logger -t {layout.PROJECT} -- "$problem"; fi\n'
        '[ ! -e "$told" ] || exit 0\n'
        f"ALERT_COMMAND={shlex.quote(settings.alert_command)}\n"
        "export ALERT_COMMAND\n"
        '[ -n "$ALERT_COMMAND" ] || exit 0\n'
        "printf '%s\\n' \"$problem\" |\n"
        f'    timeout {ALERT_SECONDS} /bin/sh -c \'eval "$ALERT_COMMAND"\' >/dev/null 2>&1 && : >"$told"\n'
    )


def look(settings: Settings) -> Call:
    """What `installed` asks of the server, for Host.foresee."""
    return onhost.installed, (cron_files(settings), CRON.read_text("utf-8")), {}


def installed(host: Host, settings: Settings) -> onhost.Installed:
    """What `install` would return. Changes nothing."""
    return host.call(onhost.installed, cron_files(settings), CRON.read_text("utf-8"))


def look_at(settings: Settings) -> Call:
    """What `looked_at` asks of the server, for Host.foresee."""
    return onhost.looked_at, (cron_files(settings), CRON.read_text("utf-8"), settings.deploy_dir), {}


def looked_at(host: Host, settings: Settings) -> onhost.LookedAt:
    """`installed`, and whether cron could start `inv`: see onhost.cron.looked_at. Changes nothing."""
    return host.call(onhost.looked_at, cron_files(settings), CRON.read_text("utf-8"), settings.deploy_dir)


def install(host: Host, settings: Settings) -> onhost.Installed:
    """Write our files for cron where they differ: see onhost.cron.install."""
    return host.call(onhost.install, cron_files(settings), CRON.read_text("utf-8"))
