"""What runs on the server itself, from cron: `inv renew`."""

from __future__ import annotations

import time
from pathlib import Path

from invoke import Context, task

from . import report
from .errors import UsageError, for_people
from .machine import lock
from .machine.host import Host, here, require_deployed
from .settings import HOME, Settings, load

LOG_BYTES = 1_000_000
# Somebody may be at work when cron comes; the next chance is half a day away.
WAIT_SECONDS = 600


@task(
    help={
        "dry_run": "Only rehearse it: certbot asks Let's Encrypt's test service, or ACME_SERVER where that is a URL.",
        "log": "The log that this run is written to; it is put aside when it is larger than 1 MB.",
        "heard": "A file that is made when all was told: without it by-cron.sh tells that this did not run.",
    }
)
@for_people
def renew(c: Context, dry_run: bool = False, log: str = "", heard: str = "") -> None:
    """Renew the certificate on this machine where it is due, and check what is served."""
    # All of it now: a `sync` that we wait for may put other modules in the place of these.
    from .certificate import alerts
    from .steps.renew import renew as renewed

    if log:
        _begin(Path(log))
    host = here()
    try:
        settings = _settings()
        require_deployed(host, settings.deploy_dir)
    except UsageError as error:
        alerts.tell_without_settings(host, str(error))
        _heard(heard)
        raise
    name = "renew --dry-run" if dry_run else "renew"
    try:
        with lock.exclusive(host, settings, name, seconds=WAIT_SECONDS):
            # Whoever had the lock before us may have changed them.
            settings = _settings()
            report.step("renew", lambda: renewed(host, settings, dry_run=dry_run))
    except Exception as error:
        _alert(host, settings, str(error) or type(error).__name__, dry_run)
        _heard(heard)
        raise
    _alert(host, settings, "", dry_run)
    _heard(heard)


def _settings() -> Settings:
    carried = HOME / "settings.env"
    return load(carried if carried.is_file() else None)


def _alert(host: Host, settings: Settings, problem: str, dry_run: bool) -> None:
    from .certificate import alerts

    if not dry_run and (line := alerts.tell(host, settings, problem)):
        print(f"{'':15}{line}")


def _heard(file: str) -> None:
    """Whoever shall know how it went knows it: without this file by-cron.sh tells that nobody does."""
    if file:
        Path(file).touch()


def _begin(log: Path) -> None:
    """Date the run. A full log is put aside for the next run: this one already writes to it."""
    if log.is_file() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    print(time.strftime("%Y-%m-%d %H:%M:%S %z"))
