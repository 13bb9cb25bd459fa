"""The tasks for those who watch: see __init__.py, of which this is a part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke import Context, task

from .errors import UsageError, for_people

if TYPE_CHECKING:
    from .machine.host import Host
    from .settings import Settings


@task(
    help={
        "since": "How far to look back: 2h, 7d; a day without this.",
        "pulls": "Pulls, too.",
        "follow": "Go on with what happens, until Ctrl-C.",
        "json": "Print a line of JSON for each.",
    }
)
@for_people
def events(c: Context, since: str = "1d", pulls: bool = False, follow: bool = False, json: bool = False) -> None:
    """Show what happened: pushes, deletes, refused logins, renewals, and what people did, with the account."""
    import time

    from .running import over, server, several
    from .steps import events
    from .store import words

    begin = time.time() - words.seconds(since, "since")
    if follow and several(c):
        raise UsageError("events --follow is for one server", "./fab -H SERVER events --follow")
    if follow:
        events.follow(*server(c), begin, pulls=pulls, as_json=json)
        return

    def body(host: Host, settings: Settings) -> None:
        events.show(events.events(host, settings, begin, pulls=pulls), as_json=json)

    over(c, "events", body, as_json=json)


@task(help={"json": "Print it as JSON."})
@for_people
def status(c: Context, json: bool = False) -> None:
    """Show the containers, the certificate, the accounts and the disk of the server."""
    from .running import over
    from .steps import status

    def body(host: Host, settings: Settings) -> None:
        status.show(status.status(host, settings), as_json=json, option=host.option, standby=settings.standby)

    over(c, "status", body, as_json=json)


@task(
    help={
        "deep": "Also read every layer: it takes as long as the disk does.",
        "test_alert": "Also send a test message by ALERT_COMMAND.",
        "json": "Print it as JSON.",
    }
)
@for_people
def doctor(c: Context, deep: bool = False, test_alert: bool = False, json: bool = False) -> None:
    """Find out why something does not work: what is wrong, with its numbers, and what to do. Changes nothing."""
    from .running import over
    from .steps import doctor

    def body(host: Host, settings: Settings) -> None:
        found = doctor.doctor(host, settings, deep=deep)
        if test_alert:
            doctor.test_alert(host, settings, found)
        doctor.show(found, as_json=json, option=host.option)

    over(c, "doctor", body, as_json=json)


@task(help={"lines": "How many lines of each container."})
@for_people
def logs(c: Context, lines: int = 50) -> None:
    """Show the last lines of the containers' logs."""
    from .running import over
    from .steps import logs

    if lines < 1:
        raise UsageError(f"--lines {lines}: expected 1 or more")
    over(c, "logs", lambda host, settings: print(logs.logs(host, settings, lines), end=""))
