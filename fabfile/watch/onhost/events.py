"""What happened lately, for `events`: pushes, deletes, refused logins, and what people and cron did."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from ...layout import AUDIT_LOG, REFUSED_LOG, USES_LOG
from ...machine.onhost import audit
from . import happened, tails

# The newest; more than anybody reads.
MOST = 10_000


def recent(directory: str, since: float, pulls: bool) -> list[happened.Event]:
    """What happened from a time on (seconds since 1970), the oldest first. Changes nothing.

    pulls: pulls, too. What nginx wrote is known for two nights or three, the audit log is kept for ever.
    """
    root = Path(directory)
    found = [event for line in audit.lines(str(root / AUDIT_LOG)) if (event := happened.audited(line))]
    found += happened.refused(deque(_lines(root / REFUSED_LOG, since), MOST))
    uses = (use for line in _lines(root / USES_LOG, since) if (use := happened.use(line)))
    # As they are read, as a log can be large.
    found += deque((happened.used(use) for use in uses if pulls or use.action != "pull"), MOST)
    return sorted((event for event in found if event["when"] >= since), key=lambda event: event["when"])[-MOST:]


def _lines(log: Path, since: float) -> Iterator[str]:
    """Of all its files that were written to from that time on."""
    for path in tails.files(log):
        # One that cron removes just now is of two nights ago.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime >= since:
                with path.open(encoding="ascii", errors="replace") as lines:
                    yield from (line.rstrip("\n") for line in lines)
