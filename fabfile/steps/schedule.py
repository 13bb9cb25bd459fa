"""`schedule`: cron on the server, which runs `inv renew`."""

from __future__ import annotations

from ..certificate.cron import cron_files
from ..certificate.onhost.cron import CRON_FILE, install, installed
from ..errors import StepError
from ..machine.host import Host, deployed, require_deployed
from ..machine.remote_call import Call
from ..report import Outcome
from ..settings import Settings


def looks(settings: Settings) -> list[Call]:
    """What `schedule` asks of the server, for Host.foresee."""
    return [deployed(settings.deploy_dir), (installed, (list(cron_files(settings)),), {})]


def schedule(host: Host, settings: Settings) -> Outcome:
    """Have cron on the server run `inv renew` in DEPLOY_DIR. Nobody's own crontab is touched."""
    host.foresee(looks(settings))
    require_deployed(host, settings.deploy_dir)
    done = host.call(installed, list(cron_files(settings)))
    if done["changed"]:
        done = host.call(install, list(cron_files(settings)))
    if not done["daemon"]:
        raise StepError(
            f"{host.name}: {CRON_FILE} is in place, but no cron daemon runs",
            "apt-get install cron && service cron start",
        )
    return Outcome(f"{CRON_FILE}: {settings.cron_schedule}", changed=done["changed"])
