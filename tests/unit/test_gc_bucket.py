"""`gc` on a bucket: the same orders and kills as on a disk (test_gc.py), and one more moment before each request.

The registry's model writes the files that the bucket serves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fabfile.store.onhost import where

from .bucket_model import DirectoryBucket
from .registry_model import Model, Steps
from .test_gc import DAY, PATHS, Play, everything

SHARE = float(os.environ.get("GC_ORDERS", "0.0005"))


@pytest.mark.parametrize("now", [False, True], ids=["later", "now"])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
def test_nothing_that_was_acknowledged_is_lost(
    path: Callable[[Model], Steps], now: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    playing: list[Play] = []

    class BucketPlay(Play):
        """One whose steps are the requests that change the bucket, too."""

        def run(self) -> Model:
            playing[:] = [self]
            return super().run()

    def bucket(root: Path) -> DirectoryBucket:
        made = DirectoryBucket(root / "registry/data")
        made.step, made.now = playing[0].step, lambda: time.time() + 10 * DAY
        return made

    monkeypatch.setattr(where, "bucket", bucket)
    states = failed = 0
    for play in everything(path, now=now, share=SHARE, kind=BucketPlay):
        assert play.lost == [], (play.order, play.kill)
        states += 1
        failed += play.failed
    print(f"{path.__name__}: {states} orders, 0 lost, {failed} pushes that had to be repeated")
    assert states
