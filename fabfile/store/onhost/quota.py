"""What must not grow: repositories over the quota of their section in retention.ini, and a disk that is nearly full.

Each has a file in nginx/full, in the registry's own form of an error. While it is there, no upload begins, and nginx
answers with it (deploy/nginx/access.conf.j2): so nothing is reloaded, and the numbers in it are those of the last look.
Soft by design: what was begun before may end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from ...layout import (
    DATA,
    FULL,
    FULL_DISK,
    FULL_MOVING,
    FULL_STANDBY,
    LEAST_FREE,
    LEAST_PART,
    LOG,
    NGINX,
    QUOTA_LOCK,
    QUOTA_RECORD,
    QUOTA_SEEN,
)
from ...machine.onhost import disk, store
from ...machine.onhost.atomic import RefusedError, disk_remedy, locked, replace
from ...machine.onhost.reserve import given
from ...stack.onhost import relay
from . import handles, marks, walk
from .manifests import UnreadableError
from .rules import Rule, for_repository, read

# Another one may be at it; that takes no longer than `images` does.
WAIT = 60.0
# So much more must be free before pushes begin again: else each of them would end them again.
AGAIN = 1.2
GB, MB = 1e9, 1e6


class Section(TypedDict):
    """A section with a quota. quota, used: bytes."""

    pattern: str
    quota: int
    used: int


class Room(TypedDict):
    """On the images' disk, in bytes. limit: below that nothing more is taken. full: whether nothing is. files: how many
    more there can be, where these are what is short; else -1.
    """

    free: int
    limit: int
    full: bool
    files: int


class Judged(TypedDict):
    """What the last look found.

    when, seen: of it, and of the last time that cron came by, in seconds since 1970. problem: why the quotas are as
    they were. changed: what is refused since, or no longer: names of sections, or FULL_DISK.
    """

    when: float
    seen: float
    sections: list[Section]
    room: Room
    problem: str
    changed: list[str]


def judge(directory: str) -> Judged:
    """Look at the disk and at every section with a quota, and let nginx refuse what is over, or no longer.

    Raises RefusedError where nothing is deployed, where the images' disk is away, or where no file can be written.
    """
    root = Path(directory)
    if not (root / NGINX).is_dir():
        raise RefusedError(f"nothing is deployed in {root}", "./fab -H … bootstrap")
    if away := store.problem(root):
        raise RefusedError(*away)
    with given(root):
        try:
            return _judge(root)
        except OSError as error:
            what = f"what is full cannot be written down: {error.strerror or error}"
            raise RefusedError(what, disk_remedy(error.errno or 0) or "dmesg shows why") from None


def _judge(root: Path) -> Judged:
    for name, mode in ((LOG, 0o755), (FULL, 0o755)):
        if not (root / name).is_dir():
            (root / name).mkdir()
            (root / name).chmod(mode)
    with locked(root / QUOTA_LOCK, WAIT):
        now = time.time()
        found: Judged = {
            "when": now, "seen": 0.0, "sections": [], "room": room(root), "problem": "", "changed": [],
        }  # fmt: skip
        # Before all that takes time.
        full = {FULL_DISK: _answer(_no_room(found["room"]))} if found["room"]["full"] else {}
        found["changed"] = _put(root, full, (FULL_DISK,)) + [FULL_MOVING] * relay.let_in_again(root)
        try:
            every = read(str(root)) or []
            rules = [rule for rule in every if rule.quota]
            found["sections"] = measured(str(root), every, now)
        except (RefusedError, OSError) as error:
            # Those of the last look stay.
            found["problem"] = error.what if isinstance(error, RefusedError) else str(error)
        else:
            over = {
                rule.key: _answer(_over(section))
                for rule, section in zip(rules, found["sections"], strict=True)
                if section["used"] >= section["quota"]
            }
            named = {rule.key: rule.pattern for rule in rules}
            known = {path.stem for path in (root / FULL).glob("*.json")} - {FULL_DISK, FULL_MOVING, FULL_STANDBY}
            found["changed"] += [named.get(key, key) for key in _put(root, over, known | over.keys())]
        replace(root / QUOTA_RECORD, json.dumps(found).encode(), 0o600)
        return found


def _put(root: Path, wanted: dict[str, bytes], known: Iterable[str]) -> list[str]:
    """Of the known ones, let there be the files that are wanted. Returns those that came or went."""
    changed = []
    for key in sorted(known):
        path = root / FULL / f"{key}.json"
        there = path.is_file()
        if key not in wanted:
            path.unlink(missing_ok=True)
        elif not there or path.read_bytes() != wanted[key]:
            replace(path, wanted[key], 0o644)
        if there != (key in wanted):
            changed.append(key)
    return changed


def _answer(message: str) -> bytes:
    """As the registry says an error (distribution-spec 1.1, Error Codes).

    With 403 docker, skopeo and podman show it at once. With 507 or 503 docker tries for 50 seconds and shows the number
    alone, with 429 skopeo and podman try for half a minute.
    """
    return json.dumps({"errors": [{"code": "DENIED", "message": message}]}).encode()


def _no_room(found: Room) -> str:
    if found["files"] >= 0:
        return f"the registry's disk is nearly full: only {found['files']} more files; pulls go on"
    free, limit = _size(found["free"]), _size(found["limit"])
    return f"the registry's disk is nearly full: {free} free, pushes need {limit}; pulls go on"


def _over(found: Section) -> str:
    used, quota = _size(found["used"]), _size(found["quota"])
    return f"the quota of {found['pattern']} is reached: {used} used of {quota}; pulls and deletes go on"


def _size(count: int) -> str:
    """For people; `words.size` is on the other side."""
    return f"{count / GB:.2f} GB" if count >= GB else f"{count / MB:.1f} MB"


def room(root: Path) -> Room:
    """What is free on the images' disk, and whether that is too little. Changes nothing."""
    space = disk.space(root / DATA if (root / DATA).is_dir() else root)
    limit = min(LEAST_FREE, space["total"] // LEAST_PART)
    few = bool(space["all_inodes"]) and space["inodes"] < disk.INODES_NEEDED
    was_full = (root / FULL / f"{FULL_DISK}.json").is_file()
    full = few or space["free"] < limit * (AGAIN if was_full else 1)
    return {"free": space["free"], "limit": limit, "full": full, "files": space["inodes"] if few else -1}


def measured(directory: str, rules: list[Rule], now: float) -> list[Section]:
    """The sections with a quota, in the order of the file, and what their repositories take up. Changes nothing.

    now: in seconds since 1970. Raises RefusedError where the store cannot be read.
    """
    if not any(rule.quota for rule in rules):
        return []
    with handles.refused(), handles.data(Path(directory)) as data:
        try:
            with handles.store(data) as top, walk.Manifests(top) as manifests:
                return sections(rules, walk.repositories(top), manifests, now)
        except FileNotFoundError:
            # Nothing was ever pushed.
            return sections(rules, walk.Store(), None, now)


def sections(rules: list[Rule], found: walk.Store, manifests: walk.Manifests | None, now: float) -> list[Section]:
    """The same, of a store that was read."""
    members: dict[int, list[walk.Repository]] = {}
    for repository in found.repositories.values():
        if rule := for_repository(rules, repository.name):
            members.setdefault(rule.line, []).append(repository)
    answer: list[Section] = []
    for rule in rules:
        if rule.quota:
            digests = set().union(*(needed(each, manifests, now) for each in members.get(rule.line, ()) if manifests))
            used = sum(map(manifests.size, digests)) if manifests else 0
            answer.append({"pattern": rule.pattern, "quota": rule.quota, "used": used})
    return answer


def needed(repository: walk.Repository, manifests: walk.Manifests, now: float) -> set[str]:
    """The blobs that count for a repository.

    Those of every manifest that it has, with a tag or without; and what was pushed lately without one, as an image may
    still come of it, for as long as `gc` leaves it alone. Where a manifest cannot be read, all that was ever pushed.
    """
    aliases = repository.aliases
    digests = {aliases.get(each, each) for each, when in repository.layers.items() if when > now - marks.GRACE}
    for digest in repository.revisions:
        digests.add(digest)
        try:
            digests |= {aliases.get(each, each) for each, _ in manifests.get(digest).blobs}
        except (UnreadableError, FileNotFoundError):
            digests |= {aliases.get(each, each) for each in repository.layers}
    return digests


def last(directory: str) -> Judged | None:
    """What the last look found; None where there was none. Changes nothing."""
    try:
        found: Judged = json.loads(Path(directory, QUOTA_RECORD).read_text())
    except (OSError, ValueError):
        return None
    try:
        found["seen"] = Path(directory, QUOTA_SEEN).stat().st_mtime
    except OSError:
        found["seen"] = 0.0
    return found
