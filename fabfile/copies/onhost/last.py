"""What the last copy by cron brought: for `status`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

from ...layout import BACKUP_RECORD


class Last(TypedDict):
    """Of one run. when: of it; good: of the last one without a problem; drilled: of the last drill; in seconds since
    1970, 0 for never. problem, drill: why it failed, '' for well. bytes, new_bytes: of blobs. mounted: whether
    BACKUP_TO was on a disk of its own.
    """

    when: float
    good: float
    problem: str
    snapshot: str
    tags: int
    bytes: int
    new_bytes: int
    mounted: bool
    drilled: float
    drill: str


NOTHING: Last = {
    "when": 0.0, "good": 0.0, "problem": "", "snapshot": "", "tags": 0, "bytes": 0, "new_bytes": 0, "mounted": False,
    "drilled": 0.0, "drill": "",
}  # fmt: skip


def last(directory: str) -> Last | None:
    """What it was; None where there was none. Changes nothing."""
    try:
        found: Last = {**NOTHING, **json.loads(Path(directory, BACKUP_RECORD).read_text("utf-8"))}
    except (OSError, ValueError):
        return None
    return found
