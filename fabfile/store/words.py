"""Bytes and times, as people write and read them."""

from __future__ import annotations

import re
import time

from ..errors import UsageError

# Of a digest: `sha256:` and twelve more, as docker shows it.
SHORT = 19
UNITS = ("B", "kB", "MB", "GB", "TB")
SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def size(count: float) -> str:
    """A number of bytes for people: `52.4 MB`."""
    unit = 0
    while count >= 999.5 and unit < len(UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 or count >= 99.95 else f"{count:.1f} {UNITS[unit]}"


def ago(when: float) -> str:
    """How long ago, for people: `3 d`; `-` for a time that is not known."""
    if not when:
        return "-"
    seconds = max(0.0, time.time() - when)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return "now"


def since(when: float) -> str:
    """The same in a sentence: `3 d ago`, `now`, `never`."""
    text = ago(when)
    return "never" if not when else text if text == "now" else f"{text} ago"


def seconds(text: str, option: str) -> float:
    """`30d`, `12h`, `15min` or `90s` as seconds. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,6})(s|min|h|d)", text)
    if not found:
        raise UsageError(f"--{option} {text}: expected a number and d, h, min or s, for example 30d")
    return float(found[1]) * SECONDS[found[2]]
