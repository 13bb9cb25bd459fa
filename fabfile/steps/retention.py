"""`retention`: which tags the rules of deploy/retention.ini keep, and which go."""

from __future__ import annotations

from .. import report
from ..errors import StepError
from ..machine.host import Host, require_deployed
from ..report import Outcome
from ..settings import Settings
from ..store import page, quota
from ..store.onhost import retention as onhost
from ..store.words import SHORT, ago
from ..text import counted, one_line


def retention(
    host: Host, settings: Settings, *, yes: bool = False, really: bool = False, every: bool = False
) -> Outcome:
    """Show what would go, with the reason for each tag; with a yes, remove it: `images --undo` brings it back.

    really: also where a repository would lose its last tag, or more than half of its tags. every: show what stays, too.
    Raises StepError where there is no file on the server, a mistake in it, or something that wants `really`.
    """
    require_deployed(host, settings.deploy_dir)
    found = host.call(onhost.retention, settings.deploy_dir, dry=not yes, all_of_it=really)
    _show(found, every=every)
    if yes:
        quota.look(host, settings)
        page.look(host, settings)
    going = sum(not stays for _, _, stays, _ in found["tags"])
    if found["held"] and yes:
        raise StepError(
            f"{host.name}: nothing was removed, as this may be a mistake in the rules: {_held(found['held'])}",
            "./fab -H … retention --yes --yes-really, if it is right",
        )
    if yes:
        words = f"{counted(found['removed'], 'tag')} removed; images --undo brings them back, gc frees what they had"
        return Outcome(words if found["removed"] else "nothing to remove", bool(found["removed"]))
    details = [f"{one_line(name)}: {why}: wants --yes-really" for name, why in found["held"].items()]
    words = f", and {len(found['images'])} manifests with gc" if found["images"] else ""
    return Outcome(f"{going} of {len(found['tags'])} tags would go{words}", changed=False, details=details)


def _show(found: onhost.Judged, *, every: bool) -> None:
    rows = [
        (f"{name}:{tag}", "stays" if stays else "goes", why)
        for name, tag, stays, why in found["tags"]
        if every or not stays
    ]
    rows += [
        (f"{name}@{digest[:SHORT]}", "goes", f"with gc: no tag, unused {ago(seen)}")
        for name, digest, seen in found["images"]
    ]
    if rows:
        report.table(("tag", "", "why"), rows)
    for pattern in found["unmatched"]:
        report.line("warn", "retention", f"[{pattern}] matches no repository", 0.0)
    for name in found["left"]:
        report.line("warn", "retention", f"{one_line(name)} is left as it is: not all of it can be read", 0.0)
    for text in quota.lines(found["quotas"]):
        print(f"quota of {text}")


def _held(held: dict[str, str]) -> str:
    return ", ".join(f"{one_line(name)} ({why})" for name, why in held.items())
