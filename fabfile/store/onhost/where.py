"""Where the images of this server are: on its disk, or in a bucket."""

from __future__ import annotations

import json
from pathlib import Path

from ...layout import S3_KEYS, S3_PLACE
from ...machine.onhost import beneath
from ...machine.onhost.atomic import RefusedError
from .bucket import Bucket
from .wire import Place, read_keys

LIMIT = 1 << 14


def place(root: Path) -> Place | None:
    """The bucket of STORAGE=s3, as `sync` wrote it; None for images on the disk. root: DEPLOY_DIR."""
    try:
        return Place(**json.loads((root / S3_PLACE).read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise RefusedError(f"{root / S3_PLACE} cannot be read", "./fab -H … sync writes it anew") from None


def bucket(root: Path) -> Bucket | None:
    """The same, with its keys, to be asked; None for images on the disk."""
    found = place(root)
    return Bucket(found, read_keys(beneath.text(root, S3_KEYS, LIMIT))) if found else None
