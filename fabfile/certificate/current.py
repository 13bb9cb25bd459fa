"""The certificate that is there: on disk, served, and whether it is the one that the settings want."""

from __future__ import annotations

import time
from typing import TypedDict

from .. import layout
from ..errors import StepError
from ..machine.host import Host
from ..machine.remote_call import Call
from ..report import Outcome
from ..settings import Settings
from ..stack import nginx
from ..stack.onhost import lineage
from ..stack.onhost.lineage import Broken, Facts, OnDisk
from .onhost import half_made


def why_order(have: OnDisk | Broken, settings: Settings) -> str:
    """Why the certificate on disk is not the one that the settings want; '' when it is."""
    if "broken" in have:
        return "this one cannot be read"
    if other := other_order(have, settings):
        return other
    return "" if have["not_after"] > time.time() else "this one has expired"


def other_order(have: OnDisk | Broken, settings: Settings) -> str:
    """Whether it is of another authority, or for other names, than the settings say: and which."""
    if have["server"] != settings.acme_directory:
        return f"this one is from {have['server'] or 'nobody that certbot knows'}"
    names = [] if "broken" in have else have["names"]
    right = set(names) == set(settings.certificate_names)
    return "" if right else f"this one is for {', '.join(names)}"


class Both(TypedDict):
    """The certificate that we have and the one that clients get."""

    on_disk: OnDisk | Broken | None
    served: Facts | None


def looks_at_both(settings: Settings) -> list[Call]:
    """What `both` asks of the server, for Host.foresee."""
    return [(lineage.served, (settings.registry_domain,), {}), (lineage.on_disk, files_of(settings), {})]


def both(host: Host, settings: Settings) -> Both:
    """Look at both. Changes nothing."""
    try:
        served = host.call(lineage.served, settings.registry_domain)
    except StepError:
        served = None
    return {"on_disk": on_disk(host, settings), "served": served}


def on_disk(host: Host, settings: Settings) -> OnDisk | Broken | None:
    """The newest certificate on the server, None when there is none: see lineage.on_disk."""
    return host.call(lineage.on_disk, *files_of(settings))


def looks(settings: Settings) -> list[Call]:
    """What `on_disk` and `serve` ask of the server, for Host.foresee."""
    return [*looks_at_both(settings), *nginx.looks(settings)]


def files_of(settings: Settings) -> tuple[str, str]:
    """The directory of the certificate and the file of its renewal, as lineage.on_disk wants them."""
    renewal = f"{certbot_conf(settings)}/renewal/{settings.registry_domain}.conf"
    return settings.lineage, "" if settings.tls_certificate else renewal


def certbot_conf(settings: Settings) -> str:
    """certbot's directory of certificates and accounts on the server."""
    return f"{settings.deploy_dir}/{layout.CERTIFICATES}"


def made_whole(host: Host, settings: Settings) -> list[str]:
    """Put right what a full disk left half made in certbot's directory, where nothing is lost by that; see
    half_made.tidied. Returns lines for people. Raises as `require_whole` where somebody has to look.
    """
    place = (settings.deploy_dir, settings.registry_domain)
    done = host.call(half_made.tidied, *place) if host.call(half_made.untidy, *place) else ""
    require_whole(host, settings)
    return [f"repaired {done}"] if done else []


def require_whole(host: Host, settings: Settings) -> None:
    """Refuse to order into a damaged certbot directory: certbot would put it under another name."""
    conf, name = certbot_conf(settings), settings.registry_domain
    if problem := host.call(lineage.damage, conf, name):
        raise StepError(
            f"{host.name}: nothing was ordered: {problem}",
            f"on the server: mkdir {conf}/old, and move live/{name}, archive/{name} and renewal/{name}.conf "
            "there, as far as they exist; then run this again",
        )


def serve(host: Host, settings: Settings, have: OnDisk | Broken | None) -> tuple[Outcome, OnDisk]:
    """Have nginx load it, then look as a client does. Returns what was done, and what is served.

    Raises StepError when clients get another one; then nginx runs again what it ran before.
    """
    if not have or "broken" in have:
        # The last good one goes on; this raises with what is wrong with the newest.
        nginx.activate(host, settings)
        raise StepError(
            f"{host.name}: there is no usable certificate on disk",
            "./fab -H … init-letsencrypt --force",
        )
    if nginx.settled(host, settings):
        served = host.call(lineage.served, settings.registry_domain)
        if served["serial"] == have["serial"]:
            return Outcome("", changed=False), have
    activated = nginx.activate(host, settings)
    served = host.call(lineage.await_served, settings.registry_domain, have["serial"])
    if served["serial"] == have["serial"]:
        return activated, have
    back = activated.changed and nginx.restore(host, settings)
    raise StepError(
        f"{host.name}: serial {have['serial']} is on disk, but {served['serial']} is served"
        + ("; nginx runs again what it ran before" if back else ""),
        "./fab -H … logs shows what nginx said; ./fab -H … up tries again",
    )
