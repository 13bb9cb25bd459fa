"""What can be wrong with what the registry serves, and with who stands in front of it: as people tell it."""

from __future__ import annotations

from ..machine.symptom import Rows, Symptom, Wrong, row
from .onhost.between import Between

BY_ROW: tuple[Symptom[Rows], ...] = (
    Symptom(
        "old-images",
        "`unrecognized manifest schema version 1`: old images are gone after the upgrade to version 3",
        "images of before 2017, which version 3 of the registry does not serve",
        "REGISTRY_IMAGE=registry:2.8.3 in .env, then ./fab -H … sync up",
        row("old images"),
    ),
)


def _between(facts: Between) -> Wrong | None:
    if not facts["who"]:
        return None
    return Wrong(f"{facts['name']} is answered by {facts['who']} ({facts['said']}), and not by this server itself")


SYMPTOMS: tuple[Symptom[Between], ...] = (
    Symptom(
        "proxy-between",
        "a push ends with `413 Request Entity Too Large`, or retries for ever: large layers only",
        "a CDN or another proxy stands in front, and takes no large requests",
        "at your DNS provider: let the name lead to this server itself (at Cloudflare: DNS only, the grey cloud)",
        _between,
    ),
)
