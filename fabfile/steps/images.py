"""`images`: what is in the registry."""

from __future__ import annotations

import json
import time
from typing import Any

from .. import report
from ..errors import StepError
from ..machine.host import Host, deployed, require_deployed
from ..settings import Settings
from ..store.onhost import images as onhost
from ..text import one_line

UNITS = ("B", "kB", "MB", "GB", "TB")
SHORT = 19  # `sha256:` and twelve more, as docker shows it


def listed(host: Host, settings: Settings, repository: str = "", search: str = "", *, details: bool) -> dict[str, Any]:
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


def show(found: dict[str, Any], *, as_json: bool) -> None:
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
    for text in [*found["odd"], *(f"{row['repository']}: {text}" for row in rows for text in row["broken"])]:
        report.line("warn", "images", one_line(text), 0.0)


def _show_repositories(rows: list[dict[str, Any]]) -> None:
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
    print(f"{len(rows)} repositories, {sum(row['tags'] for row in rows)} tags")


def _show_images(rows: list[dict[str, Any]]) -> None:
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


def _platforms(image: dict[str, Any]) -> str:
    words = [", ".join(dict.fromkeys(image["platforms"])) or "-"]
    if image["attestations"]:
        words.append("attested")
    if image["signatures"]:
        words.append("signed")
    return " + ".join(words)


def size(count: float) -> str:
    """A number of bytes for people: `52.4 MB`."""
    unit = 0
    while count >= 999.5 and unit < len(UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 or count >= 99.95 else f"{count:.1f} {UNITS[unit]}"


def ago(when: float) -> str:
    """How long ago, for people: `3 d`; `-` for a time that is not known."""
    if not when:
        return "-"
    seconds = max(0.0, time.time() - when)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return "now"
