"""Whether `registry/data` is the store that was there before: its disk may not be mounted, or not yet.

registry/data/.store     lies beside the images, and says on what kind of disk they are
registry/secrets/store   the same, beside all else; the registry does not start where the two differ (compose.yml)
"""

from __future__ import annotations

from pathlib import Path

from ...layout import DATA, S3_PLACE, STORE_MARK, STORE_RECORD
from . import beneath
from .atomic import RefusedError, replace

OWN, SAME = "a disk of its own", "the disk of DEPLOY_DIR"
LIMIT = 100


def problem(root: Path) -> list[str]:
    """What is wrong with the images' place, and the remedy; [] where nothing is. Changes nothing."""
    file = root / STORE_RECORD
    if not file.is_file() or (root / S3_PLACE).is_file():
        return []
    recorded = file.read_text("utf-8", "replace").strip()
    return [] if _marked(root) == recorded else [*away(str(root), recorded)]


def away(directory: str, recorded: str) -> tuple[str, str]:
    """What is wrong, and the remedy, where `registry/data` is not the recorded store."""
    where = f"{directory}/{DATA}"
    return (
        f"{where} is not the store that was there before, on {recorded}",
        f"is its disk mounted? on the server: findmnt -T {where}, mount -a, then ./fab -H … up; "
        f"if it shall be as it is now: rm {directory}/{STORE_RECORD}",
    )


def require(root: Path) -> None:
    """Raise RefusedError where it is not the recorded store."""
    if found := problem(root):
        raise RefusedError(f"nothing was changed: {found[0]}", found[1])


def mark(root: Path) -> None:
    """Let what is there now be the store. Without a record any is: so it goes first, and comes last."""
    if not marked(root):
        record, text = root / STORE_RECORD, f"{_kind(root)}\n"
        record.unlink(missing_ok=True)
        file = (root / DATA).resolve() / STORE_MARK
        try:
            replace(file, text.encode(), 0o644)
        except PermissionError:  # a file system that knows no modes
            file.write_text(text)
        replace(record, text.encode(), 0o644)


def marked(root: Path) -> bool:
    """Whether `mark` would change nothing."""
    record = root / STORE_RECORD
    return record.is_file() and record.read_text("utf-8", "replace").strip() == _marked(root) == _kind(root)


def forget(root: Path) -> None:
    """Take both away again."""
    (root / STORE_RECORD).unlink(missing_ok=True)
    (root / DATA / STORE_MARK).unlink(missing_ok=True)


def _marked(root: Path) -> str:
    try:
        return beneath.text((root / DATA).resolve(), STORE_MARK, LIMIT).strip()
    except (OSError, RefusedError):
        return ""


def _kind(root: Path) -> str:
    return SAME if (root / DATA).stat().st_dev == root.stat().st_dev else OWN
