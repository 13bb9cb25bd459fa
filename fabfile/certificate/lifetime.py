"""How long a certificate is still good, in words, and when that is no longer enough. Every ratio is told here."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..stack.onhost.lineage import Broken, Facts, OnDisk

DAY = 86400
# What certbot calls short: it renews such a certificate when half of its lifetime is left, any other when a third is.
SHORT = 10 * DAY
# We look a little earlier than certbot, as the moment that an authority names (ARI) lies around certbot's own.
DUE_BELOW = 0.35
DUE_BELOW_OF_SHORT = 0.52
# Below certbot's own third, a renewal was missed.
WARN_BELOW = 1 / 3
FAIL_BELOW = 1 / 5
# Of a pause after a failure: cron, which comes at the same minute of another day, must not come a moment too early.
PAUSED = 0.98
# 9999-12-31 23:59:59, the end of Python's calendar.
LAST_MOMENT = 253402300799


def described(facts: Facts | OnDisk | Broken) -> str:
    """`valid 89 days, until 2027-02-20 10:00 UTC, issued by R11, serial 03ab…`."""
    if "broken" in facts:
        return f"broken: {facts['broken']}"
    left = facts["not_after"] - time.time()
    validity = f"valid {amount(left)}" if left > 0 else f"EXPIRED {amount(-left)} ago"
    return f"{validity}, until {moment(facts['not_after'])}, issued by {facts['issuer']}, serial {facts['serial']}"


def left(facts: Facts | OnDisk) -> float:
    """Which part of its lifetime a certificate still has: 1 when it is new, 0 or less when it is over."""
    lifetime = facts["not_after"] - facts["not_before"]
    return (facts["not_after"] - time.time()) / max(lifetime, 1)


def judged(facts: Facts | OnDisk) -> tuple[str, str]:
    """(ok, warn or failed; what is wrong, '' when nothing is) by what is left of the lifetime."""
    part = left(facts)
    if part <= 0:
        return "failed", "it has expired"
    if part < FAIL_BELOW:
        return "failed", "less than a fifth of its lifetime is left"
    if part < WARN_BELOW:
        return "warn", "less than a third of its lifetime is left"
    return "ok", ""


def due(facts: Facts | OnDisk) -> bool:
    """Whether certbot may want to renew it by date: see certbot.renew."""
    short = facts["not_after"] - facts["not_before"] < SHORT
    return left(facts) <= (DUE_BELOW_OF_SHORT if short else DUE_BELOW)


def paused(pauses: Sequence[float]) -> list[float]:
    """How long the authority is left alone after each failure in a row. pauses: as the settings say; seconds, both."""
    return [PAUSED * pause for pause in pauses]


def amount(seconds: float) -> str:
    """`89 days`, `3 hours`, `40 seconds`."""
    units = {"days": DAY, "hours": 3600, "minutes": 60, "seconds": 1}
    unit = next((unit for unit, size in units.items() if seconds >= 2 * size), "seconds")
    return f"{seconds / units[unit]:.0f} {unit}"


def moment(seconds: float) -> str:
    """Seconds since 1970 -> `2027-02-20 10:00 UTC`. Whatever lies outside of the calendar is its end."""
    within = min(max(0, seconds), LAST_MOMENT)
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(within))
