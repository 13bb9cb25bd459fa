"""`init-letsencrypt`, `renew`, `schedule`: a certificate, and that it stays one."""

from __future__ import annotations

import re
import time
from typing import Any

from . import compose, nginx
from .errors import StepError
from .host import Host, require_deployed
from .onhost import certbot, certificate, probe
from .onhost.cron import CRON_FILE, install
from .report import Outcome
from .rules import ACME_SERVERS
from .settings import Settings

DAY = 86400


def init_letsencrypt(host: Host, settings: Settings, *, force: bool = False) -> Outcome:
    """See to it that the server has and serves a certificate as the settings want it.

    A new one is ordered by HTTP-01 when there is none, when it came from another ACME server or
    when it carries other names; `force` orders one in any case. What works stays in place until
    the new one is there. Raises StepError in certbot's words when the order fails.
    """
    require_deployed(host, settings.deploy_dir)
    # One that a cut connection left at work may be about to bring what we would order.
    host.call(certbot.wait, compose.CERTBOT_CONTAINER)
    have = on_disk(host, settings)
    if have and not force and not why_order(have, settings):
        summary = "nothing to order, " + described(have)
    else:
        _refuse_downgrade(have, settings, force)
        _require_reachable(host, settings)
        _certbot(host, settings, compose.issue(settings, again=bool(have)))
        have = on_disk(host, settings)
        summary = "ordered, " + described(have)
    activated = nginx.activate(host, settings)
    _require_served(host, settings, have)
    return Outcome(
        summary, activated.changed or summary.startswith("ordered"), _warning(host, settings)
    )


def why_order(have: dict[str, Any], settings: Settings) -> str:
    """Why the certificate on disk is not the one that the settings want; '' when it is."""
    if "broken" in have:
        return "this one cannot be read"
    if have["server"] != settings.acme_directory:
        return f"this one is from {have['server'] or 'nobody that certbot knows'}"
    if set(have["names"]) != set(settings.names):
        return f"this one is for {', '.join(have['names'])}"
    return "" if have["not_after"] > time.time() else "this one has expired"


def renew(host: Host, settings: Settings, *, dry_run: bool = False) -> Outcome:
    """Renew the certificate where it is due, have nginx load it, and look at what is served.

    Raises StepError unless in the end the certificate on disk is the one that clients get.
    """
    require_deployed(host, settings.deploy_dir)
    before = on_disk(host, settings)
    if not before:
        raise StepError(
            f"{host.name}: there is no certificate to renew", "./fab -H … init-letsencrypt"
        )
    _certbot(host, settings, compose.renew(settings, dry_run=dry_run))
    if dry_run:
        return Outcome("rehearsed: a renewal would succeed", changed=False)
    after = on_disk(host, settings)
    activated = nginx.activate(host, settings)
    _require_served(host, settings, after)
    if after["serial"] != before.get("serial"):
        return Outcome("renewed and served, " + described(after))
    if activated.changed:
        return Outcome("nothing due; nginx now serves what was on disk, " + described(after))
    return Outcome("nothing due, " + described(after), changed=False)


def schedule(host: Host, settings: Settings) -> Outcome:
    """Have cron on the server run `inv renew` in DEPLOY_DIR. Nobody's own crontab is touched."""
    require_deployed(host, settings.deploy_dir)
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
        f"{settings.cron_schedule} root cd {settings.deploy_dir} && ./inv renew --log {log} >>{log} 2>&1\n"
    )


def described(facts: dict[str, Any]) -> str:
    """`valid 89 days, until 2027-02-20 10:00 UTC, issued by R11, serial 03ab…`."""
    if "broken" in facts:
        return f"broken: {facts['broken']}"
    left = facts["not_after"] - time.time()
    amount = _amount(abs(left))
    validity = f"valid {amount}" if left > 0 else f"EXPIRED {amount} ago"
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(facts["not_after"]))
    return f"{validity}, until {until}, issued by {facts['issuer']}, serial {facts['serial']}"


def _amount(seconds: float) -> str:
    units = {"days": DAY, "hours": 3600, "minutes": 60, "seconds": 1}
    unit = next((unit for unit, size in units.items() if seconds >= 2 * size), "seconds")
    return f"{seconds / units[unit]:.0f} {unit}"


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
    """certbot's certificate for the domain, {} when there is none: see onhost.certificate.on_disk."""
    return host.call(
        certificate.on_disk, f"{settings.deploy_dir}/certbot/conf", settings.registry_domain
    )


def _certbot(host: Host, settings: Settings, command: list[str]) -> None:
    answer = host.call(certbot.run, command, compose.CERTBOT_CONTAINER)
    if answer["code"] != 0:
        raise StepError(
            f"{host.name}: certbot: {certbot_reason(str(answer['output']))}",
            f"{settings.deploy_dir}/certbot/log on the server has the whole story; the certificate in use stays",
        )


def certbot_reason(output: str) -> str:
    """The one line of certbot's output that says why it failed."""
    if found := re.search(r"HTTPS?ConnectionPool\(host='([^']+)', port=(\d+)\).*", output):
        known = {
            "NameResolutionError": "its name has no address",
            "Connection refused": "connection refused",
            "CERTIFICATE_VERIFY_FAILED": "its own certificate is not trusted: see ACME_CA_BUNDLE",
        }
        why = next((text for word, text in known.items() if word in found[0]), "no answer")
        return f"the ACME server {found[1]}:{found[2]} cannot be reached: {why}"
    for pattern in (
        r"^\s*Detail: (.+)$",
        r"(urn:ietf:params:acme:error:.+)$",
        r"^(?:.*: )?(Failed to renew certificate .+)$",
        r"^(An unexpected error occurred:.*(?:\n.+)?)$",
    ):
        if found := re.search(pattern, output, re.M):
            return " ".join(found[1].split())
    noise = (
        "Saving debug log", "Ask for help", "- - -", "See the logfile", "Some challenges", "For more help",
    )  # fmt: skip
    lines = [line.strip() for line in output.splitlines()]
    lines = [line for line in lines if line and not line.startswith(noise)]
    return lines[-1] if lines else "it failed without a word"


def _require_reachable(host: Host, settings: Settings) -> None:
    """No order, and so no rate limit, is spent where the authority could not see our answer."""
    host.run(
        ["sh", "-c", 'test -n "$("$@")"', "sh", *compose.running(settings, "nginx")],
        remedy="nginx does not run: ./fab -H … up",
    )
    wrong = host.call(probe.probe, f"{settings.deploy_dir}/certbot/www", list(settings.names))
    if wrong:
        raise StepError(
            f"{host.name}: nothing was ordered: {'; '.join(wrong)}",
            "correct the DNS record, or open port 80 in the firewall; ./fab -H … check shows more",
        )


def _refuse_downgrade(have: dict[str, Any], settings: Settings, force: bool) -> None:
    theirs = have.get("server") or ACME_SERVERS["staging"]
    if settings.acme_server == "staging" and theirs != ACME_SERVERS["staging"] and not force:
        raise StepError(
            f"the certificate in use is from {theirs}; one from staging would lock every client out",
            "set ACME_SERVER in .env to what it was, or add --force if that is what you want",
        )


def _require_served(host: Host, settings: Settings, have: dict[str, Any]) -> None:
    if not have or "broken" in have:
        raise StepError(
            f"{host.name}: there is no usable certificate on disk",
            "./fab -H … init-letsencrypt --force",
        )
    deadline = time.monotonic() + 5
    while True:
        # Right after a reload an old worker may take one more connection.
        served = host.call(certificate.served, settings.registry_domain)
        if served["serial"] == have["serial"]:
            return
        if time.monotonic() > deadline:
            raise StepError(
                f"{host.name}: serial {have['serial']} is on disk, but {served['serial']} is served",
                "./fab -H … logs shows what nginx said; ./fab -H … up tries again",
            )
        time.sleep(0.2)
