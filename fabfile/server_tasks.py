"""What runs on the server itself, from cron: `inv renew`, `care`, `quota`, `page`, `metrics`, `notify`, `accounts`,
`backup` and `follow`; and `inv offer`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from invoke import Context, task

from . import layout, report
from .errors import ExpectedError, StepError, UsageError, for_people
from .machine import lock
from .machine.host import Host, here, require_deployed
from .settings import HOME, Settings, hosts, load

LOG_BYTES = 1_000_000
# Somebody may be at work when cron comes; the next chance is half a day away.
WAIT_SECONDS = 600


@task(
    help={
        "dry_run": "Only rehearse it: certbot asks Let's Encrypt's test service, or ACME_SERVER where that is a URL.",
        "log": "The log that this run is written to; it is put aside when it is larger than 1 MB.",
        "heard": "A file that is made when all was told: without it cron's script tells that this did not run.",
    }
)
@for_people
def renew(c: Context, dry_run: bool = False, log: str = "", heard: str = "") -> None:
    """Renew the certificate on this machine where it is due, and check what is served."""
    # All of it now: a `sync` that we wait for may put other modules in the place of these.
    from .certificate import alerts
    from .steps.renew import renew as renewed

    _begin(log)
    host = here()
    if _stands_by():
        _heard(heard)
        return
    try:
        settings = _settings()
        require_deployed(host, settings.deploy_dir)
    except UsageError as error:
        if not (HOME / layout.SETTINGS_FILE).is_file():
            # A clone, on somebody's own machine.
            server = "" if hosts() else " -H root@registry.example.com"
            raise UsageError(
                f"{error.what}; cron renews it on the server", f"./fab{server} renew does it now"
            ) from None
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
        reason = error.reason if isinstance(error, ExpectedError) else ""
        _alert(host, settings, str(error) or type(error).__name__, dry_run, reason)
        _heard(heard)
        raise
    _alert(host, settings, "", dry_run)
    _heard(heard)


@task(help={"log": "The log that this run is written to; it is put aside when it is larger than 1 MB."})
@for_people
def care(c: Context, log: str = "") -> None:
    """Fold the log of uses; where there is a retention.ini, first remove tags by it, and free what nothing needs."""
    from .copies.onhost import offer, stage
    from .store import care

    _begin(log)
    if _stands_by():
        return
    host, settings = here(), _settings()
    require_deployed(host, settings.deploy_dir)
    with _telling(lambda problem: care.tell(host, settings, problem)), lock.audited(host, settings, "care"):
        # What a copy that was cut off still holds could not be freed.
        host.call(stage.forget, settings.deploy_dir)
        host.call(offer.forget, settings.deploy_dir)
        report.step("care", lambda: care.care(host, settings))


@task(help={"log": "The log that this run is written to; it is put aside when it is larger than 1 MB."})
@for_people
def quota(c: Context, log: str = "") -> None:
    """Look what is over its quota, and whether the images' disk is nearly full: pushes there are refused."""
    from .store import quota

    host, settings = here(), _settings()
    require_deployed(host, settings.deploy_dir)
    with _telling(lambda problem: quota.tell(host, settings, problem)):
        with _quiet(log):
            done = quota.quota(host, settings)
        if done.changed:
            _begin(log)
            report.line("ok", "quota", done.summary, 0.0)


@task(help={"log": "The log that this run is written to; it is put aside when it is larger than 1 MB."})
@for_people
def page(c: Context, log: str = "") -> None:
    """Bring the lists that the page shows up to date, and let its sessions end that are older than yesterday."""
    from .store import page

    host, settings = here(), _settings()
    require_deployed(host, settings.deploy_dir)
    with _quiet(log):
        page.tend(host, settings)


@task(help={"log": "The log that this run is written to; it is put aside when it is larger than 1 MB."})
@for_people
def metrics(c: Context, log: str = "") -> None:
    """Count requests, look at the rest, and write what nginx serves at /metrics."""
    from .watch.onhost import metrics

    host, settings = here(), _settings()
    require_deployed(host, settings.deploy_dir)
    with _quiet(log):
        host.call(metrics.write, settings.deploy_dir)


@task(help={"log": "The log that this run is written to; it is put aside when it is larger than 1 MB."})
@for_people
def accounts(c: Context, log: str = "") -> None:
    """Where several servers are one registry: have the accounts here that are in force for all."""
    from .certificate import alerts
    from .stack import accord

    host, settings = here(), _settings()
    require_deployed(host, settings.deploy_dir)
    with _telling(lambda problem: alerts.told(host, settings, layout.ACCOUNTS_ALERT, problem)):
        with _quiet(log):
            done = accord.heal(host, settings)
        if done.changed:
            _begin(log)
            report.line("ok", "accounts", done.summary, 0.0)


@task(
    help={
        "seconds": "How long to stay: cron comes again each minute.",
        "log": "The log that this run is written to; it is put aside when it is larger than 1 MB.",
    }
)
@for_people
def notify(c: Context, seconds: int = 57, log: str = "") -> None:
    """Run EVENT_COMMAND for each push and each delete that comes in this minute."""
    from .certificate import alerts
    from .watch.onhost import notify

    host, settings = here(), _settings()
    require_deployed(host, settings.deploy_dir)
    with _telling(lambda problem: alerts.told(host, settings, layout.EVENTS_ALERT, problem)):
        place, command = settings.deploy_dir, settings.event_command
        done = host.call(notify.stay, place, command, settings.registry_domain, float(seconds))
        if done["problem"]:
            _begin(log)
            raise StepError(
                done["problem"], f"./fab -H … events shows what was pushed; {layout.EVENTS_LOG} on the server"
            )


@task(help={"log": "The log that this run is written to; it is put aside when it is larger than 1 MB."})
@for_people
def backup(c: Context, log: str = "") -> None:
    """Copy all of it to BACKUP_TO, and have BACKUP_COMMAND take it away."""
    from .certificate import alerts
    from .copies import nightly, taking

    _begin(log)
    if _stands_by():
        return
    host, settings = here(), _settings()
    require_deployed(host, settings.deploy_dir)
    with (
        _telling(lambda problem: alerts.told(host, settings, layout.BACKUP_ALERT, problem)),
        taking.alone(host, settings, "backup", WAIT_SECONDS),
    ):
        report.step("backup", lambda: nightly.backup(host, settings))


@task(
    help={
        "log": "The log that this run is written to; it is put aside when it is larger than 1 MB.",
        "wait": "Wait for whoever cleans up, or copies, and fail where nothing can be copied.",
    }
)
@for_people
def follow(c: Context, log: str = "", wait: bool = False) -> None:
    """On a standby: copy what is new on the first server. On the first one: look whether the other took over."""
    from .certificate import alerts
    from .copies import follow

    host, settings = here(), _settings()
    with _telling(lambda problem: alerts.told(host, settings, layout.STANDBY_ALERT, problem)):
        with _quiet(log):
            done = follow.follow(host, settings, WAIT_SECONDS if wait else 0)
        if done.changed or wait:
            _begin(log)
            report.line("ok" if done.changed else "same", "follow", done.summary, 0.0)


@task
@for_people
def offer(c: Context) -> None:
    """Give the other server what it asks for by SSH: its key there is bound to this task."""
    from .copies.onhost import offer
    from .machine.onhost.atomic import RefusedError

    try:
        offer.answer(str(HOME), os.environ.get("SSH_ORIGINAL_COMMAND", ""))
    except RefusedError as error:
        raise UsageError(error.what, *error.remedies) from None


def _stands_by() -> bool:
    """Whether another server is the first, and does all this for both. Says so."""
    from .copies.onhost import standing

    state = standing.read(str(HOME))
    if state is None or state["role"] == standing.FIRST:
        return False
    print(f"not here: {state['other']} does it for both")
    return True


def _settings() -> Settings:
    carried = HOME / layout.SETTINGS_FILE
    return load(carried if carried.is_file() else None)


def _alert(host: Host, settings: Settings, problem: str, dry_run: bool, reason: str = "") -> None:
    from .certificate import alerts

    if not dry_run and (line := alerts.tell(host, settings, problem, reason)):
        print(f"{'':15}{line}")


def _heard(file: str) -> None:
    """Whoever shall know how it went knows it: without this file cron's script tells that nobody does."""
    if file:
        Path(file).touch()


@contextlib.contextmanager
def _telling(tell: Callable[[str], str]) -> Iterator[None]:
    """Have people told of what goes wrong inside, or that it went well.

    tell: takes the problem, '' for none, and returns a line for the log, or ''.
    """
    problem = ""
    try:
        yield
    except Exception as error:
        problem = str(error) or type(error).__name__
        raise
    finally:
        if line := tell(problem):
            print(f"{'':15}{line}")


@contextlib.contextmanager
def _quiet(log: str) -> Iterator[None]:
    """What runs each minute: it is dated in its log only where it fails, or has something to say."""
    try:
        yield
    except Exception:
        _begin(log)
        raise


def _begin(name: str) -> None:
    """Date the run in its log, '' for none. A full one is put aside for the next run: this one already writes to it."""
    if not name:
        return
    log = Path(name)
    if log.is_file() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    print(time.strftime("%Y-%m-%d %H:%M:%S %z"))
