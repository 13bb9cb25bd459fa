"""`init-letsencrypt`: the certificate, ordered where it has to be, and served."""

from __future__ import annotations

from ..authority import ACME_SERVERS
from ..certificate import current, orders
from ..certificate.lifetime import described
from ..certificate.onhost import certbot
from ..errors import StepError
from ..layout import CERTBOT_CONTAINER
from ..machine.host import Host, deployed, require_deployed
from ..machine.remote_call import Call
from ..report import Outcome
from ..settings import Settings
from ..stack.onhost.lineage import Broken, OnDisk


def looks(settings: Settings) -> list[Call]:
    """What `init-letsencrypt` asks of a server where there is nothing to order, for Host.foresee."""
    return [
        deployed(settings.deploy_dir),
        (certbot.busy, (CERTBOT_CONTAINER,), {}),
        *current.looks(settings),
        orders.look(settings),
    ]


def init_letsencrypt(host: Host, settings: Settings, *, force: bool = False) -> Outcome:
    """See to it that the server has and serves a certificate as the settings want it.

    A new one is ordered when there is none, when it came from another ACME server or when it carries
    other names; `force` orders one in any case. What works stays in place until the new one is there.
    With a certificate of your own nothing is ordered. Raises StepError as orders.order does.
    """
    host.foresee(looks(settings))
    require_deployed(host, settings.deploy_dir)
    if settings.tls_certificate:
        return _own(host, settings)
    # One that a cut connection left at work may be about to bring what we would order.
    if host.call(certbot.busy, CERTBOT_CONTAINER):
        host.call(certbot.wait, CERTBOT_CONTAINER)
    have = current.on_disk(host, settings)
    details = _warning(settings)
    wanted = force or not have or bool(current.why_order(have, settings))
    if wanted:
        _refuse_downgrade(have, settings, force)
        first = not have or bool(current.other_order(have, settings))
        host.foresee(orders.before(settings))
        if repaired := current.made_whole(host, settings):
            details = [*repaired, *details]
            have = current.on_disk(host, settings)
            wanted = force or not have or bool(current.why_order(have, settings))
    if wanted:
        details = [*orders.order(host, settings, have=have, first=first, force=force), *details]
        host.foresee(current.looks(settings))
        have = current.on_disk(host, settings)
        summary = "ordered"
    else:
        summary = "nothing to order"
        if not orders.remembered(host, settings)["learned"]:
            orders.learn(host, settings)
    activated, served = current.serve(host, settings, have)
    return Outcome(f"{summary}, {described(served)}", activated.changed or wanted, details)


def _own(host: Host, settings: Settings) -> Outcome:
    have = current.on_disk(host, settings)
    activated, served = current.serve(host, settings, have)
    return Outcome(f"your own certificate, {described(served)}", activated.changed)


def _warning(settings: Settings) -> list[str]:
    if settings.acme_server != "staging":
        return []
    return [
        "this certificate is from staging, for trying things out: no client trusts it",
        "  -> set ACME_SERVER=production in .env, then ./fab -H … sync up init-letsencrypt",
    ]


def _refuse_downgrade(have: OnDisk | Broken | None, settings: Settings, force: bool) -> None:
    theirs = (have and have["server"]) or ACME_SERVERS["staging"]
    if settings.acme_server == "staging" and theirs != ACME_SERVERS["staging"] and not force:
        raise StepError(
            f"the certificate in use is from {theirs}; one from staging would lock every client out",
            "set ACME_SERVER in .env to what it was, or add --force if that is what you want",
        )
