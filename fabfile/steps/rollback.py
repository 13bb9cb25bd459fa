"""`rollback`: the images that ran before the last change."""

from __future__ import annotations

from ..errors import StepError
from ..machine import lock
from ..machine.host import Host, require_deployed
from ..settings import Settings
from ..stack.onhost import upgrades
from .upgrade import carry_out


def rollback(host: Host, settings: Settings, *, patience: float = 600.0) -> None:
    """Let every service run the image that it ran before the one that it runs, as `upgrade` does it, with proof.

    It stays so at the next `up`, until `upgrade`, or until .env names another image. patience: see upgrade.
    Raises StepError where nothing is written down, or an image is gone.
    """
    require_deployed(host, settings.deploy_dir)
    with lock.exclusive(host, settings, "rollback"):
        before = host.call(upgrades.running, settings.deploy_dir)
        earlier = host.call(upgrades.earlier, settings.deploy_dir)
        if not earlier:
            raise StepError(
                f"{host.name}: there is nothing to go back to: no upgrade of an image that runs is written down",
                "name the image that you want in .env, then ./fab -H … upgrade",
            )
        here = host.call(upgrades.here, [each["id"] for each in earlier.values()])
        for name, each in earlier.items():
            if each["id"] not in here:
                pulled = f"docker pull {each['digests'][0]} on the server" if each["digests"] else "ship it once more"
                raise StepError(f"{host.name}: the image that {name} ran before is gone: {each['named']}", pulled)
        carry_out(host, settings, "rollback", {name: each["id"] for name, each in earlier.items()}, before, patience)
