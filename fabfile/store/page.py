"""The lists that the page shows: made by the server, and said of in `status`."""

from __future__ import annotations

import time

from .. import layout, report
from ..errors import StepError
from ..machine.host import Host
from ..settings import Settings
from ..stack.onhost import nginx
from ..text import one_line
from .onhost import index as onhost
from .onhost import remembered
from .words import since

# Cron comes by each minute.
SILENT_SECONDS = 180


def tend(host: Host, settings: Settings) -> None:
    """What cron does where something was pushed, or a day is over. Raises StepError where that cannot be done."""
    host.call(nginx.new_day, settings.deploy_dir)
    host.call(onhost.index, settings.deploy_dir, settings.registry_domain)


def look(host: Host, settings: Settings) -> None:
    """All of the lists anew, after something else that was done: what fails is a warning, as cron does it again.

    Without a page, those that are left go.
    """
    try:
        host.call(onhost.index, settings.deploy_dir, settings.registry_domain, whole=True)
    except StepError as error:
        report.line("warn", "page", one_line(f"cron makes its lists within a minute: {error.what}"), 0.0)


def accounts(host: Host, settings: Settings) -> None:
    """The same of what accounts alone say."""
    if settings.page == "off":
        return
    try:
        host.call(onhost.views, settings.deploy_dir)
    except StepError as error:
        report.line("warn", "page", one_line(f"its lists are as they were: {error.what}"), 0.0)


def row(found: remembered.Last | None) -> tuple[str, str, str]:
    """The line of `status`. found: what onhost/remembered.py has; None for no page."""
    if found is None:
        return "ok", "page", "off"
    if not found["when"]:
        return "ok", "page", "its lists are not there yet: cron makes them within a minute"
    text = f"its lists are of {since(found['when'])}"
    if found["pushed"] and time.time() - found["pushed"] > SILENT_SECONDS:
        missing = f"and something was pushed {since(found['pushed'])}"
        return "warn", "page", f"{text}, {missing}: {layout.PAGE_LOG} on the server"
    return "ok", "page", text if not found["pushed"] else f"{text}; cron makes them anew"
