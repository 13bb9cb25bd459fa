"""`events`: what happened in the registry, and on its server."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from .. import report
from ..machine.host import Host, deployed, require_deployed
from ..settings import Settings
from ..text import one_line
from ..watch.onhost import events as onhost
from ..watch.onhost.happened import Event

# With --follow: seconds between two looks; and how far each looks back, as nginx writes a line when a request ends.
AGAIN, BACK = 2.0, 120.0
WHEN = "%Y-%m-%d %H:%M:%S"


def events(host: Host, settings: Settings, since: float, *, pulls: bool = False) -> list[Event]:
    """What happened from a time on (seconds since 1970), the oldest first: see onhost.recent. Changes nothing."""
    host.foresee([deployed(settings.deploy_dir), (onhost.recent, (settings.deploy_dir, since, pulls), {})])
    require_deployed(host, settings.deploy_dir)
    return host.call(onhost.recent, settings.deploy_dir, since, pulls)


def show(found: Sequence[Event], *, as_json: bool) -> None:
    """Print them: as a table, or a line of JSON each."""
    if as_json:
        for event in found:
            print(json.dumps(event), flush=True)
    elif found:
        report.table(("when", "what", "who", "", ""), [_row(event) for event in found])
    else:
        print("nothing happened: --since 7d looks further back")


def follow(host: Host, settings: Settings, since: float, *, pulls: bool = False, as_json: bool = False) -> None:
    """Print what happened, and then what happens, until somebody ends it."""
    shown: set[str] = set()
    while True:
        for event in events(host, settings, since, pulls=pulls):
            key = json.dumps(event)
            if key not in shown:
                shown.add(key)
                _line(event, as_json=as_json)
        since = max(since, time.time() - BACK)
        time.sleep(AGAIN)


def _line(event: Event, *, as_json: bool) -> None:
    print(json.dumps(event) if as_json else "  ".join(_row(event)).rstrip(), flush=True)


def _row(event: Event) -> tuple[str, str, str, str, str]:
    when = time.strftime(WHEN, time.localtime(event["when"]))
    kind, who, what, detail = (one_line(event[key]) for key in ("kind", "who", "what", "detail"))
    return when, kind, who, what, detail
