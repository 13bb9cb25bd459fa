"""`backup`: a consistent copy of the running registry, in a directory of this machine; what is there; is it whole?"""

from __future__ import annotations

import json
from pathlib import Path

from .. import report
from ..copies import place, rsync, taking, words
from ..errors import StepError, UsageError
from ..machine.host import Host
from ..report import Outcome
from ..settings import Settings
from ..store.words import size
from ..text import counted

KEEP = 7


def directory(text: str) -> Path:
    """A directory that somebody named."""
    return Path(text).expanduser().absolute()


def backup(host: Host, settings: Settings, *, to: str, keep: int = KEEP) -> Outcome:
    """Take a snapshot into a directory of this machine, while everybody pushes, and keep the newest `keep` there.

    Raises StepError once all that can be copied is, for blobs that have rotted or are missing; and for a cut or a full
    disk, from which the next run goes on.
    """
    if keep < 1:
        raise UsageError(f"--keep {keep}: expected 1 or more")
    rsync.require()
    done = taking.take(host, settings, directory(to), keep)
    words.require_whole(done.snapshot, done.path, done.mended)
    return Outcome(words.taken(done), details=words.details(done))


def show(to: str, *, as_json: bool) -> None:
    """Print the snapshots of a directory. Raises UsageError where there is none."""
    where = directory(to)
    every, drill = place.snapshots(where), place.drilled(where)
    if as_json:
        print(json.dumps({"directory": str(where), "snapshots": every, "drill": drill}, indent=2))
        return
    report.table(words.HEADER, words.rows(every, drill))


def verify(to: str) -> Outcome:
    """Read all of a snapshot again: the newest of a directory, or the one that is named.

    Raises StepError, with the images, for what has rotted.
    """
    path, snapshot = place.chosen(to)
    seen, problems = taking.verify(path, snapshot)
    if seen.damaged:
        rotten = {**snapshot, "damaged": seen.damaged, "missing": {}}
        again = "it was removed there: the next backup brings it anew, where the server has it"
        words.require_whole(rotten, path, remedy=again)  # type: ignore[arg-type]
    if problems:
        raise StepError(
            f"{path}: {problems[0]}, and {len(problems) - 1} more", "the next backup brings what is missing"
        )
    return Outcome(
        f"{path}: {counted(seen.blobs, 'blob')}, {size(seen.bytes)}, {counted(snapshot['tags'], 'tag')}: all whole",
        changed=False,
    )
