"""Take a snapshot of a registry into a directory of this machine: the operator's, or the server's own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .. import layout
from ..errors import StepError
from ..machine import lock
from ..machine.host import Host, require_deployed
from ..settings import Settings
from ..version import VERSION
from . import checked, place, rsync
from .onhost import stage, switching
from .place import Snapshot

# The server notices a moment later that a run was killed.
PATIENCE = 10


@dataclass
class Taken:
    """What came of it. path: of the new snapshot; sent: bytes on the way; gone: names of older ones that went."""

    path: Path
    snapshot: Snapshot
    sent: int
    mended: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


@contextlib.contextmanager
def alone(host: Host, settings: Settings, task: str, seconds: int = PATIENCE) -> Iterator[None]:
    """While nobody else makes a copy on the host, or brings one back. Raises as lock.exclusive."""
    with lock.exclusive(host, settings, task, seconds=seconds, path=layout.COPY_LOCK):
        yield


@contextlib.contextmanager
def staged(host: Host, settings: Settings, have: Mapping[str, int] | None = None) -> Iterator[stage.Staged]:
    """A consistent copy in `.copy/out` of the host, for as long as the block runs. have: see onhost/stage.py."""
    found = host.call(stage.stage, settings.deploy_dir, have=have)
    try:
        yield found
    finally:
        # With the connection gone it stays until the next one.
        with contextlib.suppress(StepError):
            host.call(stage.drop, settings.deploy_dir)


def take(host: Host, settings: Settings, directory: Path, keep: int) -> Taken:
    """Take one, and remove all but the newest `keep`. Only for whoever is `alone`.

    Raises StepError where another registry's are there, for a cut and for a full disk; what came so far stays, and the
    next one goes on with it.
    """
    require_deployed(host, settings.deploy_dir)
    with place.held(directory):
        every = place.snapshots(directory)
        _refuse_another(directory, every, settings)
        before = directory / every[-1]["name"] if every else None
        have = _blobs(before) if host.call(switching.where, settings.deploy_dir)["storage"] == switching.S3 else None
        sent, left = 0, 1
        while left:
            with staged(host, settings, have) as found:
                part = place.begin(directory, found["name"])
                sent += rsync.fetch(host, settings, layout.COPY_OUT, part, before)
                left = found["left"]
            if have is not None and left:
                # The server's disk is smaller than the bucket: the rest comes in turn.
                have |= _blobs(part)
        checked.without_partial(part)
        if not checked.same_references(part, found["references"]):
            raise StepError(f"{part}: not all links of the registry arrived", "run it again")
        seen = checked.check(part, before)
        snapshot = described(settings, found, seen)
        path = place.finish(part, snapshot)
        return Taken(path, snapshot, sent, seen.mended, place.prune(directory, keep))


def _blobs(path: Path | None) -> dict[str, int]:
    """Digest -> time in ns of each blob in a copy."""
    top = path / layout.STORE / "blobs" if path else None
    return {
        f"{each.parts[-4]}:{each.parts[-2]}": each.stat().st_mtime_ns
        for each in (top.glob("*/*/*/data") if top else ())
    }  # fmt: skip


def described(settings: Settings, found: stage.Staged, seen: checked.Checked) -> Snapshot:
    """What snapshot.json says of a copy. found: as it was made; seen: what was found in it since."""
    return {
        "format": place.FORMAT, "name": found["name"], "when": found["when"],
        "version": found["version"] or VERSION, "domain": settings.registry_domain,
        "repositories": found["repositories"], "tags": found["tags"], "blobs": seen.blobs, "bytes": seen.bytes,
        "new": seen.new, "new_bytes": seen.new_bytes, "damaged": seen.damaged, "missing": found["missing"],
        "dropped": found["dropped"], "references": found["references"], "verified": 0.0,
    }  # fmt: skip


def _refuse_another(directory: Path, every: list[Snapshot], settings: Settings) -> None:
    for each in every[-1:]:
        if each["domain"] not in settings.names:
            raise StepError(
                f"{directory} has copies of {each['domain']}, and this is {settings.registry_domain}",
                "name another directory with --to",
            )


def verify(path: Path, snapshot: Snapshot) -> tuple[checked.Checked, list[str]]:
    """Read all of a snapshot again, and write down when that was, and what is wrong.

    Returns what was found, and the tags that cannot be pulled from it, in words. What is rotten is removed from it,
    so that the next backup brings it anew.
    """
    with place.held(path.parent):
        seen = checked.check(path, every=True)
        problems = checked.incomplete(path)
        if not checked.same_references(path, snapshot["references"]):
            problems.insert(0, "its links are not those that it was made with")
        snapshot["damaged"] = {**snapshot["damaged"], **seen.damaged}
        snapshot["verified"] = time.time()
        snapshot["blobs"], snapshot["bytes"] = seen.blobs, seen.bytes
        place.record(path, snapshot)
        return seen, problems
