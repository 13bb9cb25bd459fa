"""nginx on the host: `up`, a new certificate, and the way back. The files: see generations.py."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from ... import layout
from ...accounts.onhost import sessions
from ...accounts.onhost.accounts_conf import maps, variables
from ...machine.onhost import beneath, outside, store
from ...machine.onhost.atomic import RefusedError, locked, replace
from ...machine.onhost.owner import WRITTEN, give_or_use, owned, settle
from ...machine.onhost.reserve import given, keep
from . import beside, held, relay, retire, switch, uses_log, workers
from .beside import Found
from .containers import healthy, nginx_container, ours_alone, restart_stale, try_alone, try_inside
from .generations import Promoted, candidate, content, go_back, promote, put_users, synced, users
from .wanted import MAPS, SESSIONS, as_live, wanted, with_accounts

OVERRIDE = "override.conf"
# Below the container's root: memory, where nginx remembers whose password was right.
REMEMBERED = "run/accounts"


class Running(Promoted):
    """What runs now. started: services. reloaded: whether nginx was told. replaced, cut: see switch.Switched."""

    started: list[str]
    reloaded: bool
    replaced: list[str]
    cut: int


def up(directory: str, lineage: str, *, keep_old: bool = False, patience: float = switch.PATIENCE) -> Running:
    """Test the configuration that was synced, start the stack, reload where something changed.

    lineage: certbot's live directory of the certificate; it may be missing or empty.
    keep_old, patience: see switch.bring_up.
    Raises RefusedError when `nginx -t` says no: then the old configuration goes on, on disk too.
    """
    root = Path(directory)
    if not (root / layout.COMPOSE_FILE).is_file():
        raise RefusedError(f"nothing is deployed in {root}", "./fab -H … bootstrap")
    if not (root / layout.ACCOUNTS).is_file():
        # Without the file the registry would invent an account and log its password.
        raise RefusedError("there is no account yet", "./fab -H … htpasswd --user NAME")
    ours_alone(root)
    store.require(root)
    held.outdated(root)
    keep(root)
    put_users(root)
    with _lock(root), given(root):
        answer = promote(root, Path(lineage), wanted(root), partial(_test, partial(try_alone, root)))
        moved = settle(root)
        store.mark(root)
        before = {each["id"] for each in beside.there() if each["running"]}
        restart_stale(list(before))
        switched = switch.bring_up(root, keep=keep_old, patience=patience)
        after = beside.serving(root, beside.there())
        if moved:
            # What the old containers wrote while that was going on.
            give_or_use(root / layout.DATA, WRITTEN[layout.DATA])
        started = sorted(name for name, each in after.items() if each["id"] not in {*before})
        reloaded = bool(_load_or_go_back(root, answer["changed"]))
        _remember_started(root, after)
        if uses_log.keep(root):
            workers.renewed()
    started = [name for name in started if name not in switched["replaced"]]
    return {**answer, **switched, "started": started, "reloaded": reloaded}


def settled(directory: str, lineage: str) -> bool:
    """Whether `up` and `activate` would change nothing: all runs, and is what it should be."""
    root = Path(directory)
    try:
        started = json.loads((root / layout.STARTED).read_text())
        expected, problem = candidate(root, Path(lineage), wanted(root, make=False))
        return (
            not problem
            and owned(root)
            and store.marked(root)
            and not any(outside.differs(*file) for file in users(root))
            and expected == content(root / layout.LIVE)
            and (root / layout.LOADED).read_text() == str((root / layout.LIVE).readlink())
            and started["compose"] == held.digest(root)
            and started["images"] == held.identities(held.wanted(root))
            and started["containers"] == healthy(list(started["containers"]))
            and not beside.astray(root, [*started["containers"]])
            and all(retire.ENDS in each["name"] and each["running"] for each in beside.old(beside.there()))
        )
    except (OSError, ValueError, LookupError, TypeError, RefusedError):
        # A record that is damaged, or of another version, is none.
        return False


def prepare(directory: str, lineage: str) -> None:
    """The first part of `up`, before anything runs: test what was synced and let it go live."""
    root = Path(directory)
    put_users(root)
    with _lock(root):
        promote(root, Path(lineage), wanted(root), partial(_test, partial(try_alone, root)))


def require_current(directory: str) -> None:
    """Raise RefusedError where nginx runs what knows accounts in another form than `maps` gives them now."""
    root = Path(directory)
    live = root / layout.LIVE / MAPS
    if not live.is_file() or not (root / layout.ACCOUNTS).is_file():
        return
    if variables(live.read_bytes()) != variables(maps(root / layout.ACCOUNTS)):
        raise RefusedError(
            "nothing was changed: nginx runs the configuration of another version of this tool",
            "./fab -H … sync up, then this again",
        )


def refresh(directory: str) -> bool:
    """Have nginx know the accounts as they are now; from then on nothing else counts.

    Returns whether a running nginx was told. Raises RefusedError
    where it could not be told: then what it remembers of passwords counts for five minutes more.
    """
    root = Path(directory)
    live = root / layout.LIVE
    if not (live / MAPS).is_file():
        return False
    with _lock(root):
        running = bool(nginx_container())
        config = with_accounts(root, as_live(root))
        check = partial(_test, try_inside) if running else lambda: None
        answer = promote(root, live / layout.TLS, config, check)
        if not running:
            return False
        if master := _load_or_go_back(root, answer["changed"]):
            _forget(master)
    return True


def new_day(directory: str) -> bool:
    """Let sessions of the page end that are older than yesterday. Returns whether nginx was told of a new day.

    Raises RefusedError as `refresh`; it goes on with the day of before then.
    """
    root = Path(directory)
    live = root / layout.LIVE / SESSIONS
    today = int(time.time()) // sessions.DAY
    if not live.is_file() or sessions.day_of(live.read_bytes()) == today:
        return False
    with _lock(root):
        running = bool(nginx_container())
        config = with_accounts(root, as_live(root), today)
        check = partial(_test, try_inside) if running else lambda: None
        answer = promote(root, root / layout.LIVE / layout.TLS, config, check)
        if running:
            _load_or_go_back(root, answer["changed"])
    return running


class _TriedError(Exception):
    """It was good, and shall not go live."""


def try_relay(directory: str, lineage: str, address: str) -> None:
    """Raise RefusedError where this nginx could not hand all over to that address. Nothing goes live."""
    root = Path(directory)

    def test() -> None:
        try_inside(lambda said: _as_deployed(relay.with_stream(said)))
        raise _TriedError

    with _lock(root), contextlib.suppress(_TriedError):
        promote(root, Path(lineage), relay.configuration(synced(root), address), test)


def _forget(master: int) -> None:
    """Remove what a running nginx remembers: it is filed under older accounts, so nobody asks for it.

    The directory is its workers'. An absolute link in it would lead root to the host's own files.
    """
    with (
        contextlib.suppress(FileNotFoundError),
        beneath.directory(Path(f"/proc/{master}/root"), REMEMBERED) as directory,
    ):
        for name in os.listdir(directory):  # noqa: PTH208 - of a handle
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(name, dir_fd=directory)


def activate(directory: str, lineage: str) -> Running:
    """Have the running nginx serve the newest certificate. See `up` for the arguments and results.

    The configuration stays the one that is live: a mistake in one that waits for `up` must never
    keep a renewed certificate from being served.
    """
    root = Path(directory)
    with _lock(root), given(root):
        config = as_live(root)
        if "https.conf" not in config:
            # The first certificate brings the part that needs one, with all that it includes, of one version.
            config |= {name: data for name, data in wanted(root).items() if name != OVERRIDE}
        answer = promote(root, Path(lineage), config, partial(_test, try_inside))
        reloaded = bool(_load_or_go_back(root, answer["changed"]))
    return {**answer, "started": [], "reloaded": reloaded, "replaced": [], "cut": 0}


def reconfigure(directory: str, lineage: str) -> Running:
    """Have the running nginx take over what `up` would give it, at once: no container is looked at. See `activate`."""
    root = Path(directory)
    with _lock(root), given(root):
        answer = promote(root, Path(lineage), wanted(root), partial(_test, try_inside))
        reloaded = bool(_load_or_go_back(root, answer["changed"]))
    return {**answer, "started": [], "reloaded": reloaded, "replaced": [], "cut": 0}


def _test(attempt: Callable[[Callable[[str], str]], None]) -> None:
    attempt(_as_deployed)


def _as_deployed(text: str) -> str:
    """What nginx says, with a path in the container as the one below DEPLOY_DIR."""
    return re.sub(rf"/\S*/{layout.NEXT}/", f"{layout.NGINX}/", text)


def _lock(root: Path) -> AbstractContextManager[None]:
    if not (root / layout.GENERATIONS).is_dir():
        raise RefusedError(f"nothing is deployed in {root}", "./fab -H … bootstrap")
    return locked(root / layout.GENERATIONS / ".lock", 150)


def back(directory: str) -> list[str]:
    """Let the containers serve again that `up` kept (keep_old). Returns their services."""
    root = Path(directory)
    with _lock(root):
        done = switch.back(root)
        _remember_started(root, beside.serving(root, beside.there()))
    return done


def finish(directory: str) -> None:
    """Let the containers end that `up` kept, each once it is done."""
    root = Path(directory)
    with _lock(root):
        switch.finish(root)


def restore(directory: str) -> bool:
    """Have nginx run what it ran before the last change again. False where there was nothing."""
    root = Path(directory)
    with _lock(root):
        if not go_back(root):
            return False
        _load(root)
    return True


def _load_or_go_back(root: Path, changed: list[str]) -> int:
    try:
        return _load(root)
    except RefusedError as error:
        if not changed or not go_back(root):
            raise
        error.add("what it ran before goes on, and is what it starts with")
        raise


def _load(root: Path) -> int:
    """Reload unless nginx has the live configuration already. Returns the process that was told, or 0."""
    loaded = root / layout.LOADED
    digest = str((root / layout.LIVE).readlink())
    if loaded.is_file() and loaded.read_text() == digest:
        return 0
    master = workers.master()
    old = workers.workers(master)
    # As `nginx -s reload` does it (nginx(8)), without a trip through Docker.
    os.kill(master, signal.SIGHUP)
    workers.wait_for_takeover(master, old)
    replace(loaded, digest.encode(), 0o644)
    return master


def _remember_started(root: Path, serving: Mapping[str, Found]) -> None:
    ids = [each["id"] for each in serving.values()]
    images = held.identities(held.wanted(root))
    record = {"compose": held.digest(root), "containers": healthy(ids), "images": images}
    replace(root / layout.STARTED, json.dumps(record).encode(), 0o644)
