"""The tasks about other servers beside one: see __init__.py, of which this is a part."""

from __future__ import annotations

from invoke import Context, task

from .errors import StepError, UsageError, for_people


@task
@for_people
def standby(c: Context) -> None:
    """Let the server of STANDBY follow this one each minute, ready to take over; or look whether it does."""
    from .machine import lock
    from .running import second, server
    from .steps import standby

    host, settings = server(c, "standby")
    other = second(c, settings)
    with lock.exclusive(host, settings, "standby"):
        standby.standby(host, other, settings)


@task(positional=["server"], help={"server": "As HOSTS names it."})
@for_people
def forget(c: Context, server: str) -> None:
    """Go on without a server of HOSTS, dead or alive: the others and .env name it no more."""
    from . import running, settings
    from .steps import forget

    whole = settings.load()
    stay, gone = forget.parted(whole, server)
    rest = forget.without(whole, stay)
    others = running.fleet(c, "forget", stay, rest)
    others.require_all("forget")
    forget.forget(others, running.fleet(c, "forget", [gone], whole), gone, rest, settings.location())


@task(help={"lost": "The first server is gone: take over without it, and without what was pushed since the last copy."})
@for_people
def promote(c: Context, lost: bool = False) -> None:
    """Let the server of STANDBY take over. While the first one is there, nothing is lost."""
    from . import report
    from .machine import ssh
    from .running import second, server
    from .settings import load
    from .steps import promote

    if not lost:
        try:
            host, settings = server(c, "promote")
        except StepError as error:
            gone = "if it is gone: ./fab -H … promote --lost"
            raise StepError(error.what, *error.remedies, gone, reason=error.reason) from None
        other = second(c, settings)
        report.step("promote", lambda: promote.promote(host, other, settings), host.option)
        return
    ssh.require_host(c)
    settings = load()
    other = second(c, settings)
    try:
        first = ssh.remote(c)
    except (StepError, UsageError) as error:
        print(f"the first server cannot be reached: {error.what}", flush=True)
        first = None
    report.step("promote", lambda: promote.promote_lost(first, other, settings), other.option)
