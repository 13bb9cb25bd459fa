"""What can be wrong with copies, and what only they can mend: as people tell it."""

from __future__ import annotations

from ..machine.symptom import Rows, Symptom, Wrong, row
from ..store.symptoms import lost
from .onhost.rot import Rot

BY_ROW: tuple[Symptom[Rows], ...] = (
    Symptom(
        "backup",
        "there is no copy of today, or nobody knows whether one can be used",
        "the copy that cron makes failed, is late, or was not tried by a drill for a month",
        "on the server, in DEPLOY_DIR: `./inv backup`",
        row("backup"),
    ),
)


def _rot(facts: Rot) -> Wrong | None:
    if facts["problem"]:
        return Wrong(f"not all could be read: {facts['problem']}", "on the server: dmesg")
    return Wrong(lost(facts["rotten"], "layer")) if facts["rotten"] else None


SYMPTOMS: tuple[Symptom[Rot], ...] = (
    Symptom(
        "bit-rot",
        "`filesystem layer verification failed for digest`, `unexpected commit digest`",
        "the content of a layer has changed on the disk; only `doctor --deep` reads all of them",
        "from a copy: ./fab -H … restore --from COPIES --only REPOSITORY:TAG; without one, push that image again; "
        "and look at the disk, which fails: on the server: smartctl -a DEVICE",
        _rot,
    ),
)
