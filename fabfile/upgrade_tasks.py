"""The tasks about the images that the server runs: see __init__.py, of which this is a part."""

from __future__ import annotations

from invoke import Context, task

from .errors import UsageError, for_people


@task(
    help={
        "check": "Only say what is newer.",
        "json": "With --check: as JSON.",
        "yes": "Go on although images are in the way that the new version of the registry cannot serve.",
        "wait": "Seconds to wait at most until nginx can be replaced without cutting off a long push or pull.",
    }
)
@for_people
def upgrade(c: Context, check: bool = False, json: bool = False, yes: bool = False, wait: int = 600) -> None:
    """Fetch the images that .env names, and run them: nobody is cut off, and a bad one goes back by itself."""
    from .running import over, server
    from .stack import news
    from .steps import upgrade

    if json and not check:
        raise UsageError("--json is for --check")
    if check:
        host, settings = server(c)
        news.show(news.news(host, settings), as_json=json, option=host.option)
        return
    patience = _seconds(wait)
    over(c, "upgrade", lambda host, settings: upgrade.upgrade(host, settings, yes=yes, patience=patience))


@task(help={"wait": "Seconds to wait at most until nginx can be replaced without cutting off a long push or pull."})
@for_people
def rollback(c: Context, wait: int = 600) -> None:
    """Run the images of before the last upgrade again, in the same way."""
    from .running import over
    from .steps import rollback

    patience = _seconds(wait)
    over(c, "rollback", lambda host, settings: rollback.rollback(host, settings, patience=patience))


@task
@for_people
def pin(c: Context) -> None:
    """Write the images that the server runs into .env, with their digests."""
    from .running import run
    from .steps import pin

    run(c, "pin", pin.pin, alone=False)


def _seconds(wait: int) -> float:
    if wait < 0:
        raise UsageError(f"--wait {wait}: expected 0 or more seconds")
    return float(wait)
