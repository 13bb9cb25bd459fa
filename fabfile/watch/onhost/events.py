"""What happened lately, for `events`: pushes, deletes, refused logins, and what people and cron did."""

from __future__ import annotations

from pathlib import Path

from ...layout import AUDIT_LOG, REFUSED_LOG, USES_LOG
from ...machine.onhost import audit
from . import happened, tails

# The newest; more than anybody reads.
MOST = 10_000
LARGEST = 64 << 20


def recent(directory: str, since: float, pulls: bool) -> list[happened.Event]:
    """What happened from a time on (seconds since 1970), the oldest first. Changes nothing.

    pulls: pulls, too. Pushes, pulls and deletes are known for two nights or three, refused logins for a week.
    """
    root = Path(directory)
    found = [event for line in audit.lines(str(root / AUDIT_LOG)) if (event := happened.audited(line))]
    found += happened.refused(_lines(root / REFUSED_LOG))
    for line in _lines(root / USES_LOG):
        # Most lines are of layers.
        if (use := happened.use(line)) and (pulls or use.action != "pull"):
            found.append(happened.used(use))
    return sorted((event for event in found if event["when"] >= since), key=lambda event: event["when"])[-MOST:]


def _lines(log: Path) -> list[str]:
    return tails.new(log, {}, LARGEST)[0]
