"""Every blob of the store read, and compared with its digest: for `doctor --deep`. Changes nothing."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict

from ...machine.onhost import store as place
from ...machine.onhost.atomic import RefusedError
from ...store.onhost import handles, trash, walk, where
from ...store.onhost.health import Lost
from . import needed


class Rot(TypedDict):
    """read: blobs. rotten: those with another content. problem: why not all was read, or ''."""

    read: int
    rotten: list[Lost]
    problem: str


def rot(directory: str) -> Rot:
    """Read every blob. It takes as long as the disk does. directory: DEPLOY_DIR."""
    found: Rot = {"read": 0, "rotten": [], "problem": ""}
    root = Path(directory)
    if away := place.problem(root):
        return {**found, "problem": away[0]}
    if where.place(root):
        return {**found, "problem": "the images are in a bucket: its store keeps them whole; backup reads what is new"}
    try:
        with handles.data(root) as data, handles.store(data) as top, walk.Manifests(top) as manifests:
            store = walk.repositories(top)
            walk.blobs(top, store)
            digests = sorted(store.blobs)
            # Hashing lets others run meanwhile.
            with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
                why_not = list(pool.map(lambda digest: _wrong(top, digest), digests))
            bad = {digest: why for digest, why in zip(digests, why_not, strict=True) if why}
            images: dict[str, list[str]] = {digest: [] for digest in bad}
            for digest, image in needed.images(store, manifests, {*bad}):
                images[digest].append(image)
            found["read"] = len(digests)
            found["rotten"] = [{"digest": digest, "what": why, "images": images[digest]} for digest, why in bad.items()]
    except FileNotFoundError:
        # Nothing was ever pushed.
        pass
    except (OSError, RefusedError) as error:
        found["problem"] = error.what if isinstance(error, RefusedError) else str(error)
    return found


def _wrong(top: int, digest: str) -> str:
    """What is wrong with a blob; '' for nothing, and for one that is gone meanwhile or no file: another symptom."""
    try:
        with handles.directory(top, trash.blob(digest)) as below:
            file = os.open("data", handles.FILE, dir_fd=below)
        with os.fdopen(file, "rb") as content:
            if stat.S_ISREG(os.fstat(file).st_mode) and not needed.right(content, digest):
                return "another content"
    except FileNotFoundError:
        pass
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""
