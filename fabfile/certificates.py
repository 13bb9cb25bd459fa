"""`init-letsencrypt`, `renew`, `schedule`: a certificate, and that it stays one."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from . import compose, nginx, orders, validity
from .errors import StepError
from .host import Host, require_deployed
from .onhost import certbot, certificate
from .onhost.cron import CRON_FILE, install, installed
from .report import Outcome
from .rules import ACME_SERVERS
from .settings import Settings
from .validity import described

OWN = "get a new one from your authority, put it where TLS_CERTIFICATE and TLS_KEY say, then ./fab -H … sync up"
RENEW = "./fab -H … check, then ./fab -H … renew; log/renew.log on the server says what cron did"


def init_letsencrypt(host: Host, settings: Settings, *, force: bool = False) -> Outcome:
    """See to it that the server has and serves a certificate as the settings want it.

    A new one is ordered when there is none, when it came from another ACME server or when it carries
    other names; `force` orders one in any case. What works stays in place until the new one is there.
    With a certificate of your own nothing is ordered. Raises StepError as orders.order does.
    """
    require_deployed(host, settings.deploy_dir)
    if settings.tls_certificate:
        return _own(host, settings)
    # One that a cut connection left at work may be about to bring what we would order.
    if host.call(certbot.busy, compose.CERTBOT_CONTAINER):
        host.call(certbot.wait, compose.CERTBOT_CONTAINER)
    have = on_disk(host, settings)
    details = _warning(host, settings)
    if have and not force and not why_order(have, settings):
        summary, ordered = "nothing to order, " + described(have), False
        if not orders.remembered(host, settings)["learned"]:
            orders.learn(host, settings)
    else:
        _refuse_downgrade(have, settings, force)
        first = not have or bool(_other_order(have, settings))
        _require_whole(host, settings)
        lines = orders.order(host, settings, again=bool(have), first=first, force=force)
        details = [*lines, *details]
        have = on_disk(host, settings)
        summary, ordered = "ordered, " + described(have), True
    activated = _serve(host, settings, have)
    return Outcome(summary, activated.changed or ordered, details)


def _own(host: Host, settings: Settings) -> Outcome:
    have = on_disk(host, settings)
    activated = _serve(host, settings, have)
    return Outcome(f"your own certificate, {described(have)}", activated.changed)


def why_order(have: dict[str, Any], settings: Settings) -> str:
    """Why the certificate on disk is not the one that the settings want; '' when it is."""
    if "broken" in have:
        return "this one cannot be read"
    if other := _other_order(have, settings):
        return other
    return "" if have["not_after"] > time.time() else "this one has expired"


def _other_order(have: dict[str, Any], settings: Settings) -> str:
    """Whether it is of another authority, or for other names, than the settings say: and which."""
    if have["server"] != settings.acme_directory:
        return f"this one is from {have['server'] or 'nobody that certbot knows'}"
    names = have.get("names", ())
    right = set(names) == set(settings.certificate_names)
    return "" if right else f"this one is for {', '.join(names)}"


def renew(host: Host, settings: Settings, *, dry_run: bool = False) -> Outcome:
    """Renew the certificate where it is due, have nginx load it, and look at what is served.

    Raises StepError unless in the end the certificate on disk is the one that clients get, with at
    least a fifth of its lifetime left.
    """
    require_deployed(host, settings.deploy_dir)
    before = on_disk(host, settings)
    if not before:
        raise StepError(f"{host.name}: there is no certificate to renew", "./fab -H … init-letsencrypt")
    if settings.tls_certificate and dry_run:
        return Outcome("your own certificate: there is nothing to rehearse", changed=False)
    waiting = ""
    if not settings.tls_certificate:
        due = "broken" in before or validity.due(before)
        try:
            _require_whole(host, settings)
            waiting = orders.renewal(host, settings, due=due, dry_run=dry_run)
        except StepError:
            # What certbot brought earlier shall be served all the same.
            if not dry_run:
                with contextlib.suppress(StepError):
                    nginx.activate(host, settings)
            raise
    if dry_run:
        return Outcome("rehearsed: a renewal would succeed", changed=False)
    after = on_disk(host, settings)
    activated = _serve(host, settings, after)
    done = "nothing due; nginx now serves what was on disk" if activated.changed else ""
    if after["serial"] != before.get("serial"):
        done = "renewed and served"
    details = _warned(host, settings, after, waiting)
    return Outcome(f"{done or 'nothing due'}, {described(after)}", bool(done), details)


def _warned(host: Host, settings: Settings, served: dict[str, Any], waiting: str) -> list[str]:
    """Lines about what is left of the lifetime. Raises StepError when that is less than a fifth."""
    mark, problem = validity.judged(served)
    remedy = OWN if settings.tls_certificate else RENEW
    if mark == "failed":
        because = f"; {waiting}" if waiting else ""
        raise StepError(f"{host.name}: {described(served)}: {problem}{because}", remedy)
    lines = [f"warn     {problem}: {remedy}"] if problem else []
    return lines + ([f"warn     nothing was asked: {waiting}"] if waiting else [])


def schedule(host: Host, settings: Settings) -> Outcome:
    """Have cron on the server run `inv renew` in DEPLOY_DIR. Nobody's own crontab is touched."""
    require_deployed(host, settings.deploy_dir)
    done = host.call(installed, cron_text(settings))
    if done["changed"]:
        done = host.call(install, cron_text(settings))
    if not done["daemon"]:
        raise StepError(
            f"{host.name}: {CRON_FILE} is in place, but no cron daemon runs",
            "apt-get install cron && service cron start",
        )
    return Outcome(f"{CRON_FILE}: {settings.cron_schedule}", changed=done["changed"])


def cron_text(settings: Settings) -> str:
    """The file for /etc/cron.d. Cron gives a job next to no environment, so it says what it needs."""
    log = "log/renew.log"
    return (
        "# Written by `schedule`. Renews the registry's certificate where it is due.\n"
        "SHELL=/bin/sh\n"
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        'MAILTO=""\n'
        f"{settings.cron_schedule} root cd {settings.deploy_dir} && mkdir -p log && ./inv renew --log {log} >>{log} 2>&1\n"
    )


def _warning(host: Host, settings: Settings) -> list[str]:
    if settings.acme_server != "staging":
        return []
    return [
        "this certificate is from staging, for trying things out: no client trusts it",
        f"  -> set ACME_SERVER=production in .env, then ./fab -H {host.name} sync up init-letsencrypt",
    ]


def both(host: Host, settings: Settings) -> dict[str, Any]:
    """{"on_disk", "served"}: the certificate that we have and the one that clients get; {} for none."""
    try:
        served = host.call(certificate.served, settings.registry_domain)
    except StepError:
        served = {}
    return {"on_disk": on_disk(host, settings), "served": served}


def on_disk(host: Host, settings: Settings) -> dict[str, Any]:
    """The newest certificate on the server, {} when there is none: see onhost.certificate.on_disk."""
    return host.call(certificate.on_disk, *files_of(settings))


def files_of(settings: Settings) -> tuple[str, str]:
    """The directory of the certificate and the file of its renewal, as certificate.on_disk wants them."""
    renewal = f"{settings.deploy_dir}/certbot/conf/renewal/{settings.registry_domain}.conf"
    return settings.lineage, "" if settings.tls_certificate else renewal


def _require_whole(host: Host, settings: Settings) -> None:
    """Refuse to order into a damaged certbot directory: certbot would put it under another name."""
    conf, name = f"{settings.deploy_dir}/certbot/conf", settings.registry_domain
    if problem := host.call(certificate.damage, conf, name):
        raise StepError(
            f"{host.name}: nothing was ordered: {problem}",
            f"on the server: mkdir {conf}/old, and move live/{name}, archive/{name} and renewal/{name}.conf "
            "there, as far as they exist; then run this again",
        )


def _refuse_downgrade(have: dict[str, Any], settings: Settings, force: bool) -> None:
    theirs = have.get("server") or ACME_SERVERS["staging"]
    if settings.acme_server == "staging" and theirs != ACME_SERVERS["staging"] and not force:
        raise StepError(
            f"the certificate in use is from {theirs}; one from staging would lock every client out",
            "set ACME_SERVER in .env to what it was, or add --force if that is what you want",
        )


def _serve(host: Host, settings: Settings, have: dict[str, Any]) -> Outcome:
    """Have nginx load it, then look as a client does. Raises StepError when clients get another one;
    then nginx runs again what it ran before.
    """
    if not have or "broken" in have:
        # The last good one goes on; this raises with what is wrong with the newest.
        nginx.activate(host, settings)
        raise StepError(
            f"{host.name}: there is no usable certificate on disk",
            "./fab -H … init-letsencrypt --force",
        )
    if nginx.settled(host, settings):
        served = host.call(certificate.served, settings.registry_domain)
        if served["serial"] == have["serial"]:
            return Outcome("", changed=False)
    activated = nginx.activate(host, settings)
    deadline = time.monotonic() + 5
    while True:
        # Right after a reload an old worker may take one more connection.
        served = host.call(certificate.served, settings.registry_domain)
        if served["serial"] == have["serial"]:
            return activated
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    back = activated.changed and nginx.restore(host, settings)
    raise StepError(
        f"{host.name}: serial {have['serial']} is on disk, but {served['serial']} is served"
        + ("; nginx runs again what it ran before" if back else ""),
        "./fab -H … logs shows what nginx said; ./fab -H … up tries again",
    )
