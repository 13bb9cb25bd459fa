"""What can be wrong with the images, as people tell it."""

from __future__ import annotations

from collections.abc import Sequence

from ..machine.symptom import Rows, Symptom, Wrong
from ..text import counted
from .onhost.health import Health, Lost

# So many are named.
NAMED = 5

BY_ROW: tuple[Symptom[Rows], ...] = ()


def _listed(texts: Sequence[str]) -> str:
    return "; ".join(texts[:NAMED]) + (f"; and {len(texts) - NAMED} more" if len(texts) > NAMED else "")


def _lost(lost: Sequence[Lost], what: str) -> str:
    images = sorted({image for each in lost for image in each["images"]})
    return f"{counted(len(lost), what)} of {_listed(images)}: " + _listed(
        [f"{each['digest']} ({each['what']})" for each in lost]
    )


def _torn(facts: Health) -> Wrong | None:
    return Wrong(_listed(facts["torn"])) if facts["torn"] else None


def _layers(facts: Health) -> Wrong | None:
    return Wrong(_lost(facts["lost"], "layer")) if facts["lost"] else None


def _children(facts: Health) -> Wrong | None:
    return Wrong(_lost(facts["children"], "part")) if facts["children"] else None


SYMPTOMS: tuple[Symptom[Health], ...] = (
    Symptom(
        "missing-layer",
        "a pull says `retrying` on some layers, for ever, or `unexpected EOF`",
        "a layer of the image is not in the store any more, or not all of it",
        "push that image again; or, from a copy: ./fab -H … restore --from COPIES --only REPOSITORY:TAG",
        _layers,
    ),
)
