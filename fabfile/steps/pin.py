"""`pin`: the images that run, with their digests, into .env."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import StepError
from ..machine.host import Host, require_deployed
from ..machine.onhost.atomic import replace
from ..report import Outcome
from ..settings import Settings, location
from ..stack.onhost import upgrades
from ..stack.onhost.upgrades import Image


def pin(host: Host, settings: Settings) -> Outcome:
    """Write name and digest of each image that the server runs into the settings' file of this machine.

    The server is not changed. Raises StepError where no image has a digest: it came by `ship`, or was built there.
    """
    require_deployed(host, settings.deploy_dir)
    found = host.call(upgrades.running, settings.deploy_dir)
    pins, without = pinned(settings, found)
    if not pins:
        raise StepError(
            f"{host.name}: no image there has a digest: they did not come from an image registry",
            "a tag of its own that you never move pins an image of your own Docker",
        )
    file = location()
    details = [f"{key}={value}" for key, value in pins.items()]
    details += [f"{key.upper()}_IMAGE stays: {found[key]['named']} has no digest there" for key in without]
    if not put(file, pins):
        return Outcome(f"{file.name} has them already", changed=False, details=details)
    return Outcome(f"wrote {len(pins)} images into {file.name}", details=details, doubtful=bool(without))


def pinned(settings: Settings, found: Mapping[str, Image]) -> tuple[dict[str, str], list[str]]:
    """Setting -> name:tag@digest, and the services whose image has no digest."""
    pins: dict[str, str] = {}
    without: list[str] = []
    for service, image in settings.stack_images.items():
        name = str(getattr(settings, f"{service}_image")).partition("@")[0]
        repository = untagged(image.partition("@")[0])
        digests = found[service]["digests"] if service in found else []
        # Docker leaves out what is its default (registry-1.docker.io, and `library` there).
        ours = [d for d in digests if repository.endswith(d.partition("@")[0]) or d.startswith(f"{repository}@")]
        if ours:
            pins[f"{service.upper()}_IMAGE"] = f"{name}@{ours[0].partition('@')[2]}"
        elif service in found:
            without.append(service)
    return pins, without


def untagged(name: str) -> str:
    """registry:3.1 -> registry; a port is no tag."""
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


def put(file: Path, values: Mapping[str, str]) -> bool:
    """Write these values into a settings' file of this machine. Returns whether it had other ones."""
    text = file.read_text("utf-8")
    after = written(text, values)
    if after != text:
        replace(file, after.encode(), file.stat().st_mode & 0o777)
    return after != text


def written(text: str, pins: Mapping[str, str]) -> str:
    """The text of a settings' file with these values: in the place of the old ones, commented out or not, else last."""
    for key, value in pins.items():
        line = f"{key}={value}"
        text, count = re.subn(rf"^{key}\s*=.*$", line, text, count=1, flags=re.M)
        if not count:
            text, count = re.subn(rf"^#{key}=.*$", line, text, count=1, flags=re.M)
        if not count:
            text = f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{line}\n"
    return text
