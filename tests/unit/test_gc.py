"""`gc` beside a registry that writes: every order in which the two can come, and every moment for a kill.

The registry is a model (registry_model.py), the collector is the real one; both work on real files.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fabfile import layout
from fabfile.store.onhost import trash, walk
from fabfile.store.onhost.collect import HOLD, Run
from fabfile.store.onhost.tail import Tail

from .registry_model import BASE, KEPT, NEW, OLD, OTHER, REPOSITORY, Model, Steps

DAY = 86400.0
# All orders take some minutes; `GC_ORDERS=1 pytest …` plays them all.
SHARE = float(os.environ.get("GC_ORDERS", "0.02"))
# Memory, where the machine has such a directory: there are thousands of stores.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


class KilledError(Exception):
    """As by `kill -9`."""


def nothing(_: bytes) -> Steps:
    return iter(())


def begin(model: Model, *, linked: bool = True) -> None:
    """An image that is used, and an old layer that nothing needs."""
    model.acknowledged[KEPT, "1"] = model.store.image(KEPT, [BASE], "1")
    model.store.blob(OLD, *([REPOSITORY] if linked else []))


def skipping(model: Model) -> Steps:
    """H5: it says the old layer is there, so the client does not bring it."""
    begin(model)
    model.later()
    return model.push(REPOSITORY, "new", (OLD,), nothing)


def uploading(model: Model) -> Steps:
    """H3: the client brings what is there already, and the registry keeps what it has."""
    begin(model, linked=False)
    model.later()
    return model.push(REPOSITORY, "new", (OLD,), nothing)


def mounting(model: Model) -> Steps:
    """H1: from a repository that has no use for it any more."""
    begin(model)
    model.later()
    return model.push(OTHER, "new", (OLD,), lambda content: model.mount(OTHER, REPOSITORY, content))


def tagging(model: Model) -> Steps:
    """An old image without a tag is pushed again with one."""
    begin(model, linked=False)
    model.store.blob(OLD, REPOSITORY)
    model.store.manifest(REPOSITORY, model.manifest((OLD,)))
    model.later()
    return model.push(REPOSITORY, "again", (OLD,), nothing)


def indexing(model: Model) -> Steps:
    """An old image without a tag gets into an index."""
    begin(model, linked=False)
    model.store.blob(OLD, REPOSITORY)
    child = model.store.manifest(REPOSITORY, model.manifest((OLD,)))
    model.later()
    return model.index(REPOSITORY, "all", child, (OLD,))


def deleting(model: Model) -> Steps:
    """H2: a delete through the API, and what else is in the repository."""
    begin(model)
    gone = model.store.image(KEPT, [NEW], "gone")
    model.later()
    return model.delete(KEPT, gone)


PATHS = [skipping, uploading, mounting, tagging, indexing, deleting]
UNTAGGED = {tagging, indexing}


class Play:
    """One order of the steps: `order[n]` steps of the client before the collector's step n, the rest behind the last.

    kill: the collector's step at which it is killed. now: as `gc --now` does it.
    """

    def __init__(
        self, path: Callable[[Model], Steps], order: tuple[int, ...], *, kill: int = -1, now: bool = False
    ) -> None:
        self.order, self.kill, self.now = order, kill, now
        self.path = path
        self.count = self.moves = 0
        self.between = True
        self.failed = self.left = self.steps = 0
        self.lost: list[str] = []
        self.moved: list[int] = []

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            try:
                self.between = next(self.client)
                self.moves += 1
            except StopIteration:
                self.between = True
                return

    def step(self, _: str) -> None:
        if self.count == self.kill:
            raise KilledError
        before = self.moves
        self.advance(self.order[self.count] if self.count < len(self.order) else 0)
        self.moved.append(self.moves - before)
        self.count += 1

    def collect(self, model: Model, bin_: trash.Bin, untagged: float) -> None:
        run = Run(str(model.root), bin_, DAY, self.step, lambda: model.now)
        log = Path(model.root, layout.USES_LOG)
        with walk.Manifests(bin_.top) as manifests, Tail(log) as tail:
            run.settle()
            run.purge(HOLD)
            run.plan(untagged, manifests)
            run.take(manifests, tail)
        if self.now:
            # The barrier: what began before is done.
            while not self.between:
                self.advance(1)
            run.settle()
            run.purge(0.0)
        else:
            run.settle()

    def run(self) -> Model:
        root = Path(tempfile.mkdtemp(dir=MEMORY))
        try:
            model = Model(root, time.time() + 10 * DAY)
            self.client = self.path(model)
            with trash.opened(str(root)) as bin_:
                assert bin_ is not None
                with contextlib.suppress(KilledError):
                    self.collect(model, bin_, 0.0 if self.path in UNTAGGED else -1.0)
                self.advance(1000)
                self.steps = self.count
                # The next night: what is in the trash goes, and nothing else.
                self.order, self.kill, self.now = (), -1, False
                model.now += 2 * DAY
                self.collect(model, bin_, -1.0)
                assert len(bin_.runs()) <= 1
            self.lost, self.failed = model.lost(), model.failed
            self.left = model.size()
            return model
        finally:
            shutil.rmtree(root)


def everything(path: Callable[[Model], Steps], *, now: bool, share: float, kind: type[Play] = Play) -> Iterator[Play]:
    """Every order, once; and for each place of the kill all that the client may have done by then.

    share: of the orders, by a draw that is always the same; 1.0 for all.
    """
    draw = random.Random(path.__name__)  # noqa: S311 - a draw
    todo: list[tuple[int, ...]] = [()]
    while todo:
        order = todo.pop()
        play = kind(path, order, now=now)
        play.run()
        yield play
        more = []
        if order and play.moved[len(order) - 1] == order[-1]:
            more.append((*order[:-1], order[-1] + 1))
        more += [(*order, *(0,) * (place - len(order)), 1) for place in range(len(order), play.steps)]
        todo += [each for each in more if share == 1.0 or draw.random() < share ** (1 / 3)]
    for kill in range(play.steps + 3):
        for done in range(10):
            if draw.random() > share * 10:
                continue
            play = kind(path, (done,), kill=kill, now=now)
            play.run()
            yield play


@pytest.mark.parametrize("now", [False, True], ids=["later", "now"])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
def test_nothing_that_was_acknowledged_is_lost(path: Callable[[Model], Steps], now: bool) -> None:
    """H1 to H5: whatever comes between which two steps, and wherever it is killed."""
    states = failed = 0
    for play in everything(path, now=now, share=SHARE):
        assert play.lost == [], (play.order, play.kill)
        states += 1
        failed += play.failed
    print(f"{path.__name__}: {states} orders, 0 lost, {failed} pushes that had to be repeated")


@pytest.mark.parametrize("path", [skipping, uploading, mounting], ids=lambda path: path.__name__)
def test_without_a_look_afterwards_it_would_be_lost(
    path: Callable[[Model], Steps], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So these orders have what they are there for."""
    monkeypatch.setattr(Run, "settle", lambda self: self.step("settle"))
    assert any(play.lost for play in everything(path, now=False, share=1.0))
