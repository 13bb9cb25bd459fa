"""The uses log: a line of nginx for each use of a manifest or a layer, and what is folded of it.

nginx writes it when a request ends (deploy/nginx/https.conf.j2): time, account, method, repository, reference,
digest, bytes, client; tabs between them. Only root writes to its directory.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from ...layout import REFUSED_LOG, REQUESTS_LOG, USES, USES_BEGUN, USES_LOG
from ...machine.onhost.atomic import replace
from .manifests import DIGEST

FOLDED = "last.tsv"
DAY = 86400
# How long the use of a layer counts after it was folded; that of a manifest counts as long as it is there.
LAYERS_DAYS = 8
# Logs of earlier nights, which a process of nginx that ends slowly may still write to. `events` shows what is in those
# of uses and of refused logins; of the requests nothing is wanted once it is counted (watch/onhost/metrics.py).
KEPT_LOGS = {USES_LOG: 2, REFUSED_LOG: 2, REQUESTS_LOG: 1}

# Repository and digest -> seconds since 1970.
Last = dict[tuple[str, str], float]


def last(directory: str, now: float) -> Last:
    """When each manifest and layer was last used, as far as that was written down. Changes nothing.

    now: a time beyond it, of a clock that was wrong, counts as now.
    """
    found: Last = {}
    for path in _files(directory):
        _add(path, found, now)
    return found


def changes(directory: str, since: float) -> Iterator[tuple[float, str, str, str, str]]:
    """Time, method, repository, reference and digest of each push and delete of a manifest that ended since then."""
    for path in _files(directory):
        with contextlib.suppress(FileNotFoundError), path.open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                fields = line.rstrip("\n").split("\t")
                if len(fields) > 5 and fields[2] in ("PUT", "DELETE") and fields[4] not in ("", "-"):
                    with contextlib.suppress(ValueError):
                        if (when := float(fields[0])) >= since:
                            yield when, fields[2], fields[3], fields[4], fields[5]


def begun(directory: str, now: float) -> float:
    """Since when uses are written down; now where they are not."""
    first = Path(directory, USES_BEGUN)
    try:
        return min(first.stat().st_mtime, now)
    except OSError:
        return now


def by_digest(found: Last) -> dict[str, float]:
    """The same for each digest, in whatever repository."""
    newest: dict[str, float] = {}
    for (_, digest), when in found.items():
        newest[digest] = max(when, newest.get(digest, 0.0))
    return newest


def fold(directory: str, manifests: set[str], now: float) -> int:
    """Put aside the log that is written, and keep of all of them the last uses alone, in one file.

    nginx has to be told to open a new one. manifests: digests of which every use is remembered. Returns how many are.
    """
    root = Path(directory, USES)
    if not root.is_dir():
        return 0
    if not (root / FOLDED).exists():
        # What was folded before, if ever, is lost.
        replace(Path(directory, USES_BEGUN), b"", 0o600)
    for name in KEPT_LOGS:
        _put_aside(Path(directory, name), now)
    found = {
        key: when for key, when in last(directory, now).items() if key[1] in manifests or when > now - LAYERS_DAYS * DAY
    }
    lines = (f"{when:.0f}\t{name}\t{digest}\n" for (name, digest), when in sorted(found.items()))
    replace(root / FOLDED, "".join(lines).encode(), 0o600)
    for name, kept in KEPT_LOGS.items():
        for old in sorted(root.glob(f"{Path(name).stem}-*.log"))[:-kept]:
            old.unlink(missing_ok=True)
    return len(found)


def _put_aside(log: Path, now: float) -> None:
    if log.is_file() and log.stat().st_size:
        log.replace(log.with_name(time.strftime(f"{log.stem}-%Y%m%dT%H%M%S.log", time.gmtime(now))))


def _files(directory: str) -> Iterator[Path]:
    root = Path(directory, USES)
    yield root / FOLDED
    yield from sorted(root.glob("uses-*.log"))
    yield Path(directory, USES_LOG)


def _add(path: Path, found: Last, now: float) -> None:
    with contextlib.suppress(FileNotFoundError), path.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            name, digest = fields[1:3] if len(fields) == 3 else (fields[3], fields[5]) if len(fields) > 5 else ("", "")
            # A line that is cut off, for example by a full disk.
            with contextlib.suppress(ValueError):
                when = min(float(fields[0]), now)
                if name and DIGEST.match(digest) and when > found.get((name, digest), 0.0):
                    found[name, digest] = when
