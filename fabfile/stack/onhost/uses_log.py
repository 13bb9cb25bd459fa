"""The uses log, for who starts nginx: when it began, and that it does not grow for ever where cron folds nothing.

What is in it: store/onhost/uses.py.
"""

from __future__ import annotations

import time
from pathlib import Path

from ... import layout
from ...machine.onhost.atomic import replace

# A million uses or so.
LARGEST = 256 << 20


def keep(root: Path) -> bool:
    """Note since when there is one; put a large one aside, in the place of the one before.

    Returns whether nginx has to begin a new one. What is dropped counts as used now.
    """
    directory, log = root / layout.USES, root / layout.USES_LOG
    if not directory.is_dir():
        return False
    large = log.is_file() and log.stat().st_size > LARGEST
    earlier = [*directory.glob("uses-*.log")] if large else []
    if earlier or not (root / layout.USES_BEGUN).exists():
        replace(root / layout.USES_BEGUN, b"", 0o600)
    for old in earlier:
        old.unlink(missing_ok=True)
    if large:
        log.replace(directory / time.strftime("uses-%Y%m%dT%H%M%S.log", time.gmtime()))
    return large
