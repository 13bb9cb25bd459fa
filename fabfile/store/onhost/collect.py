"""Garbage collection while everybody pushes and pulls: mark, look again, take, settle, purge.

No request is refused or held. What nothing needs and nobody used for a while is moved to the trash, one rename each;
then it is looked for what somebody pushed in the same moment and needs after all, and that is put back; what stayed
in the trash for long enough is purged. Killed at any point, the next run settles first, and goes on.

Kinds of what is taken: manifest, tag (of a signature), layer (a link), blob, upload, deleted (what is left of a
manifest that was deleted), repository (what is left of one).
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypedDict

from ...layout import USES_LOG
from ...machine.onhost.atomic import RefusedError
from . import barrier, handles, marks, retention, rules, runs, tags, trash, uses, walk
from .marks import Candidate, Times
from .settle import settle
from .tail import Tail

# Of the manifests without a tag, so many are named.
LISTED = 200
# For a full disk.
LEAST_GRACE = 900.0
# What was taken can be brought back for that long.
HOLD = 86400.0
# Who pushes an old manifest again while its content is moved was told that it is there: so it is looked for that at
# once, and until every request of before must be done.
PAUSES = (0.0, 0.1, 1.0, 10.0, 60.0)


class Collected(TypedDict):
    """What a run did, or would do.

    run: its name, "" where nothing was taken. bytes: repository -> how many. counts: kind -> how many. left:
    repository -> why it was left as it is. restored: how many were put back. purged: bytes. waiting: bytes in the
    trash. delayed: why it was not purged. rules: a mistake in retention.ini. untagged: how many manifests have no tag
    and are out of use. untagged_bytes: what they hold. manifests: repository, digest and last use of those without a
    tag that go, the first of them. held: repository -> why its manifests stay, though retention.ini says they go.
    """

    run: str
    bytes: dict[str, int]
    counts: dict[str, int]
    left: dict[str, list[str]]
    restored: int
    purged: int
    waiting: int
    delayed: str
    rules: str
    untagged: int
    untagged_bytes: int
    manifests: list[tuple[str, str, float]]
    held: dict[str, str]


Step = Callable[[str], None]
Clock = Callable[[], float]


def collect(  # noqa: PLR0913 - each is a choice
    directory: str,
    *,
    dry: bool = False,
    now: bool = False,
    untagged: float = -1.0,
    grace: float = marks.GRACE,
    hold: float = HOLD,
    pauses: Iterable[float] = PAUSES,
    wait: float = 0.0,
) -> Collected:
    """Collect what nothing needs.

    dry: only say what would be taken. now: for a full disk, purge it at once, as soon as every request that began
    before is done. untagged: take manifests without a tag, too, that were neither
    pushed nor used for that many seconds; less than 0 for what retention.ini says. grace, hold, pauses: seconds;
    wait: how long for another one who is at work.
    Raises RefusedError where another one is at work, or where it cannot know what is needed.
    """
    with trash.opened(directory, wait) as bin_:
        if bin_ is None:
            return Run.nothing()
        run = Run(directory, bin_, min(grace, LEAST_GRACE) if now else grace, clock=time.time)
        with walk.Manifests(bin_.top) as manifests, Tail(Path(directory, USES_LOG)) as tail:
            if dry:
                run.plan(untagged, manifests)
                return run.answer()
            run.settle()
            run.purge(hold)
            run.plan(untagged, manifests)
            run.take(manifests, tail)
        for pause in pauses if run.name and not now else ():
            bin_.rest()
            time.sleep(pause)
            run.settle()
        if now:
            if not (delayed := barrier.passed()):
                run.settle()
                run.purge(0.0)
            run.delayed = run.delayed or delayed
        return run.answer()


def emptied(directory: str, *, hold: float = HOLD, wait: float = 0.0) -> Collected:
    """Remove for good what lay in the trash for `hold` seconds, and take nothing else. wait: as for `collect`."""
    with trash.opened(directory, wait) as bin_:
        if bin_ is None:
            return Run.nothing()
        run = Run(directory, bin_, marks.GRACE, clock=time.time)
        run.settle()
        run.purge(hold)
        return run.answer()


class Run:
    """One run over a store. step: is told what comes next, before each change; the tests stop it there."""

    def __init__(
        self, directory: str, bin_: trash.Bin, grace: float, step: Step = lambda _: None, clock: Clock = time.time
    ) -> None:
        self.directory, self.bin, self.grace, self.step, self.clock = directory, bin_, grace, step, clock
        self.now = clock()
        self.name = ""
        self.links: dict[str, list[str]] = {}
        self.aliases: dict[str, set[str]] = {}
        self.found: list[Candidate] = []
        self.taken: list[Candidate] = []
        self.left: dict[str, list[str]] = {}
        self.held: dict[str, str] = {}
        self.delayed = self.rules = ""
        self.restored = self.purged = 0
        self.untagged = self.untagged_bytes = 0

    @staticmethod
    def nothing() -> Collected:
        """The answer where nothing was ever pushed."""
        return {"run": "", "bytes": {}, "counts": {}, "left": {}, "restored": 0, "purged": 0, "waiting": 0,
                "delayed": "", "rules": "", "untagged": 0, "untagged_bytes": 0, "manifests": [],
                "held": {}}  # fmt: skip

    def settle(self) -> None:
        """Put back what is needed after all."""
        self.step("settle")
        self.restored += settle(self.bin, purging=True)

    def purge(self, hold: float) -> None:
        """Remove for good what was taken longer ago than `hold` seconds. Only after `settle`."""
        if self.bin.far:
            self.bin.far.end_broken(self.clock())
        for run in self.bin.runs():
            age = self.clock() - max(self.bin.taken(run), runs.begun(run))
            # Of the others there are only links, so to purge them at once would free nothing, and nobody could undo.
            if age >= hold and (hold or runs.kind(run) == "gc"):
                self.step(f"purge {run}")
                before = self.bin.size(run)
                if problem := self.bin.purge(run):
                    self.delayed = problem
                    before -= self.bin.size(run)
                self.purged += before

    def plan(self, untagged: float, manifests: walk.Manifests) -> None:
        """Find what may go. Raises RefusedError where that cannot be known."""
        self.step("mark")
        self.bin.refresh()
        store = walk.repositories(self.bin.top)
        self.step("blobs")
        walk.blobs(self.bin.top, store)
        handles.require_known(store.odd, "nothing was taken, as ")
        self.step("read")
        used = uses.last(self.directory, self.now)
        times = Times.of(store, used)
        if digest := marks.ahead(times, self.now):
            raise RefusedError(
                f"nothing was taken: {digest} was written in the future, so this server's clock is or was wrong",
                "./fab -H … check compares the clock; once it is right, `touch` that file",
            )
        oldest = self.now - self.grace
        begun = uses.begun(self.directory, self.now)
        chosen = marks.untagged(store, manifests, used, self._ages(store, untagged), begun)
        if untagged < 0:
            chosen = self._braked(store, chosen)
        going = {(each.name, each.digest) for each in chosen if each.kind == "manifest"}
        found = marks.marked(store, manifests, going, oldest)
        self.left = found.left
        self.found = chosen + marks.candidates(store, found, times, oldest)
        # No client asks for a manifest before it pushes it, so there is no line about that in the log: these go last.
        known = {each.digest for each in self.found if each.kind in ("manifest", "deleted")}
        self.found.sort(key=lambda each: each.kind == "blob" and each.digest in known)
        self.aliases = marks.aliases(store)
        self.links = marks.links_to(store, {each.digest for each in self.found if each.kind == "blob"}, self.aliases)
        if untagged < 0:
            every = marks.untagged(store, manifests, used, dict.fromkeys(store.repositories, oldest), 0.0)
            idle = {(each.name, each.digest) for each in every if each.kind == "manifest"}
            later = marks.marked(store, manifests, idle | going, oldest)
            self.untagged = len(idle - going)
            self.untagged_bytes = sum(store.blobs[d][1] for d in found.needed - later.needed if d in store.blobs)

    def _ages(self, store: walk.Store, untagged: float) -> dict[str, float]:
        """Repository -> since when its images without a tag must have been out of use, to go."""
        if untagged >= 0:
            return dict.fromkeys(store.repositories, self.now - max(untagged, self.grace))
        try:
            found = retention.ages(rules.read(self.directory) or [], list(store.repositories))
        except RefusedError as error:
            # What nothing needs may go all the same: the disk may be full.
            self.rules = error.what
            return {}
        return {name: self.now - max(age, self.grace) for name, age in found.items()}

    def _braked(self, store: walk.Store, chosen: list[Candidate]) -> list[Candidate]:
        """Without those of repositories in which so much would go that it may be a mistake in retention.ini."""
        going = Counter(each.name for each in chosen if each.kind == "manifest")
        for name, count in going.items():
            if why := retention.too_much(count, len(store.repositories[name].revisions), "manifest"):
                self.held[name] = why
        return [each for each in chosen if each.name not in self.held]

    def take(self, manifests: walk.Manifests, tail: Tail) -> None:
        """Move it to the trash, each after one more look at it. tail: of the uses log, from before the plan on."""
        if not self.found:
            return
        try:
            self._take(manifests, tail)
        except (RefusedError, OSError):
            # What a push needs of what is taken so far must not wait for the next run.
            with contextlib.suppress(RefusedError, OSError):
                self.settle()
            raise

    def _take(self, manifests: walk.Manifests, tail: Tail) -> None:
        self.name = self.bin.begin("gc", self.now)
        spared: set[str] = set()
        for each in self.found:
            self.step(f"take {each.kind}")
            tail.read()
            if each.digest in spared:
                continue
            if self._in_use(each, tail):
                if each.kind in ("manifest", "tag"):
                    marks.needs(each.digest, manifests, spared)
                continue
            self.step("rename")
            if each.kind == "repository":
                done = self.bin.clear(each.path)
            elif each.kind == "tag":
                image = (each.name, each.path.rpartition("/")[2])
                seen = (each.digest, each.seen) if each.digest else tags.NOTHING
                done = tags.take(self.bin, self.name, image, seen, self.clock())
            else:
                done = self.bin.take(self.name, each.path, self.clock())
            if done:
                self.taken.append(each)

    def _in_use(self, each: Candidate, tail: Tail) -> bool:
        """Whether somebody has used it since it was marked."""
        if each.digest in tail.digests or not tail.digests.isdisjoint(self.aliases.get(each.digest, ())):
            return True
        top = self.bin.top
        self.bin.refresh(each.path, *(f"{path}/link" for path in self.links.get(each.digest, ())))
        if each.kind in ("layer", "manifest"):
            return handles.written(handles.stat_of(top, f"{each.path}/link")) > self.now - self.grace
        if each.kind == "tag":
            return handles.written(handles.stat_of(top, f"{each.path}/current/link")) > each.seen
        if each.kind == "blob":
            paths = [f"{path}/link" for path in self.links.get(each.digest, ())]
            newest = handles.stored(handles.stat_of(top, f"{each.path}/data"), handles.stat_of(top, each.path))
            newest = max([newest, *(handles.written(handles.stat_of(top, path)) for path in paths)])
            return newest > self.now - self.grace
        if each.kind == "upload":
            above, _, name = each.path.rpartition("/")
            with handles.directory(top, above) as uploads:
                return walk.upload(uploads, name)[0] > each.seen
        return handles.newest(handles.stat_of(top, each.path)) > max(self.now - self.grace, each.seen)

    def answer(self) -> Collected:
        """What it did, or would do where nothing was taken."""
        taken = self.taken if self.name else self.found
        counts: dict[str, int] = {}
        sizes: dict[str, int] = {}
        for each in taken:
            counts[each.kind] = counts.get(each.kind, 0) + 1
            if each.bytes:
                sizes[each.name] = sizes.get(each.name, 0) + each.bytes
        waiting = sum(map(self.bin.size, self.bin.runs()))
        return {
            "run": self.name, "bytes": sizes, "counts": counts, "left": self.left, "restored": self.restored,
            "purged": self.purged, "waiting": waiting, "delayed": self.delayed, "rules": self.rules,
            "untagged": self.untagged, "untagged_bytes": self.untagged_bytes, "held": self.held,
            "manifests": [(each.name, each.digest, each.seen) for each in taken if each.kind == "manifest"][:LISTED],
        }  # fmt: skip
