"""`provision`: Docker, Compose, cron, Python and rsync on a bare server."""

from __future__ import annotations

import sys

from ..errors import StepError
from ..layout import MIN_COMPOSE
from ..machine.host import Host
from ..machine.remote_call import MODULES
from ..machine.scripts import script
from ..report import Outcome
from ..settings import Settings

# For whoever else installs something: a new server's own first upgrade takes minutes.
APT_SECONDS = 300


def provision(host: Host, settings: Settings, *, known: bool = False) -> Outcome:
    """Install and start what is missing of Docker Engine, Compose 2, cron, Python 3 and rsync.

    From the distribution's packages; where these have no Compose 2 (Debian 12), from Docker's own
    repository. What it is at goes to standard error. known: `check` has just seen that nothing is missing.
    Raises StepError where that does not work, where somebody else's apt does not end within APT_SECONDS, or
    for other systems than Debian, Ubuntu.
    """
    del settings  # every step has the same two parameters
    did = [] if known else _did(host)
    return Outcome("; ".join(did) or "Docker, Compose, cron, Python and rsync are there", bool(did))


def _did(host: Host) -> list[str]:
    """Run the script and show what it is at. Returns what it has done."""
    wanted = (" ".join(MODULES), str(APT_SECONDS), *map(str, MIN_COMPOSE))
    talk = host.converse(["sh", "-c", script("provision.sh"), "sh", *wanted])
    did: list[str] = []
    refused = ""
    while line := talk.receive():
        key, _, text = line.partition(" ")
        if key == "doing":
            print(f"provision: {text}", file=sys.stderr, flush=True)
        elif key == "did":
            did.append(text)
        elif key == "refused":
            refused = text
        elif key == "remedy":
            raise StepError(f"{host.name}: {refused}", text)
        elif key == "done":
            talk.close()
            return did
    end = talk.ended()
    raise host.failed(
        end, "provision", "apt's words; on the server: apt-get update shows more; then ./fab -H … provision again"
    )
