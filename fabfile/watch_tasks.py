"""The tasks for those who watch: see __init__.py, of which this is a part."""

from __future__ import annotations

from invoke import Context, task

from .errors import for_people


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

    from .running import server
    from .steps import events
    from .store import words

    begin = time.time() - words.seconds(since, "since")
    host, settings = server(c)
    if follow:
        events.follow(host, settings, begin, pulls=pulls, as_json=json)
    else:
        events.show(events.events(host, settings, begin, pulls=pulls), as_json=json)
