"""`renew`: the certificate stays good, and clients get the one that is on disk."""

from __future__ import annotations

import contextlib

from ..certificate import certbot, current, lifetime, orders
from ..certificate.lifetime import described
from ..certificate.onhost import half_made
from ..errors import StepError, UsageError
from ..layout import RENEW_LOG
from ..machine.host import Host, deployed, require_deployed
from ..machine.remote_call import Call
from ..report import Outcome
from ..settings import Settings
from ..stack import nginx
from ..stack.onhost import lineage

OWN = "get a new one from your authority, put it where TLS_CERTIFICATE and TLS_KEY say, then ./fab -H … sync up"
RENEW = f"./fab -H … check, then ./fab -H … renew; {RENEW_LOG} on the server says what cron did"


def looks(settings: Settings) -> list[Call]:
    """What `renew` asks of the server before certbot, for Host.foresee."""
    name = settings.registry_domain
    whole: Call = (lineage.damage, (current.certbot_conf(settings), name), {})
    half: Call = (half_made.untidy, (settings.deploy_dir, name), {})
    return [deployed(settings.deploy_dir), *current.looks(settings), whole, half, orders.look(settings)]


def renew(host: Host, settings: Settings, *, dry_run: bool = False) -> Outcome:
    """Renew the certificate where it is due, have nginx load it, and look at what is served.

    Raises StepError unless in the end the certificate on disk is the one that clients get, with at
    least a fifth of its lifetime left.
    """
    if dry_run and settings.answers_alike and certbot.rehearsed_renewal_server(settings) != settings.acme_directory:
        raise UsageError(
            "several servers answer for one account, and a rehearsal at Let's Encrypt's test service has another one",
            "./fab -H … status shows what is left of the lifetime; docs/fleet.md, Certificates",
        )
    host.foresee(looks(settings))
    require_deployed(host, settings.deploy_dir)
    before = current.on_disk(host, settings)
    half = not settings.tls_certificate and host.call(half_made.untidy, settings.deploy_dir, settings.registry_domain)
    if not before and not half:
        raise StepError(f"{host.name}: there is no certificate to renew", "./fab -H … init-letsencrypt")
    if settings.tls_certificate and dry_run:
        return Outcome("your own certificate: there is nothing to rehearse", changed=False)
    waiting, lines = "", list[str]()
    if not settings.tls_certificate:
        try:
            waiting, lines = _asked(host, settings, before, dry_run=dry_run)
        except StepError:
            # What certbot brought earlier shall be served all the same.
            if not dry_run:
                with contextlib.suppress(StepError):
                    nginx.activate(host, settings)
            raise
    if dry_run:
        return Outcome("rehearsed: a renewal would succeed", changed=False, details=lines)
    host.foresee(current.looks(settings))
    after = current.on_disk(host, settings)
    activated, served = current.serve(host, settings, after)
    done = "nothing due; nginx now serves what was on disk" if activated.changed else ""
    if not before or "broken" in before or served["serial"] != before["serial"]:
        done = "renewed and served"
    details = lines + _warned(host, settings, served, waiting)
    return Outcome(f"{done or 'nothing due'}, {described(served)}", bool(done), details)


def _asked(
    host: Host, settings: Settings, have: lineage.OnDisk | lineage.Broken | None, *, dry_run: bool
) -> tuple[str, list[str]]:
    """Let certbot renew what is due, or order anew what is broken: no renewal would ever come for it.

    Returns why it was not asked, '' when it was, and lines for people. Raises as orders.order.
    """
    if dry_run:
        current.require_whole(host, settings)
        return orders.renewal(host, settings, due=True, dry_run=True)
    repaired = current.made_whole(host, settings)
    if repaired:
        have = current.on_disk(host, settings)
    if not have or "broken" in have:
        return "", repaired + orders.order(host, settings, have=have, first=False)
    waiting, lines = orders.renewal(host, settings, due=lifetime.due(have))
    return waiting, repaired + lines


def _warned(host: Host, settings: Settings, served: lineage.OnDisk, waiting: str) -> list[str]:
    """Lines about what is left of the lifetime. Raises StepError when that is less than a fifth."""
    mark, problem = lifetime.judged(served)
    remedy = OWN if settings.tls_certificate else RENEW
    if mark == "failed":
        because = f"; {waiting}" if waiting else ""
        reason = orders.FAILED if waiting else ""
        raise StepError(f"{host.name}: {described(served)}: {problem}{because}", remedy, reason=reason)
    lines = [f"warn     {problem}: {remedy}"] if problem else []
    return lines + ([f"warn     nothing was asked: {waiting}"] if waiting else [])
