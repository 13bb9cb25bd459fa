"""What is remembered of the lists of the page: of all repositories in short, and of each one's manifests."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any, TypedDict

from ... import layout
from ...machine.onhost.atomic import replace
from . import changes, kinds, lists
from .written import quietly

CACHE = f"{layout.PAGE}/cache"
RECORD = "facts.json"
BOOT = Path("/proc/sys/kernel/random/boot_id")


class Short(TypedDict):
    """A repository as the views need it. names: tag and digest, shortened; going: tags that a rule would remove."""

    home: lists.Home
    names: list[tuple[str, str]]
    untagged: int
    going: int


class State(TypedDict):
    """made: when the server was started, and by which version of the tool. log, offset: which log of uses was read, and
    how far. when: seconds since 1970.

    written: file -> what stands for its content; events: the last changes; site: what this registry can; trash: bytes.
    """

    made: str
    log: int
    offset: int
    when: float
    repositories: dict[str, Short]
    written: dict[str, str]
    events: list[changes.Event]
    site: dict[str, Any]
    trash: int


class Last(TypedDict):
    """Of the lists. when: they were made, 0 for never; pushed: the first change that is not in them, 0 for none."""

    when: float
    pushed: float


def state(root: Path) -> State | None:
    """What is remembered; None for nothing, or of another version, or of before the server was started."""
    try:
        found: State = json.loads((root / layout.PAGE_STATE).read_bytes())
        return found if found["made"] == _made(root) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def fresh(root: Path, before: State | None) -> State:
    """For a walk through all. before: its files need not be written again where they are the same."""
    if before is None:
        shutil.rmtree(root / CACHE, ignore_errors=True)
    return {
        "made": _made(root), "log": 0, "offset": 0, "when": 0.0, "repositories": {},
        "written": before["written"] if before else {}, "events": [], "site": {}, "trash": 0,
    }  # fmt: skip


def keep(root: Path, found: State) -> None:
    """Remember it."""
    replace(root / layout.PAGE_STATE, _json(found), 0o600)


def _made(root: Path) -> str:
    """The lists are not synced one by one, so after a crash they may be empty; another version knows other things."""
    record = root / layout.RECORD
    texts = [path.read_text("utf-8", "replace").strip() if path.is_file() else "" for path in (BOOT, record)]
    keys = [*State.__annotations__, *Short.__annotations__, *lists.Tag.__annotations__, *kinds.Facts.__annotations__]
    return " ".join((*texts, *keys))


def known(root: Path, name: str) -> lists.Known:
    """Of a repository."""
    try:
        found = json.loads((root / CACHE / name / RECORD).read_bytes())
        return {"facts": found["facts"], "used": found["used"]}
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return {"facts": {}, "used": {}}


def keep_known(root: Path, name: str, found: lists.Known) -> None:
    """Remember it of that repository, where it is another than before."""
    path, content = root / CACHE / name / RECORD, _json(found)
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        quietly(path, content)


def forget(root: Path, there: set[str]) -> None:
    """Of all repositories but these."""
    for record in (root / CACHE).glob(f"**/{RECORD}"):
        if str(record.parent.relative_to(root / CACHE)) not in there:
            record.unlink()


def drop(root: Path) -> None:
    """All of it, and the lists."""
    for name in (layout.PAGE_DATA, CACHE):
        shutil.rmtree(root / name, ignore_errors=True)
    for name in (layout.PAGE_STATE, layout.PAGE_DAY):
        (root / name).unlink(missing_ok=True)


def sweep(root: Path) -> None:
    """Remove what is empty where an earlier version of the page was: `sync` removes files alone."""
    for path in sorted((root / layout.PAGE_ASSETS).glob("**/*/"), reverse=True):
        with contextlib.suppress(OSError):
            path.rmdir()


def last(directory: str) -> Last | None:
    """How old the lists are, and whether something is missing in them; None where there is no page. Changes nothing."""
    root = Path(directory)
    if not (root / layout.LIVE / layout.PAGE_CONF).is_file():
        return None
    found = state(root)
    if found is None:
        return {"when": 0.0, "pushed": 0.0}
    log, end = changes.identity(root)
    offset = found["offset"] if found["log"] == log and found["offset"] <= end else 0
    return {"when": found["when"], "pushed": changes.first(root, offset, end)}


def _json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
