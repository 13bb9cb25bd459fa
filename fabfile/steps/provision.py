"""`provision`: Docker, Compose, cron and Python on a bare server."""

from __future__ import annotations

from ..errors import StepError
from ..layout import MIN_COMPOSE
from ..machine.host import Host
from ..report import Outcome
from ..settings import Settings


def provision(host: Host, settings: Settings, *, known: bool = False) -> Outcome:
    """Install and start what is missing of Docker Engine, Compose 2, cron and Python 3.

    From the distribution's packages; where these have no Compose 2 (Debian 12), from Docker's own
    repository. known: `check` has just seen that nothing is missing. Raises StepError where that does not
    work, or for other systems than Debian, Ubuntu.
    """
    del settings  # every step has the same two parameters
    lines = [] if known else host.script("provision.sh", *map(str, MIN_COMPOSE)).splitlines()
    for line in lines:
        if line.startswith("refused "):
            raise StepError(f"{host.name}: {line.removeprefix('refused ')}", "correct that, then run this again")
    return Outcome("; ".join(lines) or "Docker, Compose, cron and Python are there", bool(lines))
