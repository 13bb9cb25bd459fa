"""`upgrade`: the images of .env, fetched anew, run; nobody is cut off, and what cannot serve goes back by itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

from .. import report
from ..errors import ExpectedError, StepError
from ..layout import Service
from ..machine import lock
from ..machine.host import Host, require_deployed
from ..registry import schema1
from ..registry.onhost import schema1 as onhost_schema1
from ..report import Outcome
from ..settings import Settings
from ..stack import drain, nginx
from ..stack.onhost import upgrades
from ..stack.onhost.containers import NO_PULL
from ..stack.onhost.upgrades import Image
from . import push_test, ship, sync

# How long old images are looked for, in seconds: before nothing else.
LOOK = 600.0
DIGITS = 12


def upgrade(host: Host, settings: Settings, *, yes: bool = False, patience: float = 600.0) -> None:
    """Do it. Prints a line for each part.

    yes: also where images are in the way that the new version cannot serve; patience: seconds to wait at most for a
    moment in which nginx can be replaced without cutting off a long push or pull.
    Raises StepError where something does not start, or does not answer, or is not proven: all runs as before then.
    """
    require_deployed(host, settings.deploy_dir)
    with lock.exclusive(host, settings, "upgrade"):
        before = host.call(upgrades.running, settings.deploy_dir)
        report.step("sync", lambda: sync.sync(host, settings), host.option)
        report.step("fetch", lambda: fetch(host, settings), host.option)
        require_readable(host, settings, before, yes=yes)
        carry_out(host, settings, "upgrade", {}, before, patience)


def fetch(host: Host, settings: Settings) -> Outcome:
    """Bring the images to the server, as their names mean them now. What cannot be had is as it is there."""
    if settings.images == "ship":
        return ship.ship(host, settings)
    names = sorted(set(settings.stack_images.values()))
    failed = host.call(upgrades.pull, names)
    got = ", ".join(name for name in names if name not in failed)
    summary = f"fetched {got}" if got else "fetched nothing: the images that the server has count"
    return Outcome(summary, bool(got), not_fetched(failed), doubtful=bool(failed))


def not_fetched(failed: Mapping[str, str]) -> list[str]:
    """A line for each reason, as most often all images have the same. failed: name -> why."""
    names: dict[str, list[str]] = {}
    for name, why in failed.items():
        reason = why.removeprefix(f"{NO_PULL}: ").removeprefix("Error response from daemon: ")
        names.setdefault(reason, []).append(name)
    return [f"not fetched: {', '.join(some)}: {reason}" for reason, some in names.items()]


def require_readable(host: Host, settings: Settings, before: Mapping[str, Image], *, yes: bool) -> None:
    """From version 2 of the registry to 3: raise StepError where images are in schema 1, which it cannot serve."""
    coming = host.call(upgrades.coming, settings.deploy_dir).get(Service.REGISTRY)
    if not coming or Service.REGISTRY not in before:
        return
    new, old = (host.call(upgrades.version, image) for image in (coming, before[Service.REGISTRY]["id"]))
    if not new or new[0] < 3 or (old and old[0] >= 3):
        return
    found = schema1.described(host.call(onhost_schema1.found, settings.deploy_dir, LOOK))
    if found and not yes:
        raise StepError(
            f"{host.name}: nothing was changed: {found}, and {schema1.REMEDY}",
            "./fab -H … upgrade --yes goes on all the same",
        )
    if found:
        report.line("warn", "upgrade", f"old images: {found}", 0.0)


def carry_out(  # noqa: PLR0913, PLR0917 - a change is that much
    host: Host, settings: Settings, name: str, to: dict[str, str], before: dict[str, Image], patience: float
) -> None:
    """Change the images, prove that the registry works with them, and let those of before end. Prints it.

    to: see upgrades.change. name: of the task. Raises StepError as `upgrade`.
    """
    directory = settings.deploy_dir

    def changed() -> Outcome:
        answer = host.call(upgrades.change, directory, settings.lineage, to, patience)
        # A certificate that cannot be used is none of the images' business: `up` and `status` tell of it.
        return nginx.told(host, {**answer, "problem": ""})

    # To where nothing changes nobody need be sent elsewhere.
    changes = bool(to or host.call(upgrades.coming, directory))
    with drain.leaving(host, settings) if changes else nullcontext():
        report.step(name, changed, host.option)
        now = host.call(upgrades.running, directory)
        if all(each["id"] == before.get(service, each)["id"] for service, each in now.items()):
            host.call(upgrades.done, directory, before)
            return
        proven(host, settings, name, before)
    details = [described(each) for each in host.call(upgrades.done, directory, before)]
    if to:
        details.append("it stays so until ./fab -H … upgrade, or until .env names another image")
    summary = "proven; what ran before ends once its requests are done"
    report.step(name, lambda: Outcome(summary, details=details), host.option)


def proven(host: Host, settings: Settings, name: str, before: dict[str, Image]) -> None:
    """Push and pull an image. Raises StepError where that fails, after what ran before serves again."""
    try:
        push_test.prove(host, settings, source="host")
    except ExpectedError as error:
        back = host.call(upgrades.undo, settings.deploy_dir, before)
        error.add(f"so {', '.join(back) or 'all'} went back to what ran before {name}")
        raise


def described(change: upgrades.Change) -> str:
    """Which image took the place of which."""
    before, after = change["before"], change["after"]
    return f"{change['service']:<9}{before['named']} {short(before['id'])} -> {after['named']} {short(after['id'])}"


def short(identity: str) -> str:
    """Twelve digits of an image's ID, as docker shows them."""
    return identity.partition(":")[2][:DIGITS]
