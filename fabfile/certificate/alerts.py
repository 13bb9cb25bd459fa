"""Tell people that something is wrong, with the certificate above all: once for each new problem."""

from __future__ import annotations

import re

from .. import layout
from ..entries import raw
from ..errors import StepError, addressed
from ..machine.host import Host
from ..settings import HOME, Settings
from ..text import printable
from . import current, lifetime, orders
from .onhost import attempts


def tell(host: Host, settings: Settings, problem: str, reason: str = "") -> str:
    """Run ALERT_COMMAND on the host with the problem on standard input, unless it was told already.

    problem: '' when all is well: the next one is new then. reason: of its error. Returns a line for the log, or ''.
    """
    if not settings.alert_command:
        return ""
    # Why the last order failed; "" when none did since one succeeded.
    cause = str(orders.remembered(host, settings)["reason"])
    known = cause if cause and reason == orders.FAILED else problem
    same = _same(f"{_state(host, settings)} {known}") if problem else ""
    # A good run during a pause asked nothing: the failure that began it is still the news of the day.
    kept = reason if problem else orders.FAILED if cause else ""
    return told(host, settings, layout.ATTEMPTS, problem, (same, kept))


def told(host: Host, settings: Settings, file: str, problem: str, known: tuple[str, str] | None = None) -> str:
    """Run ALERT_COMMAND on the host with a problem on standard input, unless it was told already.

    file: below DEPLOY_DIR, where it is remembered what was told. problem: '' when all is well: the next one is new
    then. known: what makes it the same as another one, where that is not its words, and a reason, see attempts.alert.
    Returns a line for the log, or ''.
    """
    if not settings.alert_command:
        return ""
    same, reason = known or (_same(problem), "")
    path, message = f"{settings.deploy_dir}/{file}", _message(settings.registry_domain, problem)
    done = host.call(attempts.alert, path, same, settings.alert_command, message, reason)
    if done in ("known", "sent"):
        return "ALERT_COMMAND was told" if done == "sent" and problem else ""
    return f"warn     ALERT_COMMAND: {done}"


def tell_without_settings(host: Host, problem: str) -> None:
    """The same on this machine where the settings themselves are the problem: as far as they can be read."""
    values = raw(HOME / layout.SETTINGS_FILE)
    if command := values.get("ALERT_COMMAND"):
        file = str(HOME / layout.ATTEMPTS)
        message = _message(values.get("REGISTRY_DOMAIN", "registry"), problem)
        host.call(attempts.alert, file, _same(problem), command, message)


def _message(domain: str, problem: str) -> str:
    return printable(addressed(f"{domain}: {problem}", f"-H {domain}"))


def _state(host: Host, settings: Settings) -> str:
    """How bad it is by now: when that gets worse, it is news."""
    try:
        have = current.on_disk(host, settings)
    except StepError:
        return "unknown"
    return "none" if not have or "broken" in have else " ".join(lifetime.judged(have))


def _same(problem: str) -> str:
    """What makes one problem the same as another: its words, without times, serials, counts, and the tokens
    of challenges (RFC 8555, 8.3), which differ in each order.
    """
    return re.sub(r"[A-Za-z0-9_-]{40,}|\b[0-9A-Fa-f]{8,}\b|\d+", "#", problem)
