"""EVENT_COMMAND: run once for each push and each delete, at least once, in their order.

Cron begins this each minute, and it stays for that minute: so a push is told within seconds, and there is no daemon
that somebody would have to look after. Up to where it was told is written down after each success.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from ...layout import AUDIT_LOG, EVENTS_LOCK, EVENTS_RECORD, SETTINGS_FILE, USES_LOG
from ...machine.onhost.atomic import RefusedError, locked, replace
from ...machine.onhost.audit import parsed
from ...machine.onhost.reserve import given
from ...store.onhost import handles
from ...store.onhost.manifests import LARGEST
from . import happened, notification, tails

# A command that does not end is no success.
COMMAND_SECONDS = 60
LOOK_SECONDS = 1.0
# On a server with much to do the one of the last minute may be late.
WAIT_SECONDS = 30.0
# Of each log at once: what of it was told is kept by the event, until all of it was.
BATCH = 1 << 16
# After a failure; doubled with each in a row.
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 600.0
# People are told of a failure that lasts so long.
LONG = 900.0
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Record(TypedDict):
    """uses, audit: what is known of these logs. told: events behind that which were told, too, by their ids. failures:
    in a row; since: of the first; next: no try before. Times in seconds since 1970. said: of the last failure.
    """

    uses: tails.Known
    audit: tails.Known
    told: list[str]
    failures: int
    since: float
    next: float
    said: str


class Done(TypedDict):
    """told: events. problem: of a failure that lasts, '' for none."""

    told: int
    problem: str


def stay(directory: str, command: str, domain: str, seconds: float) -> Done:
    """Tell what comes, for so many seconds, or until the settings change. Another one that is at it goes on alone."""
    root, done = Path(directory), Done(told=0, problem="")
    end, begun = time.monotonic() + seconds, _settings(root)
    try:
        with locked(root / EVENTS_LOCK, WAIT_SECONDS):
            while True:
                found = once(root, command, domain)
                done = Done(told=done["told"] + found["told"], problem=found["problem"])
                if time.monotonic() + LOOK_SECONDS > end or _settings(root) != begun:
                    return done
                time.sleep(LOOK_SECONDS)
    except RefusedError:
        return done


def once(root: Path, command: str, domain: str, now: Callable[[], float] = time.time) -> Done:
    """Tell what is there. What came before the first look is not told."""
    record = _record(root)
    if record is None:
        known = {"uses": tails.ends(root / USES_LOG), "audit": tails.ends(root / AUDIT_LOG)}
        _write(root, {**known, "told": [], "failures": 0, "since": 0.0, "next": 0.0, "said": ""})  # type: ignore[typeddict-item]
        return Done(told=0, problem="")
    told = 0
    while True:
        lines, uses = tails.new(root / USES_LOG, record["uses"], BATCH)
        audits, audit = tails.new(root / AUDIT_LOG, record["audit"], BATCH)
        if (uses, audit) == (record["uses"], record["audit"]):
            return Done(told=told, problem=_problem(record, now()))
        # It may have been put right: but not more often than that.
        if 0 < record["next"] - now() <= LONGEST_PAUSE:
            return Done(told=told, problem=_problem(record, now()))
        for event in _events(root, lines, audits, domain):
            if event["id"] in record["told"]:
                continue
            if said := _run(command, notification.envelope(event)):
                _failed(record, said, now())
                _write(root, record)
                return Done(told=told, problem=_problem(record, now()))
            told += 1
            record = {**record, "told": [*record["told"], event["id"]], "failures": 0, "next": 0.0}
            _write(root, record)
        record = {**record, "uses": uses, "audit": audit, "told": []}
        _write(root, record)


def _events(root: Path, lines: list[str], audits: list[str], domain: str) -> list[dict[str, Any]]:
    found = [
        notification.pushed(use, domain, _content(root, use.digest))
        for line in lines
        if (use := happened.use(line)) and use.action != "pull"
    ]
    found += [event for line in audits if (event := notification.deleted(parsed(line), domain))]
    return sorted(found, key=lambda event: str(event["timestamp"]))


def _content(root: Path, digest: str) -> notification.Content:
    """Of a manifest, as far as it is still there."""
    algorithm, _, name = digest.partition(":")
    try:
        with handles.data(root) as data, handles.store(data) as top:
            content = handles.read(top, ("blobs", algorithm, name[:2], name, "data"), LARGEST)[0]
        parsed_ = json.loads(content)
        kind = parsed_.get("mediaType") or (INDEX if "manifests" in parsed_ else MANIFEST)
    except (OSError, RefusedError, ValueError, AttributeError):
        return {"media_type": "", "size": 0}
    return {"media_type": str(kind), "size": len(content)}


def _run(command: str, line: str) -> str:
    """Run it with the line on standard input. Returns why it failed, '' where it did not."""
    try:
        # Through the environment: an argument, maybe with a token in it, is everybody's to see.
        done = subprocess.run(
            ["/bin/sh", "-c", 'eval "$EVENT_COMMAND"'], env={**os.environ, "EVENT_COMMAND": command},
            input=line + "\n", text=True, errors="replace", timeout=COMMAND_SECONDS, capture_output=True, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"it did not end within {COMMAND_SECONDS} s"
    if not done.returncode:
        return ""
    return f"exit status {done.returncode}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"


def _failed(record: Record, said: str, now: float) -> None:
    record["since"] = record["since"] if record["failures"] else now
    record["next"] = now + min(FIRST_PAUSE * 2 ** min(record["failures"], 20), LONGEST_PAUSE)
    record["failures"] += 1
    record["said"] = said


def _problem(record: Record, now: float) -> str:
    if not record["failures"] or now - record["since"] < LONG:
        return ""
    minutes = (now - record["since"]) / 60
    return f"EVENT_COMMAND fails for {minutes:.0f} minutes, so pushes are not told: {record['said']}"


def _record(root: Path) -> Record | None:
    try:
        found: Record = json.loads((root / EVENTS_RECORD).read_text())
    except (OSError, ValueError):
        return None
    return found


def _write(root: Path, record: Record) -> None:
    with given(root):
        replace(root / EVENTS_RECORD, json.dumps(record).encode(), 0o600)


def _settings(root: Path) -> tuple[int, int]:
    """Which file of settings is there: `sync` puts another one in its place."""
    try:
        found = (root / SETTINGS_FILE).stat()
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns
