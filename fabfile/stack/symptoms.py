"""What can be wrong with the containers, as people tell it."""

from __future__ import annotations

from ..layout import PROJECT, Service
from ..machine.symptom import Rows, Symptom, Wrong, row
from .onhost.health import Health

BY_ROW: tuple[Symptom[Rows], ...] = (
    Symptom(
        "container-down",
        "`connection refused`, `502`, `503`; `docker login` fails for everybody",
        "a container of the registry does not run, or does not answer",
        "./fab -H … up; ./fab -H … logs shows why it ended",
        row(*Service.SERVING),
    ),
)


def _other_secret(facts: Health) -> Wrong | None:
    if not facts["other_secret"]:
        return None
    return Wrong(f"{', '.join(facts['other_secret'])} runs with another http.secret than the one on disk: an upload "
                 "that is begun now cannot be ended after the next start")  # fmt: skip


def _strangers(facts: Health) -> Wrong | None:
    if not (names := facts["strangers"]):
        return None
    return Wrong(f"the images are mounted by {', '.join(names)}, too", f"on the server: docker stop {' '.join(names)}")


SYMPTOMS: tuple[Symptom[Health], ...] = (
    Symptom(
        "other-secret",
        "a push ends with `blob upload invalid` or `blob upload unknown`, at its very end",
        "`http.secret` was changed, and the registry that runs has the old one",
        f"on the server: docker restart {PROJECT}-{Service.REGISTRY}-1",
        _other_secret,
    ),
    Symptom(
        "second-registry",
        "`blob upload unknown`, or images that come and go",
        "another registry works on the same images, with another `http.secret` and rules of its own",
        "on the server: docker stop NAME",
        _strangers,
    ),
)
