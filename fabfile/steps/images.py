"""`images`: what is in the registry."""

from __future__ import annotations

import json
import sys

from .. import report
from ..errors import StepError, UsageError
from ..machine.host import Host, deployed, require_deployed
from ..report import Outcome
from ..settings import Settings
from ..store import page, quota
from ..store.onhost import images as onhost
from ..store.onhost import removal
from ..store.words import SHORT, ago, since, size
from ..text import counted, one_line


def listed(host: Host, settings: Settings, repository: str = "", search: str = "", *, details: bool) -> onhost.Listed:
    """The repositories of the server, or one with its tags: see onhost/images.py. Changes nothing.

    Raises StepError where there is none of that name.
    """
    call = (onhost.listed, (settings.deploy_dir, repository, search), {"details": details})
    host.foresee([deployed(settings.deploy_dir), call])
    require_deployed(host, settings.deploy_dir)
    found = host.call(onhost.listed, settings.deploy_dir, repository, search, details=details)
    if repository and not found["repositories"]:
        raise StepError(f"{host.name}: there is no repository {repository}", "./fab -H … images shows all")
    return found


def show(found: onhost.Listed, *, as_json: bool) -> None:
    """Print what `listed` found: its tags where it has them, else its repositories. Warns of what cannot be read."""
    if as_json:
        print(json.dumps(found, indent=2))
        return
    rows = found["repositories"]
    if not rows:
        print("no images")
    elif "images" in rows[0]:
        _show_images(rows)
    else:
        _show_repositories(rows)
    for text in quota.lines(found["quotas"]):
        print(f"quota of {text}")
    for text in [*found["odd"], *(f"{row['repository']}: {text}" for row in rows for text in row["broken"])]:
        report.line("warn", "images", one_line(text), 0.0)


def _show_repositories(rows: list[onhost.Listing]) -> None:
    header = ("repository", "tags", "untagged", "pushed", "used", "on disk", "its own")
    report.table(
        header,
        [
            (
                row["repository"],
                str(row["tags"]),
                str(row["untagged"] or "-"),
                ago(row["pushed"]),
                ago(row["used"]),
                size(row["bytes"]),
                size(row["frees"]),
            )
            for row in rows
        ],
    )
    print(f"{counted(len(rows), 'repository')}, {counted(sum(row['tags'] for row in rows), 'tag')}")


def _show_images(rows: list[onhost.Listing]) -> None:
    header = ("image", "digest", "pushed", "used", "platforms", "download", "frees")
    lines = [
        (
            f"{row['repository']}:{image['tag']}",
            image["digest"][:SHORT] or "unreadable",
            ago(image["pushed"]),
            ago(image["used"]),
            _platforms(image),
            size(image["download"]),
            size(image["frees"]),
        )
        for row in rows
        for image in row["images"]
    ]
    report.table(header, lines)
    for row in rows:
        if row["untagged"]:
            print(f"{row['repository']}: {row['untagged']} more without a tag")


def _platforms(image: onhost.Image) -> str:
    words = [", ".join(dict.fromkeys(image["platforms"])) or "-"]
    if image["attestations"]:
        words.append("attested")
    if image["signatures"]:
        words.append("signed")
    return " + ".join(words)


def named(image: str) -> tuple[str, str]:
    """Repository, and tag or digest, of `team-a/app:1.0` or `team-a/app@sha256:…`. Raises UsageError."""
    name, mark, reference = image.partition("@")
    if not mark:
        name, mark, reference = image.rpartition(":")
    if not (name and reference) or "/" in reference:
        raise UsageError(f"--delete {image}: expected REPOSITORY:TAG or REPOSITORY@sha256:…")
    return name, reference


def agreed(found: removal.Look, image: str, *, yes: bool) -> bool:
    """Show what a delete would do, and ask whether to do it. Raises UsageError where nobody can be asked."""
    name = named(image)[0]
    print(f"{image} is {found['digest'][:SHORT]}, pushed {since(found['pushed'])}, used {since(found['used'])}")
    for tag in found["tags"]:
        print(f"  goes   {name}:{tag}")
    if found["shared"]:
        print(f"  stays  the image, which is {', '.join(found['shared'])} too")
    for index in found["indexes"]:
        print(f"  stays  the image, which is a part of {index[:SHORT]}")
    if found["manifests"]:
        more = f", with {len(found['manifests']) - 1} manifests that belong to it" if found["manifests"][1:] else ""
        print(f"  goes   the image{more}: a later gc frees {size(found['frees'])}")
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("to delete it needs a yes", "add --yes")
    return report.agreed("Delete it?")


def look(host: Host, settings: Settings, image: str, *, whole: bool) -> removal.Look:
    """What `delete` would do: see onhost/removal.py. Changes nothing. Raises StepError where there is no such image."""
    name, reference = named(image)
    require_deployed(host, settings.deploy_dir)
    return host.call(removal.look, settings.deploy_dir, name, reference, whole=whole)


def delete(host: Host, settings: Settings, image: str, *, whole: bool, digest: str) -> Outcome:
    """Remove a tag; the image too, where nothing else has it. It can be undone until it is purged, a day later.

    whole: with all its tags; digest: what `look` found. Raises StepError where it is another one by now.
    """
    name, reference = named(image)
    done = host.call(removal.remove, settings.deploy_dir, name, reference, whole=whole, digest=digest)
    quota.look(host, settings)
    page.look(host, settings)
    details = [f"{name}:{tag} stays: somebody pushed it just now" for tag in done["newer"]]
    gone = len(done["tags"]) - len(done["newer"])
    words = f"{gone} tag{'s' * (gone != 1)}" + (" and the image" if done["manifests"] and not details else "")
    return Outcome(f"{words} deleted; images --undo brings it back", bool(gone or done["manifests"]), details)


def undo(host: Host, settings: Settings, run: str = "") -> Outcome:
    """Bring the last removal back, or the one of that name. Raises StepError where there is none, or not all of it."""
    require_deployed(host, settings.deploy_dir)
    done = host.call(removal.undo, settings.deploy_dir, run)
    quota.look(host, settings)
    page.look(host, settings)
    details = [f"{image} was pushed again since, and stays as it is" for image in done["newer"]]
    if done["incomplete"]:
        raise StepError(
            f"{host.name}: {', '.join(done['incomplete'])}: there again, but not complete: the layers were purged",
            "push it again",
        )
    back = [image for image in done["restored"] if "@" not in image] or done["restored"]
    return Outcome(f"{', '.join(back) or 'nothing'} is there again ({done['run']})", bool(back), details)
