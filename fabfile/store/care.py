"""What the server does by itself each night: `inv care`, and what `status` says of it."""

from __future__ import annotations

import time

from .. import layout
from ..certificate.onhost import attempts
from ..errors import StepError, addressed
from ..machine.host import Host
from ..report import Outcome
from ..settings import Settings
from ..text import one_line, printable
from .onhost import care as onhost
from .words import ago, size

SILENT_SECONDS = 2 * 86400


def care(host: Host, settings: Settings) -> Outcome:
    """Fold the log of uses; where there are rules, first remove tags by them, and free what nothing needs.

    Raises StepError, once all that can be done is done, for what could not.
    """
    found = host.call(onhost.care, settings.deploy_dir)
    if problem := _problem(found):
        raise StepError(problem, "./fab -H … gc and retention say more")
    return Outcome(_said(found), changed=bool(found["removed"] or found["freed"]))


def tell(host: Host, settings: Settings, problem: str, remembered: str = layout.CARE_ALERT) -> str:
    """Run ALERT_COMMAND on the host, once for each new problem; '' for none. Returns a line for the log, or ''.

    remembered: the file below DEPLOY_DIR that has what was told last.
    """
    if not settings.alert_command:
        return ""
    message = printable(addressed(f"{settings.registry_domain}: {problem}", f"-H {settings.registry_domain}"))
    file = f"{settings.deploy_dir}/{remembered}"
    done = host.call(attempts.alert, file, problem, settings.alert_command, message)
    if done in ("known", "sent"):
        return "ALERT_COMMAND was told" if done == "sent" and problem else ""
    return f"warn     ALERT_COMMAND: {done}"


def row(found: onhost.Night | None) -> tuple[str, str, str]:
    """The line of `status`. found: what onhost/care.py remembers."""
    if not found:
        return "ok", "care", "not yet: cron runs it at night"
    text = f"{ago(found['when'])} ago: {_said(found)}"
    if found["by_hand"] and not found["problems"]:
        text = "only by hand: ./fab -H … gc"
    if problem := _problem(found):
        return "warn", "care", f"{ago(found['when'])} ago: {problem}"
    if time.time() - found["when"] > SILENT_SECONDS:
        return "warn", "care", f"{text}; cron did not run it since: {layout.CARE_LOG} on the server"
    return "ok", "care", text


def _said(found: onhost.Night) -> str:
    if found["by_hand"]:
        return f"nothing was taken, as there is no {layout.RETENTION}; the log of uses was folded"
    return f"{found['removed']} tags removed, {size(found['freed'])} freed, {size(found['waiting'])} in the trash"


def _problem(found: onhost.Night) -> str:
    words = [one_line(text) for text in found["problems"]]
    words += [f"{one_line(name)} was left to you by the rules: {why}" for name, why in sorted(found["held"].items())]
    if found["left"]:
        words.append(f"something cannot be read in {', '.join(map(one_line, found['left']))}")
    return "; ".join(words)
