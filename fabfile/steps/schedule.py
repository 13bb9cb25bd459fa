"""`schedule`: cron on the server, which runs `inv renew`."""

from __future__ import annotations

from ..certificate import cron
from ..errors import StepError
from ..layout import CRON_FILE, CRON_SCRIPT
from ..machine.host import Host, deployed, require_deployed
from ..machine.onhost.atomic import exists
from ..machine.remote_call import Call
from ..report import Outcome
from ..settings import Settings


def looks(settings: Settings) -> list[Call]:
    """What `schedule` asks of the server, for Host.foresee."""
    script: Call = (exists, (f"{settings.deploy_dir}/{CRON_SCRIPT}",), {})
    return [deployed(settings.deploy_dir), script, cron.look(settings)]


def schedule(host: Host, settings: Settings) -> Outcome:
    """Have cron on the server run `inv renew` in DEPLOY_DIR. Nobody's own crontab is touched."""
    host.foresee(looks(settings))
    require_deployed(host, settings.deploy_dir)
    if not host.call(exists, f"{settings.deploy_dir}/{CRON_SCRIPT}"):
        raise StepError(f"{host.name}: what cron would run is not there", "./fab -H … sync up, then this again")
    done = cron.installed(host, settings)
    if done["changed"]:
        done = cron.install(host, settings)
    if not done["daemon"]:
        raise StepError(
            f"{host.name}: {CRON_FILE} is in place, but no cron daemon runs",
            "apt-get install cron && service cron start",
        )
    return Outcome(f"{CRON_FILE}: {cron.schedule(settings)}", changed=done["changed"])
