"""`renew`: the certificate stays good, and clients get the one that is on disk."""

from __future__ import annotations

import contextlib

from ..certificate import current, lifetime, orders
from ..certificate.lifetime import described
from ..errors import StepError
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
    whole: Call = (lineage.damage, (current.certbot_conf(settings), settings.registry_domain), {})
    return [deployed(settings.deploy_dir), *current.looks(settings), whole, orders.look(settings)]


def renew(host: Host, settings: Settings, *, dry_run: bool = False) -> Outcome:
    """Renew the certificate where it is due, have nginx load it, and look at what is served.

    Raises StepError unless in the end the certificate on disk is the one that clients get, with at
    least a fifth of its lifetime left.
    """
    host.foresee(looks(settings))
    require_deployed(host, settings.deploy_dir)
    before = current.on_disk(host, settings)
    if not before:
        raise StepError(f"{host.name}: there is no certificate to renew", "./fab -H … init-letsencrypt")
    if settings.tls_certificate and dry_run:
        return Outcome("your own certificate: there is nothing to rehearse", changed=False)
    waiting = ""
    if not settings.tls_certificate:
        due = "broken" in before or lifetime.due(before)
        try:
            current.require_whole(host, settings)
            waiting = orders.renewal(host, settings, due=due, dry_run=dry_run)
        except StepError:
            # What certbot brought earlier shall be served all the same.
            if not dry_run:
                with contextlib.suppress(StepError):
                    nginx.activate(host, settings)
            raise
    if dry_run:
        return Outcome("rehearsed: a renewal would succeed", changed=False)
    host.foresee(current.looks(settings))
    after = current.on_disk(host, settings)
    activated, served = current.serve(host, settings, after)
    done = "nothing due; nginx now serves what was on disk" if activated.changed else ""
    if "broken" in before or served["serial"] != before["serial"]:
        done = "renewed and served"
    details = _warned(host, settings, served, waiting)
    return Outcome(f"{done or 'nothing due'}, {described(served)}", bool(done), details)


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
