"""`restore`: a snapshot on an empty server, or some of its images on one that runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import report
from ..copies import bringing, place, rsync, taking
from ..copies import drill as drilling
from ..copies.onhost import putback
from ..copies.place import Snapshot
from ..errors import StepError
from ..layout import Service
from ..machine import lock
from ..machine.host import Host, require_deployed
from ..report import Outcome
from ..settings import Settings
from ..store import page
from ..store.words import size
from ..text import counted, one_line
from . import bootstrap, provision

LINES = 20


@dataclass(kw_only=True)
class Restoring(bootstrap.Run):
    """The run of `bootstrap` that brings a snapshot on its way."""

    path: Path
    snapshot: Snapshot

    def provision(self, _: bootstrap.Run) -> None:
        """With rsync, which no other step needs."""
        report.step("provision", lambda: provision.provision(self.host, self.settings))

    def sync(self, run: bootstrap.Run) -> None:
        """The files first: they make the directories. Then all of the copy, before anything runs."""
        bootstrap.STEPS["sync"](run)
        report.step("restore", self.restore, self.host.option)

    def restore(self) -> Outcome:
        """Images, accounts, certificates and the secret, on a server that has none."""
        host, directory = self.host, self.settings.deploy_dir
        bringing.require(host.call(putback.there, directory), self.snapshot, self.settings)
        host.call(putback.begin, directory, self.snapshot["name"])
        return told(self.path, bringing.bring(host, self.settings, self.path, whole=True))


def restore(host: Host, settings: Settings, source: str) -> None:
    """All of a snapshot on an empty server, with the steps of `bootstrap`, up to the proof. No certificate is ordered.

    source: the directory of the snapshots, for the newest, or one of them. Raises StepError where the server is not
    empty, and at the first step that fails: run again, it goes on.
    """
    rsync.require()
    path, snapshot = place.chosen(source, forced=host.forced)
    run = Restoring(host, settings, path=path, snapshot=snapshot)
    # Before anything is installed there.
    if host.run(["sh", "-c", "command -v python3"], check=False).ok:
        bringing.require(host.call(putback.there, settings.deploy_dir), snapshot, settings)
    changed: dict[str, bootstrap.Step] = {"provision": run.provision, "sync": run.sync}
    task = f"restore --from {source}"
    with taking.alone(host, settings, "restore"), lock.exclusive(host, settings, "restore"):
        bootstrap.carry_out(run, task, {**bootstrap.STEPS, **changed})
        host.call(putback.end, settings.deploy_dir)


def add(host: Host, settings: Settings, *, source: str, only: Sequence[str] = ()) -> Outcome:
    """Add images of a snapshot to a registry that runs: all, or those that are named. Accounts stay as they are.

    A tag that is there stays as it is; a blob that has rotted is replaced, where its image is named. Raises StepError,
    once all that can be brought is, for what the snapshot itself has not.
    """
    rsync.require()
    path, _ = place.chosen(source, forced=host.forced)
    require_deployed(host, settings.deploy_dir)
    done = bringing.bring(host, settings, path, only)
    page.look(host, settings)
    return told(path, done)


def drill(settings: Settings, source: str) -> Outcome:
    """Serve a snapshot on this machine by a registry in a container, pull every tag, and compare the digests.

    Neither the server nor the copy is changed; that it was done is remembered beside it. Raises StepError for what
    cannot be pulled.
    """
    path, snapshot = place.chosen(source)
    image = settings.stack_images[Service.REGISTRY]
    pulled, problems = drilling.drill(path, snapshot, image)
    if problems:
        raise StepError(
            f"{path}: {len(problems)} of {len(pulled) + len(problems)} tags cannot be pulled: "
            f"{one_line('; '.join(problems[:LINES]))}",
            "backup --verify reads all of it; an older snapshot may be whole: --from DIRECTORY/SNAPSHOT",
        )
    rows = [f"pulled   {digest}  {one_line(name)}" for name, digest in pulled]
    return Outcome(
        f"{path}: {counted(len(pulled), 'tag')} pulled by {image}, all digests right", changed=False, details=rows
    )


def told(path: Path, done: bringing.Brought) -> Outcome:
    """What was brought, in words. Raises StepError for what the snapshot itself has not."""
    if lost := {**bringing.images_of(path, done.absent), **bringing.images_of(path, done.bad)}:
        digest, images = min(lost.items())
        raise StepError(
            f"{path}: all is restored but {len(lost)} blobs, which it has not: {digest}, of "
            f"{', '.join(map(one_line, images[:5])) or 'no image that can be read'}",
            "an older snapshot may have them: restore --from DIRECTORY/SNAPSHOT --only NAME; or push these again",
        )
    details = [f"kept     {one_line(each)}" for each in done.kept[:LINES]]
    if len(done.kept) > LINES:
        details.append(f"kept     {len(done.kept) - LINES} more tags")
    words = f"{counted(done.tags, 'tag')}, {counted(done.blobs, 'blob')}, {size(done.sent)} sent"
    changed = bool(done.tags or done.blobs)
    return Outcome(words if changed else "all of it is there", changed, details, doubtful=bool(done.kept))
