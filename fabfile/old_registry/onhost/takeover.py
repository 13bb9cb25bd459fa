"""Carries out `adopt` on the host: what the old scripts left here, a record of it, and the way back.

.adopt/record.json   what was found and stopped: containers with their restart policies, whose the files were
.adopt/files/        copies of the old files whose names are ours now
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import cast

from ... import layout
from ...machine.onhost import beneath, outside, store
from ...machine.onhost.atomic import RefusedError, replace
from ...machine.onhost.owner import AUTH, foreign, give, give_back, named, only_roots, settle, strangers, take
from ...registry.onhost import schema1
from ...stack.onhost.containers import remove
from ...stack.onhost.switch import bring_up
from ...stack.onhost.sync import CLOSED, DIRECTORIES, LARGEST, directories, finish, state
from ...store.onhost import remembered
from . import crontab, found
from .found import Container, Old, Record

ACCOUNTS = (layout.OLD_ACCOUNTS, layout.ACCOUNTS)
# What gets another owner: the registry's containers are another user than the old ones, and certbot's is
# a root that may not write what is somebody else's.
THEIRS = (layout.DATA, layout.AUTH, layout.CERTIFICATES, layout.WEBROOT)


def inspect(directory: str) -> Old:
    """What is there of the old layout. Changes nothing."""
    root = Path(directory)
    containers = found.containers(root)
    accounts = next((name for name in ACCOUNTS if (root / name).is_file()), "")
    return {
        "repositories": found.repositories(root / layout.STORE / "repositories"),
        "accounts": accounts,
        "entries": found.lines(root, accounts) if accounts else [],
        "containers": containers,
        "strange": sorted({key for each in containers for key in each["strange"]}),
        "cron": [crontab.shown(line) for line in crontab.lines() if crontab.names(line, root)],
        "owner": named(root.stat().st_uid) if strangers(root, []) == [str(root)] else "",
        "ours": (root / layout.SYNC).is_dir() and not recorded(directory),
        "schema1": schema1.found(directory),
    }


def record(
    directory: str,
    containers: list[Container],
    files: list[str],
    domain: str,
    ours: list[str],
) -> None:
    """Write down what will be stopped, and copy what will be overwritten. A record that is there stays.

    Then the directory, and what is `ours` below it, belongs to root: paths of files, of which some may be
    there. Whatever else lies there is somebody's, and stays it.

    domain: where its certificate has no renewal settings (a placeholder of the old scripts, or one that
    was copied there by hand), it will be moved aside once nginx has it: certbot does not take its place.
    """
    root = Path(directory)
    work = root / layout.ADOPTED
    if recorded(directory):
        return
    had_accounts = (root / layout.ACCOUNTS).is_file()
    if had_accounts:
        # It goes on to be theirs and becomes ours: without what we add it comes back.
        files = [*files, layout.ACCOUNTS]
    copies = {name: (beneath.read(root, name, LARGEST), _permissions(root / name)) for name in files}
    taken = foreign(root, ["", *directories(ours), *ours])
    # First the directory itself: from then on nobody else renames what is in it.
    take(root, [""])
    work.mkdir(mode=0o700, exist_ok=True)
    for name, (content, mode) in copies.items():
        copy = work / "files" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        replace(copy, content, mode)
    conf, placeholder = root / layout.CERTIFICATES, ""
    if conf.is_dir() and beneath.there(conf, f"live/{domain}"):
        placeholder = "" if beneath.there(conf, f"renewal/{domain}.conf") else domain
    kept: Record = {
        "containers": containers,
        "files": files,
        "switched": False,
        "placeholder": placeholder,
        "accounts": had_accounts,
        "modes": {name: _permissions(root / name) for name in (*CLOSED, *DIRECTORIES) if _directory(root / name)},
        "taken": taken,
        "owners": {name: _owner(root / name) for name in THEIRS if (root / name).is_dir()},
    }
    _keep(root, kept)
    take(root, list(taken))


def recorded(directory: str) -> bool:
    """Whether there is a way back: an `adopt` has begun and has not put all back itself.

    Raises RefusedError for a record that somebody else than root may have written: it would be obeyed.
    """
    work = Path(directory, layout.ADOPTED)
    for path in (work, work / "record.json"):
        if os.path.lexists(path) and not only_roots(path):
            raise RefusedError(
                f"{path} is not root's alone, so no adopt of ours made it",
                f"on the server: mv {work} {work}.old, then run this again",
            )
    return (work / "record.json").is_file()


def switched(directory: str) -> bool:
    """Whether ours took the place of the old containers before, by an `adopt` that may go on."""
    return recorded(directory) and bool(_record(Path(directory)).get("switched"))


def accounts(directory: str) -> int:
    """Give the registry the old accounts, unless it has accounts already. Returns how many lines."""
    root = Path(directory)
    old, new = root / layout.OLD_ACCOUNTS, root / layout.ACCOUNTS
    if new.is_file() or not old.is_file():
        return 0
    replace(new, beneath.read(root, layout.OLD_ACCOUNTS, LARGEST), 0o600, (AUTH, 0))
    return len(found.lines(root, layout.ACCOUNTS))


def switch(directory: str) -> list[str]:
    """Stop the old containers and start ours, in one go: no lost connection comes in between.

    Only when all is healthy do the old ones lose their restart policy, and their lines in root's crontab.
    When ours do not start, everything is put back. Returns the names of those that ran. They are kept:
    `back` starts them again.
    """
    root = Path(directory)
    kept = _record(root)
    # Where cron refuses it as it is, nothing has been stopped yet.
    crontab.rehearse(root)
    running = found.docker("ps", "--quiet", "--no-trunc").split()
    there = [each for each in kept["containers"] if _exists(each["id"])]
    ids = [each["id"] for each in there]
    stopped = [each["name"] for each in there if each["id"] in running]
    if stopped:
        # All at once: every second counts, and the old loops do not listen to a polite request.
        found.docker("stop", "--time", "5", *ids)
    settle(root)
    store.mark(root)
    try:
        bring_up(root)
    except RefusedError as error:
        if not stopped:
            raise
        started = back(directory)
        raise RefusedError(
            f"ours did not start: {error.what}; all is as it was before, {', '.join(started)} started again",
            "correct that; nothing of ours is left on the server",
            reason=error.reason,
        ) from None
    if ids:
        found.docker("update", "--restart", "no", *ids)
    if plan := crontab.plan(root, kept.get("cron")):
        kept["cron"] = plan
        _keep(root, kept)
        crontab.carry_out(plan)
    if kept["placeholder"]:
        # nginx has a copy of its own by now.
        with (
            contextlib.suppress(FileNotFoundError),
            beneath.directory(root / layout.CERTIFICATES, "live") as live,
        ):
            os.rename(kept["placeholder"], root / layout.ADOPTED / "placeholder", src_dir_fd=live)
    _keep(root, {**kept, "switched": True})
    return stopped


def back(directory: str) -> list[str]:
    """Our containers and files go, the old ones come back and run as they did. Can be repeated.

    Images and certificates stay: both layouts keep them alike. Returns the names of what was started. Raises
    RefusedError, before anything is touched, when an old container that ran is not there any more.
    """
    root = Path(directory)
    kept = _record(root)
    ran = [each for each in kept["containers"] if each["running"]]
    if gone := [each["name"] for each in ran if not _exists(each["id"])]:
        raise RefusedError(
            f"{', '.join(gone)} was removed since: nothing to go back to",
            "ours goes on; with the old docker-compose.yml you can make them anew by hand",
        )
    finish(directory)
    synced = list(state(directory, [])["ours"])
    remove()
    for name in (*kept["owners"], *kept["files"], *kept.get("taken", ())):
        beneath.require_below(name)
    for name, owner in kept["owners"].items():
        give(root / name, owner)
    # Others enter these again, and what certbot's container made there is its root's.
    subprocess.run(["chmod", "-R", "u-s,g-s", "--", str(root / layout.CERTBOT)], check=False)
    # A record of an earlier version has but the one.
    modes = kept["modes"] if "modes" in kept else {layout.REGISTRY: kept["mode"]}
    for name, mode in modes.items():
        if _directory(root / name):
            (root / name).chmod(mode)
    # An old web server may read a directory that has files of ours by now: so these go first.
    _restore_files(root, kept, synced)
    for each in kept["containers"]:
        if _exists(each["id"]):
            found.docker("update", "--restart", each["restart"], each["id"])
    for each in ran:
        found.docker("start", each["id"])
    Path(layout.CRON_FILE).unlink(missing_ok=True)
    outside.remove()
    crontab.restore(kept.get("cron"))
    for name, was in reversed(kept.get("taken", {}).items()):
        give_back(root, name, was)
    # The record is the last to go: as long as it is there, all of this can be repeated.
    shutil.rmtree(root / layout.SYNC, ignore_errors=True)
    (root / layout.ADOPTED / "record.json").unlink()
    shutil.rmtree(root / layout.ADOPTED, ignore_errors=True)
    return [each["name"] for each in ran]


def _restore_files(root: Path, kept: Record, synced: list[str]) -> None:
    for name in synced:
        if name not in kept["files"]:
            (root / name).unlink(missing_ok=True)
    for name in (layout.LIVE, layout.PREVIOUS, layout.NEXT, layout.LOADED, layout.STARTED, layout.HELD):
        (root / name).unlink(missing_ok=True)
    for name in (layout.GENERATIONS, layout.FULL):
        shutil.rmtree(root / name, ignore_errors=True)
    remembered.drop(root)
    for name in (layout.PAGE_LOCK, layout.PAGE_SECRET):
        (root / name).unlink(missing_ok=True)
    (root / layout.RESERVE).unlink(missing_ok=True)
    store.forget(root)
    _remove_empty(root, {parent for name in synced for parent in Path(name).parents})
    for name in kept["files"]:
        replace(
            root / name,
            (root / layout.ADOPTED / "files" / name).read_bytes(),
            _permissions(root / layout.ADOPTED / "files" / name),
        )
    ours = root / layout.ACCOUNTS
    if not kept["accounts"] and ours.is_file():
        # The old file counts again, and is what another `adopt` begins with.
        ours.replace(ours.with_name(f"{ours.name}.adopted"))
    moved = root / layout.ADOPTED / "placeholder"
    if moved.is_dir():
        # Where there is one by now, that one stays.
        with (
            contextlib.suppress(OSError),
            beneath.directory(root / layout.CERTIFICATES, "live", make=0o700) as live,
        ):
            os.rename(moved, kept["placeholder"], dst_dir_fd=live)


def _remove_empty(root: Path, directories: set[Path]) -> None:
    for directory in sorted(directories - {Path()}, reverse=True):
        with contextlib.suppress(OSError):  # something else is in it
            (root / directory).rmdir()


def _owner(path: Path) -> list[int]:
    return [path.stat().st_uid, path.stat().st_gid]


def _directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _permissions(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _keep(root: Path, content: Record) -> None:
    replace(root / layout.ADOPTED / "record.json", json.dumps(content, indent=1).encode(), 0o600)


def _record(root: Path) -> Record:
    file = root / layout.ADOPTED / "record.json"
    if not recorded(str(root)):
        raise RefusedError(f"{root}: nothing was adopted here", "./fab -H … adopt shows what could be")
    return cast("Record", json.loads(file.read_text()))


def _exists(container: str) -> bool:
    listing = found.docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"id={container}")
    return bool(listing.strip())
