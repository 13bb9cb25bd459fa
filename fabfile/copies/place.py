"""A directory of snapshots, on the machine that this runs on: the operator's, or the server itself.

    20261127T145907Z/          a whole one: the tree of DEPLOY_DIR, as far as it counts, and snapshot.json
    20261128T145911Z.part/     one that is on its way, or was cut off; the next one goes on with it
    drill.json                 when one was last restored to see whether that works, and what came of it

Names are times in UTC, so their order is that of their age. What has not changed is one file in all of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, cast

from ..errors import StepError, UsageError
from ..layout import SNAPSHOT
from ..machine.onhost.atomic import RefusedError, locked, replace, sync_directory
from ..version import VERSION, newer

FORMAT = 1
NAME = re.compile(r"\d{8}T\d{6}Z\Z")
PART = ".part"
GONE = ".gone"
LOCK = ".lock"
DRILL = "drill.json"


class Snapshot(TypedDict):
    """What snapshot.json says.

    when, verified: in seconds since 1970; verified: when all blobs were last read. domain: of the registry. new: how
    many blobs the one before had not; bytes, new_bytes: of blobs. damaged, missing: digest -> images that need it and
    cannot be pulled from it. dropped: what else is not in it. references: see onhost/stage.py.
    """

    format: int
    name: str
    when: float
    version: str
    domain: str
    repositories: int
    tags: int
    blobs: int
    bytes: int
    new: int
    new_bytes: int
    damaged: dict[str, list[str]]
    missing: dict[str, list[str]]
    dropped: list[str]
    references: str
    verified: float


class Drill(TypedDict):
    """What the last drill brought. tags: how many were pulled. problems: texts."""

    snapshot: str
    when: float
    tags: int
    problems: list[str]


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """For whoever writes there, made where it is missing. Raises StepError while another one does."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StepError(f"{directory}: {error.strerror}", "name a directory that you may write to") from None
    try:
        with locked(directory / LOCK, 0):
            yield
    except RefusedError as error:
        raise StepError(error.what, *error.remedies) from None


def snapshots(directory: Path) -> list[Snapshot]:
    """The whole ones, the oldest first. Raises UsageError where there is no such directory."""
    if not directory.is_dir():
        raise UsageError(f"{directory}: there is no such directory", "./fab -H … backup --to DIRECTORY makes it")
    names = sorted(path.name for path in directory.iterdir() if NAME.match(path.name))
    return [found for name in names if (found := _read(directory / name))]


def _read(path: Path) -> Snapshot | None:
    try:
        found = cast("Snapshot", json.loads((path / SNAPSHOT).read_text("utf-8")))
        found["name"] = path.name
        found["when"] += 0
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found


def chosen(text: str, *, forced: bool = False) -> tuple[Path, Snapshot]:
    """A snapshot that somebody named, or the newest of a directory; with its path.

    forced: although a newer version of this tool made it. Raises UsageError for none, StepError for a newer one.
    """
    path = Path(text).expanduser().absolute()
    found = _read(path) if NAME.match(path.name) else None
    if found is None:
        every = snapshots(path)
        if not every:
            raise UsageError(f"{path}: there is no whole snapshot", "./fab -H … backup --to DIRECTORY makes one")
        found = every[-1]
        path /= found["name"]
    if (found["format"] > FORMAT or newer(found["version"])) and not forced:
        raise StepError(
            f"{path}: version {found['version']} of this tool made it, and this is {VERSION}",
            "git pull brings this one up to date; or go on all the same: ./fab --force …",
        )
    return path, found


def begin(directory: Path, name: str) -> Path:
    """Where a new snapshot comes. What is there of one that was cut off counts for it."""
    if (directory / name).exists():
        raise StepError(f"{directory / name} is there already", "two in one second: run it again")
    target = directory / f"{name}{PART}"
    *others, newest = [None, *sorted(directory.glob(f"*{PART}"))]
    if newest:
        newest.rename(target)
    else:
        target.mkdir(mode=0o700)
    for other in others:
        if other:
            shutil.rmtree(other)
    target.chmod(0o700)
    return target


def finish(part: Path, snapshot: Snapshot) -> Path:
    """Let it be a whole one; what is in it is on the disk by then."""
    os.sync()
    record(part, snapshot)
    whole = part.with_name(snapshot["name"])
    part.rename(whole)
    sync_directory(whole.parent)
    return whole


def record(path: Path, snapshot: Snapshot) -> None:
    """Write snapshot.json."""
    replace(path / SNAPSHOT, json.dumps(snapshot, indent=1).encode(), 0o600)


def prune(directory: Path, keep: int) -> list[str]:
    """Remove all but the newest `keep`; returns the names of those that went.

    Renamed first, so that half of one is never taken for a whole one.
    """
    going = [each["name"] for each in snapshots(directory)[:-keep]]
    for name in going:
        (directory / name).rename(directory / f"{name}{GONE}")
    for path in directory.glob(f"*{GONE}"):
        shutil.rmtree(path)
    return going


def drilled(directory: Path) -> Drill | None:
    """What the last drill brought; None where there was none."""
    try:
        return cast("Drill", json.loads((directory / DRILL).read_text("utf-8")))
    except (OSError, ValueError):
        return None


def remember_drill(directory: Path, snapshot: Snapshot, tags: int, problems: list[str]) -> None:
    """Write down what a drill brought."""
    found: Drill = {"snapshot": snapshot["name"], "when": time.time(), "tags": tags, "problems": problems}
    replace(directory / DRILL, json.dumps(found, indent=1).encode(), 0o600)
