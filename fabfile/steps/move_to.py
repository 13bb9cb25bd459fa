"""`move-to`: the images go from the server's disk to an S3 store, or back, while everybody works."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from .. import report
from ..copies import taking
from ..copies.onhost import across, ashore, switching
from ..copies.onhost.across import Passed
from ..errors import UsageError
from ..machine import lock
from ..machine.host import Host, require_deployed
from ..report import Outcome
from ..settings import Settings, location
from ..stack import bucket
from ..store.words import size
from ..text import counted, one_line
from . import pin, push_test, sync, up

# Copied again until a pass is as short as that, in seconds, or that often.
SMALL, PASSES = 10.0, 5
# Seconds for pushes that are at it to end, before the switch and after it.
QUIET, LATE = 3.0, 10.0
PATIENCE = 60
PLACES = (switching.S3, switching.DISK)
SHOWN = 20


def move_to(host: Host, settings: Settings, to: str) -> None:
    """Bring the images there, or go on with it. Pushes are refused for some seconds; pulls go on.

    to: `s3`, the bucket that the settings name, or `disk`. Until the registry looks in the new place, whatever fails
    leaves it as it was; where the images were they stay, until `done`. Raises StepError with what failed.
    """
    _require(settings, to)
    require_deployed(host, settings.deploy_dir)
    directory, new = settings.deploy_dir, replace(settings, storage=to)
    there = host.call(switching.where, directory)
    if there["switching"] not in ("", to):
        raise UsageError(
            f"{host.name}: the images are on their way to {there['switching']}, and that was cut off",
            f"./fab -H … move-to {there['switching']} first; then back",
        )
    if there["storage"] != to or there["switching"]:
        with taking.alone(host, settings, "move-to"), report.total("move-to"):
            if not there["switching"]:
                _bring(host, settings, to)
            with lock.exclusive(host, settings, "move-to", seconds=PATIENCE):
                _switch(host, new, to, begun=bool(there["switching"]))
    report.step("settings", partial(_settings, to), host.option)
    push_test.prove(host, new)
    print(
        f"\nThe images are {_named(settings, to)} now. Where they were before they still are:\n"
        f"  ./fab -H {host.name} move-to {to} --done     removes them there"
    )


def done(host: Host, settings: Settings, to: str, *, yes: bool) -> Outcome:
    """Remove the images where they were before. yes: nobody is asked. Raises UsageError where they are not at `to`."""
    _require(settings, to)
    require_deployed(host, settings.deploy_dir)
    there = host.call(switching.where, settings.deploy_dir)
    if there["storage"] != to or there["switching"]:
        raise UsageError(f"{host.name}: the images are not {_named(settings, to)} yet", f"./fab -H … move-to {to}")
    old = _named(settings, PLACES[1 - PLACES.index(to)])
    if not yes and not report.agreed(f"Remove all images {old}?"):
        return Outcome("nothing was removed", changed=False)
    gone = host.call(switching.drop, settings.deploy_dir, bucket.bundled(settings), bucket.keys(settings))
    return Outcome(f"{counted(gone, 'file')} removed {old}", bool(gone))


def _require(settings: Settings, to: str) -> None:
    if to not in PLACES:
        raise UsageError(f"move-to {to}: expected s3 or disk", "./fab -H … move-to s3")
    for key in ("s3_endpoint", "s3_bucket", "s3_key_file"):
        if not getattr(settings, key):
            raise UsageError(f"{key.upper()} is not set", "docs/s3.md has an example of all of them")


def _named(settings: Settings, to: str) -> str:
    return f"in the bucket {settings.s3_bucket}" if to == switching.S3 else "on the server's disk"


def _bring(host: Host, settings: Settings, to: str) -> None:
    """Passes, until little is left."""
    if to == switching.S3:
        host.call(across.begin, bucket.bundled(settings), bucket.keys(settings), settings.registry_domain)
    for _ in range(PASSES):
        begun = time.monotonic()
        report.step("copy", lambda: told(_pass(host, settings, to)), host.option)
        if time.monotonic() - begun < SMALL:
            return


def _pass(host: Host, settings: Settings, to: str) -> Passed:
    if to == switching.S3:
        return host.call(across.to_bucket, settings.deploy_dir, bucket.bundled(settings), bucket.keys(settings))
    return host.call(ashore.to_disk, settings.deploy_dir)


def told(found: Passed) -> Outcome:
    """What a pass brought, in words."""
    details = [
        f"warn     {digest}: missing, or its content is another one: {', '.join(map(one_line, images[:5])) or '-'}"
        for digest, images in sorted(found["rotten"].items())[:SHOWN]
    ]
    details += [f"warn     left out: {one_line(each)}" for each in found["dropped"][:SHOWN]]
    words = f"{counted(found['tags'], 'tag')}, {counted(found['all_blobs'], 'blob')}"
    sent = f"{counted(found['blobs'], 'blob')} ({size(found['bytes'])}) and {counted(found['links'], 'link')} sent"
    changed = bool(found["blobs"] or found["links"] or found["gone"])
    return Outcome(f"{words}: {sent if changed else 'all there'}", changed, details, doubtful=bool(details))


def _switch(host: Host, new: Settings, to: str, *, begun: bool) -> None:
    """Nobody may push: the last of it comes, and the registry looks in the new place."""
    start = time.monotonic()
    if not begun:
        report.step("last", lambda: told(_last(host, new, to)), host.option)
    report.step("sync", lambda: sync.sync(host, new, moved=True), host.option)
    report.step("up", lambda: up.up(host, new), host.option)
    report.step("switch", lambda: _end(host, new, to, start), host.option)


def _last(host: Host, new: Settings, to: str) -> Passed:
    return host.call(switching.begin, new.deploy_dir, to, bucket.bundled(new), bucket.keys(new), QUIET)


def _end(host: Host, new: Settings, to: str, start: float) -> Outcome:
    late = host.call(switching.end, new.deploy_dir, LATE)
    if to == switching.S3:
        host.call(across.end, bucket.bundled(new), bucket.keys(new))
    came = f"; {counted(late, 'tag')} came late" if late else ""
    return Outcome(f"pushes were refused for {time.monotonic() - start:.1f} s{came}")


def _settings(to: str) -> Outcome:
    """STORAGE in the settings' file of this machine."""
    file = location()
    if not pin.put(file, {"STORAGE": to}):
        return Outcome(f"{file.name} has STORAGE={to}", changed=False)
    return Outcome(f"wrote STORAGE={to} into {file.name}")
