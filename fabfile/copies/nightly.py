"""What the server copies by itself: `inv backup` by cron, and what `status` says of it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import TypedDict

from .. import layout
from ..errors import StepError
from ..machine.host import Host
from ..machine.onhost.atomic import replace
from ..report import Outcome
from ..settings import Settings
from ..store.words import since, size
from ..text import counted
from . import checked, drill, place, rsync, taking, words
from .onhost import inside
from .onhost import last as onhost

DRILL_SECONDS = 7 * 86400
# When nobody has drilled for that long, `status` says so.
DRILL_LATE = 30 * 86400
DAY = 86400
COMMAND_SECONDS = 86400
AGAIN = "./fab -H … status shows it; ./inv backup in DEPLOY_DIR on the server does it again"


def backup(host: Host, settings: Settings) -> Outcome:
    """Copy all of it to BACKUP_TO, and have BACKUP_COMMAND take a copy away; each week a drill of what is in BACKUP_TO.

    host: this machine. What was done is remembered for `status`. Raises StepError, once all that can be done is done.
    """
    done: list[str] = []
    problems: list[str] = []
    before = remembered(settings.deploy_dir)
    found: onhost.Last = {**before, "when": time.time(), "problem": ""}
    for part in ((_to, settings.backup_to), (_command, settings.backup_command)):
        if part[1]:
            try:
                done.append(part[0](host, settings, found))
            except StepError as error:
                problems.append(error.what)
    found["problem"] = "; ".join(problems)
    if not problems:
        found["good"] = found["when"]
    replace(Path(settings.deploy_dir, layout.BACKUP_RECORD), json.dumps(found).encode(), 0o600)
    if problems:
        raise StepError(found["problem"], AGAIN)
    return Outcome("; ".join(done) or "neither BACKUP_TO nor BACKUP_COMMAND is set", bool(done))


def remembered(directory: str) -> onhost.Last:
    """What the last run brought."""
    return onhost.last(directory) or onhost.NOTHING


def _to(host: Host, settings: Settings, found: onhost.Last) -> str:
    target = Path(settings.backup_to)
    _require_mounted(target, found)
    rsync.require()
    taken = taking.take(host, settings, target, settings.backup_keep)
    found["mounted"] = _apart(target)
    found["snapshot"], found["tags"], found["bytes"] = taken.path.name, taken.snapshot["tags"], taken.snapshot["bytes"]
    found["new_bytes"] = taken.snapshot["new_bytes"]
    words.require_whole(taken.snapshot, taken.path, taken.mended)
    text = words.taken(taken)
    was = place.drilled(target)
    if was is None or time.time() - was["when"] > DRILL_SECONDS or was["problems"]:
        pulled, problems = drill.drill(taken.path, taken.snapshot, settings.stack_images[layout.Service.REGISTRY])
        found["drilled"], found["drill"] = time.time(), problems[0] if problems else ""
        if problems:
            raise StepError(f"the drill of {taken.path}: {problems[0]}", AGAIN)
        text += f"; drilled: {counted(len(pulled), 'tag')} pulled from it"
    return text


def _require_mounted(target: Path, found: onhost.Last) -> None:
    """Raises StepError where the disk is away on which the copies were: the disk of the system would fill with them."""
    # A new disk in its place has no such directory yet.
    if found["mounted"] and not _apart(next(path for path in (target, *target.parents) if path.is_dir())):
        raise StepError(
            f"nothing was copied: the disk of BACKUP_TO={target} is not mounted, and it was",
            f"mount -a on the server; if it shall be as it is now: rm {layout.BACKUP_RECORD} in DEPLOY_DIR",
        )


def _apart(path: Path) -> bool:
    """Whether it is on another disk than the system."""
    return path.stat().st_dev != Path("/").stat().st_dev


def _command(host: Host, settings: Settings, found: onhost.Last) -> str:
    """Make a copy on the server's own disk, verify what is new in it, and run BACKUP_COMMAND in it."""
    with taking.staged(host, settings, {}) as staged:
        if staged["left"]:
            raise StepError(
                f"the server's disk has no room for a copy of the bucket: {counted(staged['left'], 'layer')} more",
                "BACKUP_TO on a disk that has, or backup from your own machine: these take it in parts",
            )
        root = Path(settings.deploy_dir)
        with inside.opened(root, layout.COPY_OUT) as handle:
            path = inside.path(handle)
            damaged = _new_ones(root, path)
            seen = checked.Checked(staged["blobs"] - len(damaged), staged["bytes"], damaged=damaged)
            snapshot = taking.described(settings, staged, seen)
            place.record(path, snapshot)
        found["tags"], found["bytes"] = staged["tags"], staged["bytes"]
        where = (root / layout.DATA).resolve() / layout.COPY / layout.COPY_OUT
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", 'eval "$BACKUP_COMMAND"'],
                env={**os.environ, "BACKUP_COMMAND": settings.backup_command, "BACKUP_DIRECTORY": str(where)},
                cwd=where, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                timeout=COMMAND_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise StepError(f"BACKUP_COMMAND did not end within {COMMAND_SECONDS // 3600} hours", AGAIN) from None
        print(done.stdout[-10_000:], end="")
        if done.returncode:
            last_line = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise StepError(f"BACKUP_COMMAND: exit status {done.returncode}: {last_line[:500]}", AGAIN)
    words.require_whole(snapshot, where)
    return f"BACKUP_COMMAND took {counted(staged['tags'], 'tag')}, {size(staged['bytes'])}"


def _new_ones(root: Path, path: Path) -> dict[str, list[str]]:
    """Read the blobs that no earlier run has read, and take out what has rotted. Returns digest -> images of that."""
    file = root / layout.BACKUP_VERIFIED
    try:
        known = set(file.read_text("ascii", "replace").split())
    except FileNotFoundError:
        known = set()
    damaged: dict[str, list[str]] = {}
    whole = []
    for digest, blob, _ in list(checked.blobs(path)):
        if digest in known or checked.right(blob, digest):
            whole.append(digest)
        else:
            # A hard link: that of the registry stays.
            blob.unlink()
            damaged[digest] = []
    checked.name_images(path, damaged)
    replace(file, "".join(f"{each}\n" for each in whole).encode(), 0o600)
    return damaged


class Backup(TypedDict):
    """The copies that the server makes by itself. wanted: whether it does; to: whether they stay in BACKUP_TO; period:
    seconds between two; last: what the last one brought.
    """

    wanted: bool
    to: bool
    period: float
    last: onhost.Last | None


def found(settings: Settings, before: onhost.Last | None) -> Backup:
    """See Backup. before: what onhost/last.py remembers."""
    return {
        "wanted": settings.backs_up,
        "to": bool(settings.backup_to),
        "period": period(settings.backup_schedule),
        "last": before,
    }


def row(backup: Backup) -> tuple[str, str, str]:
    """The line of `status`."""
    last = backup["last"]
    if not backup["wanted"]:
        return "ok", "backup", "not by itself: BACKUP_TO in .env, or ./fab -H … backup --to DIRECTORY"
    if last is None:
        return "warn", "backup", "not yet: cron makes one; or ./inv backup in DEPLOY_DIR on the server"
    text = f"{since(last['when'])}: {counted(last['tags'], 'tag')}, {size(last['bytes'])}"
    if backup["to"]:
        text += f"; the last drill: {since(last['drilled'])}"
    where = f"{layout.BACKUP_LOG} on the server"
    if last["problem"]:
        text = f"{since(last['when'])}: {last['problem']}; the last good one: {since(last['good'])}"
    elif time.time() - last["when"] > 2 * backup["period"]:
        text += f"; cron did not run it since: {where}"
    elif backup["to"] and time.time() - last["drilled"] > DRILL_LATE:
        text += f": {where}"
    else:
        return "ok", "backup", text
    return "warn", "backup", text


def period(schedule: str) -> float:
    """How long it is between two runs of a line of cron at most, in seconds; as a rule."""
    if not schedule:
        return DAY
    _, _, day, month, weekday = schedule.split()
    if month != "*":
        return 366 * DAY
    if day != "*":
        return 31 * DAY
    return 7 * DAY if weekday != "*" else DAY
