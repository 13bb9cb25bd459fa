"""Images in Docker's first format (schema 1, before 2017) in the registry's store: version 3 serves none of them.

Measured with 3.1: GET is a 500 "unrecognized manifest schema version 1", and garbage-collect stops at the first.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from pathlib import Path
from typing import TypedDict

from ...layout import STORE
from ...machine.onhost import beneath
from ...machine.onhost.atomic import RefusedError

FIRST = re.compile(rb'"schemaVersion"\s*:\s*1\b')
DIGEST = re.compile(r"[0-9a-f]{64}")
# A manifest of it is larger than a later one, as it has the image's history; few have more than this.
LARGEST = 64 << 10
SECONDS = 10.0
MOST = 20


class Found(TypedDict):
    """Of them. names: of the first. count: how many. whole: whether there was time to look at all."""

    names: list[str]
    count: int
    whole: bool


def found(directory: str, seconds: float = SECONDS) -> Found:
    """Look for them. Changes nothing.

    directory: DEPLOY_DIR; seconds: how long to look at most. Reads each manifest once, and no layer.
    """
    store, end = Path(directory, STORE), time.monotonic() + seconds
    names: list[str] = []
    seen: set[str] = set()
    count = 0
    if not (store / "repositories").is_dir():
        return {"names": [], "count": 0, "whole": True}
    for place, below, _, _ in os.fwalk(store / "repositories"):
        if "_manifests" in below:
            repository = os.path.relpath(place, store / "repositories")
            for digest in _digests(store, repository):
                if time.monotonic() > end:
                    return {"names": names, "count": count, "whole": False}
                if digest in seen:
                    continue
                seen.add(digest)
                if (content := _manifest(store, digest)) and FIRST.search(content):
                    count += 1
                    names += [_named(repository, digest, content)] if count <= MOST else []
        below[:] = sorted(name for name in below if not name.startswith("_"))
    return {"names": names, "count": count, "whole": True}


def _digests(store: Path, repository: str) -> list[str]:
    """The manifests that a repository has; of one that was deleted there is no link."""
    place = f"repositories/{repository}/_manifests/revisions/sha256"
    try:
        with beneath.directory(store, place) as handle:
            digests = sorted(name for name in os.listdir(handle) if DIGEST.fullmatch(name))  # noqa: PTH208 - of an open directory
        return [digest for digest in digests if beneath.there(store, f"{place}/{digest}/link")]
    except (OSError, RefusedError):
        return []


def _manifest(store: Path, digest: str) -> bytes:
    with contextlib.suppress(OSError, RefusedError):
        name = f"blobs/sha256/{digest[:2]}/{digest}/data"
        size = beneath.there(store, name)
        if size and size.st_size <= LARGEST:
            return beneath.read(store, name, LARGEST)
    return b""


def _named(repository: str, digest: str, content: bytes) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return f"{repository}:{json.loads(content)['tag']}"
    return f"{repository}@sha256:{digest}"
