"""The rows of `status` about the certificate and its renewals: mark, name and text."""

from __future__ import annotations

import time

from .. import layout
from ..machine.onhost import audit
from . import current, lifetime, orders, outside
from .onhost.attempts import Memory
from .onhost.cron import LookedAt
from .onhost.probe import Knocked

SILENT_SECONDS = 2 * 86400

Row = tuple[str, str, str]


class Cron(LookedAt):
    """The renewals. twice_a_day: by our own schedule; with another, only you know how often it should."""

    twice_a_day: bool


def from_here(port: int, seen: Knocked) -> list[Row]:
    """What was seen of a port from the operator's machine."""
    return [
        (mark, f"port {port}", f"from here: {text}" + (f": {outside.remedy(port)}" if mark == "failed" else ""))
        for mark, text in outside.told(port, seen)
    ]


def pair(found: current.Both) -> Row:
    """The certificate on the disk, and whether it is the one that is served."""
    disk_side, served = found["on_disk"], found["served"]
    if not disk_side:
        return "failed", "certificate", "none: ./fab -H … init-letsencrypt orders one"
    text = lifetime.described(disk_side)
    if "broken" in disk_side:
        return "failed", "certificate", f"{text}: ./fab -H … init-letsencrypt --force"
    mark, problem = lifetime.judged(disk_side)
    if mark == "failed":
        return mark, "certificate", f"{text}: {problem}: ./fab -H … renew"
    if not served:
        return "failed", "certificate", f"{text}, but port 443 does not answer: ./fab -H … up"
    if served["serial"] != disk_side["serial"]:
        hint = f"but clients get serial {served['serial']}: ./fab -H … renew"
        return "failed", "certificate", f"{text}, {hint}"
    return mark, "certificate", f"{text}: {problem}" if problem else text


def renewal(last: audit.Last | None, failed: Memory) -> Row:
    """How the last renewal ended, and whether an order waits."""
    text = f"{last['when']}: {last['outcome']} (by {last['who']})" if last else "none yet"
    if failed["failures"]:
        return "warn", "last renewal", f"{text}; {orders.pause_text(failed)}"
    return "ok" if not last or last["outcome"] == "ok" else "warn", "last renewal", text


def schedule(found: Cron, last: audit.Last | None) -> Row:
    """Whether renewal goes on by itself. With a schedule of your own, only you know how often it should."""
    if not found["daemon"]:
        return "failed", "cron", "does not run, so nothing is renewed: ./fab -H … provision"
    if found["changed"]:
        return "warn", "cron", "renews nothing, or not as the settings say: ./fab -H … schedule"
    if found["inv"]:
        return "failed", "cron", f"cannot start ./inv, so nothing is renewed: {found['inv']}: ./fab -H … sync"
    if found["unheard"]:
        return "failed", "cron", f"{found['unheard']}: {layout.RENEW_LOG} on the server"
    silent = found["age"]
    if last:
        silent = min(silent, time.time() - audit.seconds(last["when"]))
    if found["twice_a_day"] and silent > SILENT_SECONDS:
        return (
            "warn",
            "cron",
            f"did not run it for {silent / 86400:.0f} days: {layout.RENEW_LOG} on the server",
        )
    return "ok", "cron", "runs"
