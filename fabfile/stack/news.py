"""What is newer than what the server runs: behind the names of its images, and by the list that this tool carries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from .. import report
from ..errors import addressed
from ..machine.host import Host, require_deployed
from ..settings import Settings
from .onhost import held as held_back
from .onhost import source, upgrades
from .onhost.upgrades import Image

RELEASES = Path(__file__).with_name("releases.json")


class News(TypedDict):
    """Of an image. version: '' where it does not say. newer: what is, or why nobody knows (known), or ''.

    fixes: version -> the holes that it closes. held: whether the image of before runs in its place.
    """

    service: str
    image: str
    version: str
    known: bool
    newer: str
    fixes: dict[str, list[str]]
    held: bool


def news(host: Host, settings: Settings) -> list[News]:
    """Ask the server, and have it ask the image registries. Changes nothing."""
    directory = settings.deploy_dir
    require_deployed(host, directory)
    host.foresee([(upgrades.running, (directory,), {}), (upgrades.versions, (directory,), {}),
                  (held_back.instead, (directory,), {}),
                  (source.newest, (sorted(set(settings.stack_images.values())),), {})])  # fmt: skip
    running, versions = host.call(upgrades.running, directory), host.call(upgrades.versions, directory)
    held = host.call(held_back.instead, directory)
    there = host.call(source.newest, sorted(set(settings.stack_images.values())))
    return [
        _news(service, name, running.get(service), versions.get(service, []), there[name], service in held)
        for service, name in settings.stack_images.items()
    ]


def _news(  # noqa: PLR0913, PLR0917 - an image is that much
    service: str, name: str, runs: Image | None, numbers: Sequence[int], there: str, held: bool
) -> News:
    known = source.DIGEST.fullmatch(there) is not None
    ours = [digest.rpartition("@")[2] for digest in runs["digests"]] if runs else []
    newer = ""
    if not known:
        newer = there
    elif "@" not in name and runs and not ours:
        newer = f"{name} is {there[:19]} now; what runs was shipped or built and has no digest, so compare it yourself"
    elif "@" not in name and there not in ours:
        newer = f"{name} is {there[:19]} now"
    elif "@" in name and there != name.rpartition("@")[2]:
        newer = f"{name.partition('@')[0]} is {there[:19]} now, and .env is pinned to another"
    version = ".".join(map(str, numbers))
    return {"service": service, "image": name, "version": version, "known": known, "newer": newer,
            "fixes": missing(releases(), service, numbers), "held": held}  # fmt: skip


def releases() -> dict[str, Any]:
    """The list that this version of the tool carries."""
    found: dict[str, Any] = json.loads(RELEASES.read_text("utf-8"))
    return found


def missing(known: Mapping[str, Any], service: str, numbers: Sequence[int]) -> dict[str, list[str]]:
    """Version -> holes that it closes, of those that come after the one of these numbers; {} where that is unknown."""
    if not numbers or service not in known:
        return {}
    fixes: dict[str, list[str]] = known[service]["fixes"]
    return {version: holes for version, holes in fixes.items() if [int(n) for n in version.split(".")] > list(numbers)}


def show(found: Sequence[News], *, as_json: bool, option: str | None = None) -> None:
    """Print it. option: see errors.addressed."""
    if as_json:
        print(json.dumps(found, indent=2))
        return
    rows = [(mark, each["service"], addressed(text, option)) for each in found for mark, text in lines(each)]
    report.table(("", "image", ""), rows)


def lines(each: News) -> list[tuple[str, str]]:
    """Mark and text of each line about an image."""
    what = " ".join(filter(None, (each["image"], each["version"] and f"(version {each['version']})")))
    setting = f"{each['service'].upper()}_IMAGE"
    rows = []
    if each["held"]:
        rows.append(
            ("warn", f"runs the image of before instead of {each['image']}: ./fab -H … upgrade tries that again")
        )
    if not each["known"]:
        rows.append(("warn", f"{what}: could not ask whether there is a newer one: {each['newer']}"))
    elif each["newer"]:
        pinned = f"take @sha256:… out of {setting} in .env, then " if "@" in each["image"] else ""
        rows.append(("warn", f"{what}: {each['newer']}: {pinned}./fab -H … upgrade"))
    else:
        rows.append(("ok", f"{what}: the newest of its name"))
    if each["fixes"]:
        holes = sum(map(len, each["fixes"].values()))
        rows.append((
            "warn",
            f"{list(each['fixes'])[-1]} closes {holes} holes that version {each['version']} has, as of "
            f"{releases()['as of']}; name it as {setting} in .env, then ./fab -H … upgrade: "
            f"{', '.join(h for some in each['fixes'].values() for h in some)} "
            "(a distribution may have closed them in its own package)",
        ))  # fmt: skip
    return rows
