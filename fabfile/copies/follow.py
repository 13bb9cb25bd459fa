"""What cron runs each minute on two servers of which one stands by: `inv follow`.

The standby copies what is new: a copy is made on the first one in seconds (onhost/stage.py), its references come, then
the blobs that are missing, each verified, then all references change at once. The first one asks whether the other took
over: then it is the first no more.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import layout
from ..errors import StepError
from ..machine import lock
from ..machine.host import Host
from ..machine.onhost.atomic import RefusedError, locked, replace
from ..report import Outcome
from ..settings import Settings
from ..stack import nginx
from ..store.onhost import trash
from ..store.onhost.manifests import DIGEST
from ..text import counted, one_line
from . import checked, rsync
from .onhost import behind, beside, inside, mirror, offer, peer, putback, standing

# A line that is down for so long is told.
LATE = 300.0
# Whoever follows has fetched nothing for so long: the first one tells it.
SILENT = 900.0
# Once an hour all is compared, whatever the logs say.
WHOLE = 3600.0
BLOBS = f"/{layout.STORE}/blobs"


def follow(host: Host, settings: Settings, wait: float = 0.0) -> Outcome:
    """One minute's work, as standby or as first one. host: this machine. wait: seconds for whoever cleans up there.

    Raises StepError for what people must know; a first one that is away for less than LATE is not among that, unless
    somebody waits.
    """
    directory = settings.deploy_dir
    state = standing.read(directory)
    if state is None:
        return Outcome("this server knows of no other one", changed=False)
    if state["role"] != standing.SECOND:
        return _asked(directory, state)
    last = standing.copied(directory)
    try:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(Path(layout.COPY_LOCK), wait))
            except RefusedError:
                if wait:
                    raise
                # The run of an earlier minute.
                return Outcome("another run is at it", changed=False)
            return _copied(host, settings, state, wait)
    except (StepError, RefusedError, OSError) as error:
        problem = one_line(str(error) if isinstance(error, OSError) else error.what)
        standing.remember(directory, {**standing.copied(directory), "problem": problem})
        if wait or time.time() - max(last["good"], state["since"]) > LATE:
            raise StepError(
                f"the standby does not follow {state['other']}: {problem}", "./fab standby looks at both servers"
            ) from None
        return Outcome(f"not this minute: {problem}", changed=problem != last["problem"])


def _copied(host: Host, settings: Settings, state: standing.State, wait: float) -> Outcome:
    directory = settings.deploy_dir
    last = standing.copied(directory)
    now = time.time()
    known = last["token"] if now - last["whole"] < WHOLE and not last["problem"] else ""
    found = _answer(directory, "stage", f"{wait:.0f}", *([known] if known else []))
    if offer.BUSY in found:
        raise StepError("somebody cleans up on the first one, or another copy is on its way")
    if found["epoch"] != state["epoch"]:
        # It was made the first one beside us anew.
        standing.write(Path(directory), {**state, "epoch": found["epoch"]})
    if found["same"]:
        standing.remember(directory, {**last, "token": found["token"], "when": found["when"], "good": now})
        return Outcome("nothing is new", changed=False)
    if not found["tags"] and last["tags"] and not wait:
        raise StepError(
            f"the first one has no image any more, and this one has {counted(last['tags'], 'tag')}: nothing was "
            "changed; if that is right, ./fab standby goes on"
        )
    bad, told = _fetched(host, settings, found, last)
    _answer(directory, "done", found["token"])
    differ = _settings_differ(Path(directory))
    done: standing.Copied = {
        **standing.NEVER, "token": found["token"], "when": found["when"], "good": now, "whole": now,
        "tags": found["tags"], "references": found["references"], "settings": differ,
    }  # fmt: skip
    standing.remember(directory, done)
    if bad:
        what = f"copied, but on the first one {bad[0]} has rotted, and {len(bad) - 1} more"
        raise StepError(what, "./fab -H … backup names the images")
    return Outcome(told, changed=told != "nothing is new")


def _answer(directory: str, *words: str) -> dict[str, Any]:
    done = peer.ask(directory, *words)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        found = {}
    if done.returncode or not isinstance(found, dict):
        raise StepError(f"the other server: {peer.last_line(done.stderr)} (exit status {done.returncode})")
    return found


def _fetched(host: Host, settings: Settings, found: dict[str, Any], last: standing.Copied) -> tuple[list[str], str]:
    """Fetch a copy, and let it be what is here. Returns digests that have rotted there, and what was done."""
    directory = settings.deploy_dir
    root = Path(directory)
    with inside.opened(root, layout.COPY_FOLLOWING) as come:
        path = inside.path(come)
        _rsync(directory, layout.COPY_FOLLOWING, ["--delete", f"--exclude={BLOBS}"])
        checked.without_partial(path)
        if not checked.same_references(path, found["references"]):
            raise StepError("not all links of the first one arrived")
        every = checked.references(path)
        links = [(name, digest, (path / layout.STORE / name).lstat().st_mtime) for name, digest in every]
        blobs, bad = _blobs(host, directory, links, set(found["missing"]))
        gone = 0
        if found["references"] != last["references"] or blobs:
            gone = host.call(mirror.swap, directory, links)
        untold = standing.copied(directory)["untold"]
        standing.remember(directory, {**standing.copied(directory), "untold": True})
        changed = beside.mirror(root, come) or untold
    if changed:
        # Nobody else may be at it.
        with lock.exclusive(host, settings, "follow", seconds=60):
            nginx.up(host, settings)
    words = [f"{counted(found['tags'], 'tag')}", f"{counted(blobs, 'new blob')}"] if blobs or gone else []
    words += ["accounts or certificate are others"] if changed else []
    if not words and found["references"] != last["references"]:
        words = [counted(found["tags"], "tag")]
    return bad, "; ".join(words) or "nothing is new"


def _blobs(host: Host, directory: str, links: Sequence[putback.Link], absent: set[str]) -> tuple[int, list[str]]:
    """Fetch the blobs that are missing here, and verify each before it is seen. Returns how many, and the bad ones.

    absent: those that the first one has not. Raises StepError where one of the others did not come.
    """
    wanted = sorted({digest for _, digest, _ in links if DIGEST.match(digest)} - absent)
    lacking = host.call(putback.lacking, directory, wanted, read=False)
    if not lacking:
        return 0, []
    files = "\0".join(f"{layout.STORE}/{trash.blob(digest)}/data" for digest in lacking)
    _rsync(directory, layout.COPY_IN, ["--files-from=-", "--from0"], files)
    done = host.call(putback.put, directory, [], lacking, whole=False)
    still = set(host.call(putback.lacking, directory, lacking, read=False)) - set(done["bad"])
    if still:
        raise StepError(f"{min(still)} did not come")
    return done["blobs"], done["bad"]


def _rsync(directory: str, name: str, options: Sequence[str], files: str = "") -> None:
    """Bring what was offered into `.copy/NAME`."""
    enter = [sys.executable, "-I", "-B", "-c", inside.ENTER, f"{directory}/{layout.DATA}", f"{layout.COPY}/{name}"]
    ssh = f"ssh -F {directory}/{layout.STANDBY_SSH}"
    argv = [*enter, "rsync", *rsync.OPTIONS, *options, "--rsh", ssh, f"{peer.OTHER}::{offer.MODULE}/", "./"]
    done = subprocess.run(
        argv, input=files, capture_output=True, text=True, errors="replace", check=False,
        env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise StepError(f"rsync: {lines[0] if lines else 'no message'} (exit status {done.returncode})")


def _settings_differ(root: Path) -> bool:
    """Whether the first one has other settings or rules than this one."""
    with inside.opened(root, layout.COPY_FOLLOWING) as come:
        path = inside.path(come)
        return any(
            (path / name).is_file() != (root / name).is_file()
            or ((root / name).is_file() and (path / name).read_bytes() != (root / name).read_bytes())
            for name in (layout.SETTINGS_FILE, layout.RETENTION)
        )


def _asked(directory: str, state: standing.State) -> Outcome:
    """As the first one, or one that was: whether the other took over. Raises StepError where people must know."""
    if state["role"] == standing.FIRST:
        try:
            found = _answer(directory, "epoch")
        except StepError as error:
            return _silent(directory, state, one_line(error.what))
        if found.get("role") != standing.FIRST or int(found.get("epoch", 0)) <= state["epoch"]:
            return _silent(directory, state, "")
        standing.step_back(directory, int(found["epoch"]))
        write_lost(directory, float(found["copied"]))
    raise StepError(former(state, behind.lost(directory)), "docs/standby.md, The first one comes back")


def write_lost(directory: str, copied: float) -> None:
    """Write down which images came after the last copy; those alone may be missing on the other server."""
    replace(Path(directory, layout.STANDBY_LOST), json.dumps(behind.tags(directory, copied)).encode(), 0o600)


def former(state: standing.State, lost: Sequence[str]) -> str:
    """What is said of a server that another one took over from."""
    words = f"{state['other']} took over, so this server takes no push any more"
    if not lost:
        return words
    shown = ", ".join(map(one_line, lost[:20])) + (f" and {len(lost) - 20} more" if len(lost) > 20 else "")
    return f"{words}; pushed here after its last copy, and maybe not there: {shown}"


def _silent(directory: str, state: standing.State, problem: str) -> Outcome:
    """Say so where the standby fetched nothing for long."""
    last = standing.copied(directory)
    if time.time() - max(last["good"], state["since"]) > SILENT and not _fetching():
        raise StepError(
            f"the standby {state['other']} has fetched nothing for {SILENT / 60:.0f} minutes and more"
            + (f": {problem}" if problem else ""),
            "./fab standby looks at both servers",
        )
    return Outcome(problem or f"{state['other']} stands by", changed=False)


def _fetching() -> bool:
    """Whether a copy is on its way: the first one takes hours."""
    try:
        with locked(Path(layout.STANDBY_LOCK), 0):
            return False
    except RefusedError:
        return True
