"""The lists that the page shows, as files that nginx sends: written when something was pushed, and not read otherwise.

page/data        what is sent: a list for each repository, one for each view; only nginx reads it
page/cache       what is known of each repository's manifests, so that a push to it costs little
page/state.json  all repositories in short, and how far the log of uses was read; written last
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from ... import layout
from ...accounts.onhost import accounts_file, generation, sessions
from ...machine.onhost import disk, store
from ...machine.onhost.atomic import RefusedError, disk_remedy, locked, replace
from ...machine.onhost.owner import NGINX
from ...machine.onhost.reserve import given
from ...stack.onhost import upgrades
from . import changes, handles, lists, marks, remembered, retention, trash, uses, walk
from .rules import Rule, for_repository, read
from .written import Writer

WAIT = 60.0


class Indexed(TypedDict):
    """What was done. read: repositories that were walked; files: how many were written."""

    read: int
    files: int


def index(directory: str, domain: str, *, whole: bool = False) -> Indexed:
    """Bring the lists up to date: what was pushed or deleted since the last time, or all of it.

    domain: of the registry. whole: read all of the store. Raises RefusedError where the images' disk is away, or no
    file can be written.
    """
    root = Path(directory)
    if away := store.problem(root):
        raise RefusedError(*away)
    with _opened(root) as (mode, public):
        if mode == "off":
            return {"read": 0, "files": 0}
        state = remembered.state(root)
        log = changes.identity(root)
        anew = whole or state is None or state["log"] != log[0] or state["offset"] > log[1]
        if state is None or anew:
            state = remembered.fresh(root, state)
        work = _work(root, state)
        _read(work, log, anew=anew)
        if anew:
            state["site"], state["trash"] = _site(root, domain, public), _trash(root)
        state["when"] = time.time()
        done = _finish(work, mode, public, whole=anew)
        seen(root)
        remembered.sweep(root)
        return done


def _finish(work: _Work, mode: str, public: tuple[str, ...], *, whole: bool) -> Indexed:
    _write_rest(work, mode, public)
    work.made.prune(whole=whole)
    remembered.keep(work.root, work.state)
    return {"read": work.read, "files": work.made.count}


def views(directory: str) -> Indexed:
    """Only what the accounts say: the lists of all views. Nothing is read of the store."""
    root = Path(directory)
    with _opened(root) as (mode, public):
        state = remembered.state(root)
        if mode == "off" or state is None:
            return {"read": 0, "files": 0}
        work = _work(root, state)
        return _finish(work, mode, public, whole=False)


def seen(root: Path) -> None:
    """Let the page know that the lists are right as of now."""
    replace(root / layout.PAGE_SEEN, json.dumps({"seen": int(time.time())}).encode(), 0o644)


@contextlib.contextmanager
def _opened(root: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """PAGE and ANONYMOUS_PULL, as nginx has them, while nobody else writes. Without a page there are no lists."""
    live = root / layout.LIVE / layout.PAGE_CONF
    mode, public = sessions.told(live.read_bytes()) if live.is_file() else ("off", ())
    data = root / layout.PAGE_DATA
    try:
        with given(root):
            if mode == "off":
                remembered.drop(root)
                yield mode, public
                return
            data.mkdir(parents=True, exist_ok=True)
            # Names of repositories are nobody else's business on this host.
            data.chmod(0o750)
            if os.geteuid() == 0:
                os.chown(data, 0, NGINX)
            with locked(root / layout.PAGE_LOCK, WAIT):
                yield mode, public
    except OSError as error:
        what = f"the lists of the page cannot be written: {error.strerror or error}"
        raise RefusedError(what, disk_remedy(error.errno or 0) or "dmesg shows why") from None


@dataclass
class _Work:
    """What the steps of one run share."""

    root: Path
    state: remembered.State
    made: Writer
    rules: list[Rule]
    now: float = field(default_factory=time.time)
    written: set[str] = field(default_factory=set)
    read: int = 0


def _work(root: Path, state: remembered.State) -> _Work:
    made = Writer(root / layout.PAGE_DATA, state["written"], int(time.time()))
    return _Work(root, state, made, _rules(root))


def _read(work: _Work, log: tuple[int, int], *, anew: bool) -> None:
    """Walk what is asked for, and write the lists of these repositories."""
    state, now = work.state, work.now
    changed: set[str] | None = None
    # Before the walk: what is in the log is on the disk.
    if anew:
        used, state["events"] = lists.uses_of(uses.last(str(work.root), now)), changes.events(work.root, now)
    else:
        news = changes.since(work.root, state["offset"], log[1], now)
        used, changed = news["used"], news["changed"]
        state["events"] = [*state["events"], *news["events"]][-changes.MOST :]
    with handles.refused(), handles.data(work.root) as data, _store(data) as top:
        if top is not None:
            with walk.Manifests(top) as manifests:
                for repository in _walked(work.root, top, changed):
                    _walk_one(work, manifests, repository, used.pop(repository.name, {}))
    for name in (changed or set()) & state["repositories"].keys() - work.written:
        del state["repositories"][name]
    for name in used.keys() & state["repositories"].keys() - work.written:
        _used(work, name, used[name])
    if anew or changed:
        remembered.forget(work.root, {*state["repositories"]})
    state["log"], state["offset"] = log


def _walked(root: Path, top: int, changed: set[str] | None) -> Iterator[walk.Repository]:
    """The repositories that have something in them. changed: of these alone."""
    for name in [""] if changed is None else sorted(changed):
        for repository in walk.repositories(top, name).repositories.values():
            shown = lists.shown(repository.name) and not generation.keeps(root, repository.name)
            if shown and (repository.tags or repository.revisions):
                yield repository


@contextlib.contextmanager
def _store(data: int) -> Iterator[int | None]:
    try:
        with handles.store(data) as top:
            yield top
    except FileNotFoundError:
        # Nothing was ever pushed.
        yield None


def _walk_one(work: _Work, manifests: walk.Manifests, repository: walk.Repository, used: dict[str, float]) -> None:
    work.read += 1
    name = repository.name
    known = remembered.known(work.root, name)
    known["used"].update(used)
    found = lists.listed(repository, manifests, known)
    _judge(work, repository, found, known)
    _put(work, name, found)
    remembered.keep_known(work.root, name, known)


def _judge(work: _Work, repository: walk.Repository, found: lists.Listed, known: lists.Known) -> None:
    """Say of each tag why a rule would remove it; where something cannot be read, none does."""
    rule = for_repository(work.rules, repository.name)
    if rule is None or repository.broken or any(tag["problem"] for tag in found["tags"]):
        return
    begun = uses.begun(str(work.root), work.now)
    used = {
        tag: float(lists.last_use(digest, known["facts"].get(digest), known["used"]) or 0)
        for tag, (digest, _) in repository.tags.items()
    }
    judged = retention.verdicts(rule, repository, used, work.now, begun)
    for tag in found["tags"]:
        stays, why = judged[tag["tag"]]
        tag["retention"] = "" if stays else why


def _rules(root: Path) -> list[Rule]:
    try:
        return read(str(root)) or []
    except RefusedError:
        return []


def _put(work: _Work, name: str, found: lists.Listed) -> None:
    work.written.add(name)
    work.made.put(f"r/{name}/_tags.json", {"repository": name, "tags": found["tags"], "untagged": found["untagged"]})
    names = [(tag["tag"], tag["digest"]) for tag in found["tags"]]
    short: remembered.Short = {
        "home": lists.home(name, found), "names": names, "untagged": found["untagged"],
        "going": sum(bool(tag["retention"]) for tag in found["tags"]),
    }  # fmt: skip
    work.state["repositories"][name] = short


def _used(work: _Work, name: str, times: dict[str, float]) -> None:
    """Something of a repository was pulled: its list says when, without a look at the store."""
    known = remembered.known(work.root, name)
    known["used"].update({digest: when for digest, when in times.items() if digest in known["facts"]})
    list_ = work.made.read(f"r/{name}/_tags.json")
    if not list_:
        return
    short = {digest.partition(":")[2][: lists.SHORT]: digest for digest in known["facts"]}
    for tag in list_["tags"]:
        digest = short.get(tag["digest"], "")
        tag["used"] = lists.last_use(digest, known["facts"].get(digest), known["used"])
    _put(work, name, {"tags": list_["tags"], "untagged": list_["untagged"]})
    remembered.keep_known(work.root, name, known)


def _write_rest(work: _Work, mode: str, public: tuple[str, ...]) -> None:
    """The views, and what is about all of it."""
    root, state, made = work.root, work.state, work.made
    accounts = accounts_file.lines(root / layout.ACCOUNTS)
    rows = lists.newest_first(short["home"] for short in state["repositories"].values())
    for view, patterns in sessions.views(accounts, mode, public).items():
        inside = lists.matching(patterns)
        mine = [row for row in rows if inside(row["name"])]
        made.put(f"views/{view}.json", {"repositories": mine})
        for number, kind in enumerate(("tags", "digests")):
            # Apart, as digests cannot be packed, and are seldom searched for.
            words = {
                row["name"]: [each[number] for each in state["repositories"][row["name"]]["names"]] for row in mine
            }
            made.put(f"views/{view}.{kind}.json", {"repositories": words})
    made.put("site.json", state["site"])
    users = [line for line in accounts if line.user and not accounts_file.TEMPORARY.fullmatch(line.user)]
    told = [{"name": each.user, "role": each.role, "repositories": list(each.repositories) or ["*"]} for each in users]
    made.put("accounts.json", {"accounts": told})
    space = disk.space(root / layout.DATA if (root / layout.DATA).is_dir() else root)
    going = sum(short["going"] for short in state["repositories"].values())
    made.put(
        "disk.json",
        {
            "free": space["free"], "total": space["total"], "used": space["total"] - space["free"], "freeable": None,
            "untagged": sum(short["untagged"] for short in state["repositories"].values()), "trash": state["trash"],
            "retention": {"rules": True, "would_remove": going} if work.rules else None, "events": state["events"],
        },
    )  # fmt: skip
    made.keep({f"r/{name}/_tags.json" for name in state["repositories"]})


def _site(root: Path, domain: str, public: tuple[str, ...]) -> dict[str, Any]:
    """What this registry can, for the page: deletes of a tag alone came with version 3."""
    numbers = upgrades.versions(str(root)).get(layout.Service.REGISTRY, [])
    record = root / layout.RECORD
    return {
        "registry": ".".join(map(str, numbers)),
        "tag_delete": numbers[:1] >= [3],
        "anonymous": bool(public),
        "undo": int(marks.GRACE),
        "tool": record.read_text("utf-8", "replace").strip() if record.is_file() else "",
        "domain": domain,
    }


def _trash(root: Path) -> int:
    """The bytes that wait in the trash."""
    with contextlib.suppress(RefusedError), trash.opened(str(root)) as bin_:
        return sum(bin_.size(run) for run in bin_.runs()) if bin_ else 0
    return 0
