"""Which images the server has and runs, which it ran before, and the change from one to the other.

What took the place of what is written down: log/upgrades.json. `rollback` reads it.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import TypedDict

from ... import layout
from ...layout import PROJECT, Service
from ...machine.onhost.atomic import RefusedError, replace
from . import beside, held, nginx
from .containers import CHECK, run

# How many changes are remembered, and of how many of these the images stay here. An upgrade is up to three changes.
KEPT, NAMED = 20, 6


class Image(TypedDict):
    """That a service runs. id: of it; named: as its container has it; digests: those by which it can be pulled."""

    id: str
    named: str
    digests: list[str]


class Change(TypedDict):
    """Which image took the place of which. when: in seconds since 1970."""

    when: int
    service: str
    before: Image
    after: Image


def running(directory: str) -> dict[str, Image]:
    """Service -> the image that it runs; of certbot the one that it would. Changes nothing."""
    root = Path(directory)
    found = {name: (each["image"], each["named"]) for name, each in beside.serving(root, beside.there()).items()}
    names = {Service.CERTBOT: held.named(root).get(Service.CERTBOT, "")}
    found |= {name: (image, names[name]) for name, image in held.identities(names).items()}
    return {name: {"id": image, "named": text, "digests": _digests(image)} for name, (image, text) in found.items()}


def _digests(image: str) -> list[str]:
    ask = ["docker", "image", "inspect", "--format", "{{json .RepoDigests}}", image]
    try:
        return json.loads(run(ask, "docker image inspect", CHECK).stdout) or []
    except RefusedError:
        # Removed by force, although somebody runs it.
        return []


def pull(names: list[str]) -> dict[str, str]:
    """Fetch these images anew, as their names mean them now. Returns name -> why it could not be, for those."""
    failed: dict[str, str] = {}
    for name in dict.fromkeys(names):
        try:
            run(["docker", "pull", "--quiet", name], "docker pull", CHECK)
        except RefusedError as error:
            failed[name] = error.what
    return failed


def version(image: str) -> list[int]:
    """Which version of the registry is in an image, as itself says: [2, 8, 3]; [] where it does not say."""
    # The program has the name of the service.
    ask = ["docker", "run", "--rm", "--network", "none", "--entrypoint", Service.REGISTRY, image, "--version"]
    try:
        said = run(ask, "docker run", CHECK).stdout
    except RefusedError:
        return []
    return _numbers(said)


def versions(directory: str) -> dict[str, list[int]]:
    """Service -> the version that runs, as itself says; without those that do not say. Changes nothing."""
    found: dict[str, list[int]] = {}
    programs = {Service.REGISTRY: (Service.REGISTRY, "--version"), Service.NGINX: (Service.NGINX, "-v")}
    serving = beside.serving(Path(directory), beside.there())
    for service, argv in programs.items():
        if service in serving and serving[service]["running"]:
            ask = ["docker", "exec", serving[service]["id"], *argv]
            done = subprocess.run(ask, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
            # nginx says it on standard error.
            found[service] = _numbers(done.stdout + done.stderr)
    return {service: numbers for service, numbers in found.items() if numbers}


def coming(directory: str) -> dict[str, str]:
    """Service -> ID of the image that compose.yml means by now, where another one runs. Changes nothing."""
    root = Path(directory)
    names = {name: image for name, image in held.named(root).items() if name in Service.SERVING}
    runs = _serving(root)
    return {name: image for name, image in held.identities(names).items() if runs.get(name, image) != image}


def change(directory: str, lineage: str, to: dict[str, str], patience: float) -> nginx.Running:
    """Run what compose.yml says, but for these images; what ran before is kept, for `undo` or `done`.

    to: service -> ID of an image; {} is what compose.yml says, all of it. patience: see switch.bring_up.
    Raises RefusedError where something does not start or answer: then all is as before, and stays so at the next `up`.
    """
    root = Path(directory)
    before = _serving(root)
    if to:
        held.hold(root, to)
    else:
        held.release(root)
    try:
        return nginx.up(directory, lineage, keep_old=True, patience=patience)
    except RefusedError as error:
        nginx.back(directory)
        held.hold(root, before)
        error.add("all runs as before")
        raise


def undo(directory: str, before: dict[str, Image]) -> list[str]:
    """After a change that was no good: all runs as before, and stays so at the next `up`. Returns the services."""
    done = nginx.back(directory)
    held.hold(Path(directory), {name: each["id"] for name, each in before.items() if name in Service.SERVING})
    return done


def done(directory: str, before: dict[str, Image]) -> list[Change]:
    """After a change that was good: what ran before ends, and it is written down. Returns what was."""
    root = Path(directory)
    after = running(directory)
    changes: list[Change] = [
        {"when": int(time.time()), "service": name, "before": each, "after": after[name]}
        for name, each in before.items()
        if name in after and after[name]["id"] != each["id"]
    ]
    if changes:
        for each in changes:
            held.keep(each["service"], each["before"]["id"])
        replace(root / layout.UPGRADES, json.dumps([*history(directory), *changes][-KEPT:], indent=1).encode(), 0o644)
        _forget(root)
    nginx.finish(directory)
    return changes


def _forget(root: Path) -> None:
    """Take our names from images that nobody goes back to any more, so that Docker can remove them."""
    needed = {held.kept(each["service"], each["before"]["id"]) for each in history(str(root))[-NAMED:]}
    needed |= set(held.held(root).values())
    form = "{{.Repository}}:{{.Tag}}"
    ask = ["docker", "images", "--filter", f"reference={PROJECT}/*", "--format", form]
    for name in run(ask, "docker images", CHECK).stdout.split():
        if name not in needed:
            subprocess.run(["docker", "rmi", name], capture_output=True, stdin=subprocess.DEVNULL, check=False)


def history(directory: str) -> list[Change]:
    """What was changed, the last one last. Changes nothing."""
    try:
        found: list[Change] = json.loads((Path(directory) / layout.UPGRADES).read_text())
        return [each for each in found if each["before"]["id"] and each["after"]["id"] and each["service"]]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def earlier(directory: str) -> dict[str, Image]:
    """Service -> the image that it ran before the one that it runs. Changes nothing."""
    runs, found = running(directory), {}
    for each in history(directory):
        if (
            each["service"] in Service.SERVING
            and each["after"]["id"] == runs.get(each["service"], each["before"])["id"]
        ):
            found[each["service"]] = each["before"]
    return found


def here(images: list[str]) -> list[str]:
    """Which of these images are here."""
    return [image for image in images if held.identities({"": image})]


def _numbers(said: str) -> list[int]:
    found = re.search(r"[ /]v?(\d+)\.(\d+)\.(\d+)", said)
    return [int(number) for number in found.groups()] if found else []


def _serving(root: Path) -> dict[str, str]:
    return {name: each["image"] for name, each in beside.serving(root, beside.there()).items()}
