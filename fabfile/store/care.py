"""What the server does by itself each night: `inv care`, and what `status` says of it."""

from __future__ import annotations

import time

from .. import layout
from ..certificate import alerts
from ..errors import StepError
from ..machine.host import Host
from ..report import Outcome
from ..settings import Settings
from ..text import counted, one_line
from . import page, quota
from .onhost import care as onhost
from .words import since, size

SILENT_SECONDS = 2 * 86400


def care(host: Host, settings: Settings) -> Outcome:
    """Fold the log of uses, empty the trash; where there are rules, first remove tags by them, and free what is unused.

    Raises StepError, once all that can be done is done, for what could not.
    """
    found = host.call(onhost.care, settings.deploy_dir)
    quota.look(host, settings)
    page.look(host, settings)
    if problem := _problem(found):
        raise StepError(problem, "./fab -H … gc and retention say more")
    return Outcome(_said(found), changed=bool(found["removed"] or found["freed"]))


def tell(host: Host, settings: Settings, problem: str) -> str:
    """Run ALERT_COMMAND on the host, once for each new problem; '' for none. Returns a line for the log, or ''."""
    return alerts.told(host, settings, layout.CARE_ALERT, problem)


def row(found: onhost.Night | None) -> tuple[str, str, str]:
    """The line of `status`. found: what onhost/care.py remembers."""
    if not found:
        return "ok", "care", "not yet: cron runs it at night"
    text = f"{since(found['when'])}: {_said(found)}"
    if found["by_hand"] and not found["problems"]:
        text = f"only by hand: ./fab -H … gc{_trash(found)}"
    if problem := _problem(found):
        return "warn", "care", f"{since(found['when'])}: {problem}"
    if time.time() - found["when"] > SILENT_SECONDS:
        return "warn", "care", f"{text}; cron did not run it since: {layout.CARE_LOG} on the server"
    return "ok", "care", text


def _said(found: onhost.Night) -> str:
    if found["by_hand"]:
        return f"nothing was taken, as there is no {layout.RETENTION}; the log of uses was folded{_trash(found)}"
    tags = counted(found["removed"], "tag")
    return f"{tags} removed, {size(found['freed'])} freed, {size(found['waiting'])} in the trash"


def _trash(found: onhost.Night) -> str:
    """What became of what was taken by hand."""
    if not found["freed"] and not found["waiting"]:
        return ""
    return f"; {size(found['freed'])} in the trash were freed, {size(found['waiting'])} wait there"


def _problem(found: onhost.Night) -> str:
    words = [one_line(text) for text in found["problems"]]
    words += [f"{one_line(name)} was left to you by the rules: {why}" for name, why in sorted(found["held"].items())]
    if found["left"]:
        words.append(f"something cannot be read in {', '.join(map(one_line, found['left']))}")
    return "; ".join(words)
