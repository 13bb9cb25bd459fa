"""What can be wrong with the certificate, with cron, and with who is told: as people tell it."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..layout import Service
from ..machine.symptom import Rows, Symptom, Wrong, row
from .onhost.health import Health

RENEWAL, ALERT = "last renewal", "alert-broken"
CAA = re.compile(r"\bCAA\b", re.I)
LIMITED = re.compile(r"rateLimited|too many (?:certificates|failed|requests|currently)", re.I)


class Known(NamedTuple):
    """What was gathered, and the rows of `check` and `status`."""

    health: Health
    rows: Rows


def _renewal(rows: Rows) -> Wrong | None:
    return row(RENEWAL)(rows) if not _caa(rows) and not _limited(rows) else None


def _caa(rows: Rows) -> Wrong | None:
    return row(RENEWAL)(rows) if RENEWAL in rows and CAA.search(rows[RENEWAL].found) else None


def _limited(rows: Rows) -> Wrong | None:
    return row(RENEWAL)(rows) if RENEWAL in rows and LIMITED.search(rows[RENEWAL].found) else None


BY_ROW: tuple[Symptom[Rows], ...] = (
    Symptom(
        "certificate",
        "`x509: certificate has expired`, or a wrong certificate, or none",
        "it was not renewed for weeks, or clients do not get the newest one",
        "./fab -H … renew",
        row("certificate"),
    ),
    Symptom(
        "renewal-failed",
        "nobody was told, and the certificate gets old",
        "the last renewal failed; its reason stands there",
        "./fab -H … renew says it again, with what to do",
        _renewal,
    ),
    Symptom(
        "caa",
        "`CAA record for … prevents issuance`",
        "a CAA record of the domain lets only another authority issue certificates",
        "add the authority to that record at your DNS provider, then ./fab -H … renew",
        _caa,
    ),
    Symptom(
        "rate-limited",
        "`too many certificates already issued`, `too many failed authorizations`",
        "the authority's limit was reached, often by trying again and again",
        "wait as long as it says; try with ACME_SERVER=staging meanwhile",
        _limited,
    ),
    Symptom(
        "way-out",
        "a renewal fails: `Connection timed out`, `Network is unreachable`, though the server itself is online",
        "containers have no way out: Docker's rules were flushed, or are switched off",
        "on the server: systemctl restart docker",
        row("way out"),
    ),
    Symptom(
        "cron",
        "nothing is renewed, cleaned up or copied at night",
        "cron does not run, or cannot start `./inv`",
        "./fab -H … provision schedule",
        row("cron"),
    ),
)


def _alone(known: Known) -> Wrong | None:
    if not (issuer := known.health["alone"]):
        return None
    return Wrong(f"only the server's own certificate is served, without that of its issuer, {issuer}")


def _damage(known: Known) -> Wrong | None:
    return Wrong(known.health["damage"]) if known.health["damage"] else None


def _hairpin(known: Known) -> Wrong | None:
    """Where it is the same from outside, the server is not to blame."""
    elsewhere = [name for name in known.rows if name.startswith(("A ", "AAAA ", "DNS ", "port 443"))]
    answers = not {Service.NGINX, "certificate"} & known.rows.keys()
    unseen = known.health["unseen"]
    return Wrong("; ".join(unseen)) if unseen and answers and not elsewhere else None


def _alert(known: Known) -> Wrong | None:
    return Wrong(f"ALERT_COMMAND: {known.health['alert']}") if known.health["alert"] else None


SYMPTOMS: tuple[Symptom[Known], ...] = (
    Symptom(
        "chain",
        "it works in the browser, and docker says `x509: certificate signed by unknown authority`",
        "your own certificate is served without that of its issuer",
        "put the issuer's certificate behind yours into the file of TLS_CERTIFICATE, then ./fab -H … sync up",
        _alone,
    ),
    Symptom(
        "certbot-damaged",
        "every renewal is refused: certbot's files do not belong together",
        "a part of certbot's directory was copied, moved or deleted by hand",
        "./fab -H … init-letsencrypt says what to move away",
        _damage,
    ),
    Symptom(
        "hairpin",
        "from the server itself the name does not answer, and from everywhere else it does",
        "the router in front does not lead a packet of its own network back to it",
        "on the server: echo 127.0.0.1 NAME >>/etc/hosts",
        _hairpin,
    ),
    Symptom(
        ALERT,
        "something was wrong for days, and nobody told me",
        "`ALERT_COMMAND` cannot be run, or failed when it was needed",
        "correct ALERT_COMMAND in .env, then ./fab -H … sync schedule",
        _alert,
    ),
)
