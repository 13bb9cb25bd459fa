"""Before anything is asked of the ACME server: would it see our answer? Costs no rate limit."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .. import layout
from ..errors import StepError
from ..machine.host import Host, here
from ..machine.remote_call import Call
from ..settings import Settings
from ..stack.onhost.containers import nginx_container
from .onhost import acme, acme_accounts, caa, probe, thumbprint, way_out

# Let's Encrypt's name in CAA records (https://letsencrypt.org/docs/caa/).
LETS_ENCRYPT = "letsencrypt.org"
REMEDY = "./fab -H … bootstrap registers one, and hands it to all servers"


@dataclass(frozen=True)
class Findings:
    """problems: why an order would fail, a line each. unseen: addresses of the server at which it
    could not see itself. remedy: of the problems, where it is not what the caller would say.
    """

    problems: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    remedy: str = ""


def look(host: Host, settings: Settings, offered: acme.Offer, known_unseen: list[str]) -> Findings:
    """The profile, CAA records, and for http-01 a file fetched over port 80 by each address.

    The file is fetched from the server, and from the operator's machine too where that is another one
    and knows the names: a firewall of the provider shows only from outside. known_unseen: addresses
    at which an order went well although the server does not see itself (a router in between).
    """
    if wrong := acme.wrong_clock(offered["ahead"], urlsplit(settings.acme_directory).netloc):
        return Findings([wrong], remedy=acme.SET_CLOCK)
    if closed := host.call(way_out.closed, settings.acme_directory):
        return Findings([closed], remedy=way_out.REMEDY)
    problems = _profile(settings, offered) + _binding(host, settings, offered)
    if offered["identities"]:
        problems += host.call(
            caa.forbidden, list(settings.certificate_names), offered["identities"], settings.acme_challenge
        )
    if settings.acme_challenge == "dns-01":
        return Findings(problems)
    if not host.call(nginx_container):
        raise StepError(f"{host.name}: nothing was ordered: nginx does not run", "./fab -H … up")
    seen = fetch(host, settings)
    inside, outside = seen.inside, seen.outside
    problems += [f"{name} has no address in DNS" for name in inside["nameless"]]
    problems += [f"{name}: no DNS server says anything of it" for name in inside["unanswered"]]
    problems += [
        why
        for address, why in inside["wrong"].items()
        if address not in outside["right"] and address not in known_unseen
    ]
    # What the operator's own DNS says of other addresses, and where there is no way to them, is
    # nobody else's business.
    problems += [
        f"from your machine: {why}"
        for address, why in outside["wrong"].items()
        if address in inside["right"] and address not in outside["unreachable"]
    ]
    return Findings(problems, sorted(inside["wrong"]))


@dataclass(frozen=True)
class Seen:
    """The results of onhost.probe.fetch: from the server, and from the operator's machine."""

    inside: probe.Seen
    outside: probe.Seen


def fetch(host: Host, settings: Settings) -> Seen:
    """Put a random file on the server and fetch it over port 80; take it away again.

    Several servers answer for each other, so there a random token must come back from each of them with the thumbprint
    of the account, and no file is needed.
    """
    webroot, names = f"{settings.deploy_dir}/{layout.WEBROOT}", list(settings.hosts)
    nothing: probe.Seen = {"nameless": [], "unanswered": [], "wrong": {}, "right": [], "unreachable": []}
    if settings.answers_alike:
        place = (settings.deploy_dir, settings.acme_directory, settings.registry_domain)
        if not (mark := host.call(thumbprint.of, *place)):
            raise StepError(f"{host.name}: nothing was ordered: it has no account at the authority", REMEDY)
        token = f"probe-{secrets.token_hex(16)}"
        asked = (names, token, 80, f"{token}.{mark}")
        return Seen(host.call(probe.fetch, *asked), nothing if host.local else here().call(probe.fetch, *asked))
    token = host.call(probe.place, webroot)
    try:
        outside = nothing if host.local else here().call(probe.fetch, names, token)
        return Seen(host.call(probe.fetch, names, token), outside)
    finally:
        host.call(probe.remove, webroot, token)


def offer(host: Host, settings: Settings) -> acme.Offer:
    """What the ACME server offers, or why it offers nothing."""
    # `look` wants to know the second.
    way: Call = (way_out.closed, (settings.acme_directory,), {})
    host.foresee([(acme.directory, (settings.acme_directory, settings.acme_bundle_on_host), {}), way])
    offered = host.call(acme.directory, settings.acme_directory, settings.acme_bundle_on_host)
    if not offered["refused"] and settings.acme_server in ("production", "staging"):
        offered["identities"] = [LETS_ENCRYPT]
    return offered


def _binding(host: Host, settings: Settings, offered: acme.Offer) -> list[str]:
    """An authority that makes no account without a key. One that we have already goes on."""
    if not offered["bound"] or settings.acme_eab_kid:
        return []
    if host.call(acme_accounts.known, f"{settings.deploy_dir}/{layout.CERTIFICATES}", settings.acme_directory):
        return []
    server = urlsplit(settings.acme_directory).netloc
    return [
        f"the ACME server {server} makes no account without a key: set ACME_EAB_KID and ACME_EAB_HMAC_FILE, then sync"
    ]


def _profile(settings: Settings, offered: acme.Offer) -> list[str]:
    if settings.acme_profile in ("", *offered["profiles"]):
        return []
    server = urlsplit(settings.acme_directory).netloc
    known = ", ".join(offered["profiles"]) or "none"
    return [f"ACME_PROFILE={settings.acme_profile}: the ACME server {server} offers {known}"]
