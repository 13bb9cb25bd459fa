"""What is over its quota, and a disk that is nearly full: pushes there are refused until there is room again."""

from __future__ import annotations

import time

from .. import layout, report
from ..certificate import alerts
from ..errors import StepError
from ..machine.host import Host
from ..report import Outcome
from ..settings import Settings
from ..text import one_line
from .onhost import quota as onhost
from .words import since, size

# Cron comes by each minute; a look at a large store on a slow disk may take some.
SILENT_SECONDS = 900
REMEDY = "./fab -H … gc --now"


def quota(host: Host, settings: Settings) -> Outcome:
    """Look what must not grow, and have nginx know. Raises StepError where that cannot be done."""
    found = host.call(onhost.judge, settings.deploy_dir)
    if found["problem"]:
        raise StepError(f"the quotas are as they were: {found['problem']}", "./fab -H … status")
    words = [f"{name}: {_turned(found, name)}" for name in found["changed"]]
    return Outcome("; ".join(words) or "as it was", changed=bool(words))


def _turned(found: onhost.Judged, name: str) -> str:
    if name == layout.FULL_DISK:
        return f"pushes are refused, {_free(found['room'])}" if found["room"]["full"] else "pushes are taken again"
    if name == layout.FULL_MOVING:
        return "a move died, and nothing had gone yet: pushes are taken again"
    over = any(each["pattern"] == name and each["used"] >= each["quota"] for each in found["sections"])
    return "the quota is reached, pushes are refused" if over else "pushes are taken again"


def look(host: Host, settings: Settings) -> None:
    """The same after something else that was done: what fails is a warning, as cron does it again within a minute."""
    try:
        quota(host, settings)
    except StepError as error:
        report.line("warn", "quota", one_line(f"cron does it within a minute: {error.what}"), 0.0)


def tell(host: Host, settings: Settings, problem: str) -> str:
    """Run ALERT_COMMAND on the host, once for each new problem; '' for none. Returns a line for the log, or ''."""
    found = host.call(onhost.last, settings.deploy_dir)
    if not problem and found and found["room"]["full"]:
        problem = f"pushes are refused: {_free(found['room'])}\n  -> {REMEDY}"
    return alerts.told(host, settings, layout.QUOTA_ALERT, problem)


def _free(found: onhost.Room) -> str:
    if found["files"] >= 0:
        return f"there is room for only {found['files']} more files on the images' disk"
    return f"{size(found['free'])} are free on the images' disk, and {size(found['limit'])} must be"


def lines(sections: list[onhost.Section]) -> list[str]:
    """A line for each quota."""
    return [
        f"{each['pattern']}: {size(each['used'])} of {size(each['quota'])}"
        + (", so pushes are refused" if each["used"] >= each["quota"] else "")
        for each in sections
    ]


def row(found: onhost.Judged | None) -> tuple[str, str, str]:
    """The line of `status`. found: what onhost/quota.py remembers."""
    if not found:
        return "ok", "pushes", "not looked yet whether there is room: cron does each minute"
    text = "; ".join(lines(found["sections"])) or "taken"
    mark = "warn" if any(each["used"] >= each["quota"] for each in found["sections"]) else "ok"
    if found["problem"]:
        mark, text = "warn", f"the quotas are as they were: {one_line(found['problem'])}"
    if found["room"]["full"]:
        mark, text = "failed", f"refused: {_free(found['room'])}: {REMEDY}"
    last = max(found["when"], found["seen"])
    if time.time() - last > SILENT_SECONDS:
        silent = f"that was {since(last)}, and cron did not look since: {layout.QUOTA_LOG} on the server"
        return max(mark, "warn", key=("ok", "warn", "failed").index), "pushes", f"{text}; {silent}"
    return mark, "pushes", text
