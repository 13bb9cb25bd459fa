"""What runs on the server itself, from cron: `inv renew` and `inv care`."""

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
    }
)
@for_people
def renew(c: Context, dry_run: bool = False, log: str = "") -> None:
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
        raise
    name = "renew --dry-run" if dry_run else "renew"
    try:
        with lock.exclusive(host, settings, name, seconds=WAIT_SECONDS):
            # Whoever had the lock before us may have changed them.
            settings = _settings()
            report.step("renew", lambda: renewed(host, settings, dry_run=dry_run))
    except Exception as error:
        _alert(host, settings, str(error) or type(error).__name__, dry_run)
        raise
    _alert(host, settings, "", dry_run)


@task(help={"log": "The log that this run is written to; it is put aside when it is larger than 1 MB."})
@for_people
def care(c: Context, log: str = "") -> None:
    """Remove tags by retention.ini, free what nothing needs, and fold the log of uses. Nobody waits for it."""
    from .store import care

    if log:
        _begin(Path(log))
    host, settings = here(), _settings()
    require_deployed(host, settings.deploy_dir)
    problem = ""
    try:
        with lock.audited(host, settings, "care"):
            report.step("care", lambda: care.care(host, settings))
    except Exception as error:
        problem = str(error) or type(error).__name__
        raise
    finally:
        if line := care.tell(host, settings, problem):
            print(f"{'':15}{line}")


def _settings() -> Settings:
    carried = HOME / "settings.env"
    return load(carried if carried.is_file() else None)


def _alert(host: Host, settings: Settings, problem: str, dry_run: bool) -> None:
    from .certificate import alerts

    if not dry_run and (line := alerts.tell(host, settings, problem)):
        print(f"{'':15}{line}")


def _begin(log: Path) -> None:
    """Date the run. A full log is put aside for the next run: this one already writes to it."""
    if log.is_file() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    print(time.strftime("%Y-%m-%d %H:%M:%S %z"))
