"""Before anything is asked of the ACME server: would it see our answer? Costs no rate limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from . import compose
from .host import Host, here
from .onhost import acme, caa, probe
from .settings import Settings

# Let's Encrypt's name in CAA records (https://letsencrypt.org/docs/caa/).
LETS_ENCRYPT = "letsencrypt.org"


# {"profiles": [names], "identities": [its names in CAA records]}; both may be empty.
Offer = dict[str, Any]


@dataclass(frozen=True)
class Findings:
    """problems: why an order would fail, a line each. unseen: addresses of the server at which it
    could not see itself.
    """

    problems: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)


def look(host: Host, settings: Settings, offered: Offer, known_unseen: list[str]) -> Findings:
    """The profile, CAA records, and for http-01 a file fetched over port 80 by each address.

    The file is fetched from the server, and from the operator's machine too where that is another one
    and knows the names: a firewall of the provider shows only from outside. known_unseen: addresses
    at which an order went well although the server does not see itself (a router in between).
    """
    problems = _profile(settings, offered)
    if offered["identities"]:
        problems += host.call(caa.forbidden, list(settings.names), offered["identities"])
    if settings.acme_challenge == "dns-01":
        return Findings(problems)
    host.run(
        ["sh", "-c", 'test -n "$("$@")"', "sh", *compose.running(settings, "nginx")],
        remedy="nginx does not run: ./fab -H … up",
    )
    webroot, names = f"{settings.deploy_dir}/certbot/www", list(settings.hosts)
    token = host.call(probe.place, webroot)
    try:
        inside = host.call(probe.fetch, names, token)
        outside = here().call(probe.fetch, names, token) if not host.local else None
    finally:
        host.call(probe.remove, webroot, token)
    problems += [f"{name} has no address in DNS" for name in inside["nameless"]]
    seen = set(outside["right"]) if outside else set()
    unseen = {a: why for a, why in inside["wrong"].items() if a not in seen}
    problems += [why for address, why in unseen.items() if address not in known_unseen]
    if outside:
        # What the operator's own /etc/hosts or DNS says of other addresses is nobody else's business.
        problems += [
            f"from your machine: {why}"
            for address, why in outside["wrong"].items()
            if address in inside["right"]
        ]
    return Findings(problems, sorted(inside["wrong"]))


def offer(host: Host, settings: Settings) -> Offer:
    """What the ACME server offers. Raises StepError when it does not answer."""
    offered = host.call(acme.directory, settings.acme_directory, settings.acme_bundle_on_host)
    if settings.acme_server in ("production", "staging"):
        offered["identities"] = [LETS_ENCRYPT]
    return offered


def _profile(settings: Settings, offered: Offer) -> list[str]:
    if settings.acme_profile in ("", *offered["profiles"]):
        return []
    server = urlsplit(settings.acme_directory).netloc
    known = ", ".join(offered["profiles"]) or "none"
    return [f"ACME_PROFILE={settings.acme_profile}: the ACME server {server} offers {known}"]
