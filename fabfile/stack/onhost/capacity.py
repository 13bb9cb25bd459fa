"""What this host is made of."""

from __future__ import annotations

import os
import re
from pathlib import Path


def size() -> dict[str, int]:
    """{"memory": in bytes, "cores"}: what there is of both for all that runs here. Changes nothing."""
    found = re.search(r"^MemTotal: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.M)
    return {"memory": int(found[1]) * 1024 if found else 0, "cores": os.cpu_count() or 1}
