"""What the server does by itself each night: the rules, the garbage, and the log of uses."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ...machine.onhost.atomic import RefusedError, replace
from ...stack.onhost import nginx
from ...stack.onhost.containers import nginx_container
from . import collect, retention, rules, trash, uses, walk

# Who cleans up by hand is done by then.
WAIT = 600.0
STATE = "log/care.json"


def care(directory: str, project: str) -> dict[str, Any]:
    """Remove tags by the rules, collect, and fold the log of uses. What fails is no reason to leave out the rest.

    project: whose nginx writes that log. Returns {"removed": tags, "freed", "waiting": bytes, "left": repositories in
    which something cannot be read, "held": {repository: why the rules do not count there}, "problems": texts}, and
    keeps that for `last`.
    """
    found: dict[str, Any] = {"removed": 0, "freed": 0, "waiting": 0, "left": [], "held": {}, "problems": []}
    try:
        if Path(directory, rules.FILE).is_file():
            done = retention.retention(directory, dry=False, cron=True)
            found |= {"removed": done["removed"], "held": done["held"]}
    except RefusedError as error:
        found["problems"].append(error.what)
    try:
        done = collect.collect(directory, wait=WAIT)
        found |= {"freed": done["purged"], "waiting": done["waiting"], "left": sorted(done["left"])}
    except RefusedError as error:
        found["problems"].append(error.what)
    try:
        fold(directory, project)
    except RefusedError as error:
        found["problems"].append(error.what)
    replace(Path(directory, STATE), json.dumps({"when": time.time(), **found}).encode(), 0o600)
    return found


def fold(directory: str, project: str) -> None:
    """Fold the log of uses, and have nginx begin a new one. Not while `gc` reads its end."""
    with trash.opened(directory, WAIT) as bin_:
        known: set[str] = set()
        for repository in walk.repositories(bin_.top).repositories.values() if bin_ else ():
            known |= repository.revisions.keys()
        uses.fold(directory, known, time.time())
        if nginx_container(project):
            nginx.renewed(project)


def last(directory: str) -> dict[str, Any]:
    """What the last night brought: what `care` returned, and "when"; {} for none. Changes nothing."""
    try:
        found: dict[str, Any] = json.loads(Path(directory, STATE).read_text())
    except (OSError, ValueError):
        return {}
    return found
