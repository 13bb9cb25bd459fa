"""The ACME server, asked by the host before anything is ordered: is it there, what does it offer?"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import TypedDict
from urllib.parse import urlsplit

from ... import layout

LATER = "the certificate in use stays; cron tries again by itself"
SET_CLOCK = "on the server: timedatectl set-ntp true, and date shows whether it is right; then this again"
# As `check` judges it. Authorities date a certificate back by an hour; a clock that is days ahead finds each
# new one due, and orders again and again.
CLOCK_SECONDS = 3600
# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED (OpenSSL, x509_vfy.h)
NOT_YET_VALID, EXPIRED = 9, 10


class Offer(TypedDict):
    """What an ACME server offers; servers need not say.

    profiles: their names. identities: its names in CAA records. bound: whether a new account needs a key (EAB). ahead:
    seconds that this host's clock is ahead of the server's, 0 where that is not known. refused: why nothing is known,
    '' when something is: there is no answer, or it does not want to be asked now. retry_after: before when, in seconds
    since 1970, or 0.
    """

    profiles: list[str]
    identities: list[str]
    bound: bool
    ahead: float
    refused: str
    retry_after: float


def directory(url: str, bundle: str) -> Offer:
    """Fetch the server's directory (RFC 8555, 7.1.1): it costs no rate limit.

    bundle: a PEM file on this host with the authority of the server's own certificate, or "".
    """
    where = urlsplit(url).netloc
    nothing: Offer = {
        "profiles": [], "identities": [], "bound": False, "ahead": 0, "refused": "", "retry_after": 0,
    }  # fmt: skip
    try:
        answer, found = _fetched(url, _context(bundle))
        meta = found.get("meta") if isinstance(found, dict) else None
        meta = meta if isinstance(meta, dict) else {}
    except urllib.error.HTTPError as error:
        return {
            **nothing,
            "ahead": _ahead(error.headers),
            "refused": f"the ACME server {where} answers HTTP {error.code}",
            "retry_after": retry_after(error.headers.get("Retry-After", "")),
        }
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            if ahead := _unchecked(url, reason):
                return {**nothing, "ahead": ahead}
            text: object = "its own certificate is not trusted: see ACME_CA_BUNDLE"
        elif isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_AGAIN:
            text = "no DNS server answers"
        else:
            text = getattr(reason, "strerror", None) or reason
        return {**nothing, "refused": f"the ACME server {where} cannot be reached: {text}"}
    return {
        "profiles": sorted(_texts(meta.get("profiles"))),
        "identities": _texts(meta.get("caaIdentities")),
        "bound": meta.get("externalAccountRequired") is True,
        "ahead": _ahead(answer),
        "refused": "",
        "retry_after": 0,
    }


def _context(bundle: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=bundle or None)
    # Python 3.13 refuses an authority without keyUsage, as `openssl req -x509` makes it; clients take it.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not bundle and not context.cert_store_stats()["x509_ca"]:
        # This host trusts nobody, so it can check nobody; certbot brings authorities of its own.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _fetched(url: str, context: ssl.SSLContext) -> tuple[Message, object]:
    """Headers and content of an answer. Raises what urllib does."""
    request = urllib.request.Request(url, headers={"User-Agent": layout.PROJECT})  # noqa: S310 - https by rules.py
    with urllib.request.urlopen(request, timeout=15, context=context) as answer:  # noqa: S310
        return answer.headers, json.load(answer)


def _ahead(headers: Message) -> float:
    """Seconds that the clock here is ahead of the server's, by its Date (RFC 9110, 6.6.1); 0 where it names none."""
    try:
        return time.time() - parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError, TypeError):
        return 0


def _unchecked(url: str, reason: ssl.SSLCertVerificationError) -> float:
    """As `_ahead`, where the server's certificate is over, or not valid yet, as the clock here is wrong; else 0.

    The date comes from somebody who was not checked: nothing is done with it but to refuse.
    """
    if reason.verify_code not in (NOT_YET_VALID, EXPIRED):
        return 0
    blind = ssl.create_default_context()
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    try:
        headers, _ = _fetched(url, blind)
    except urllib.error.HTTPError as error:
        headers = error.headers
    except (OSError, ValueError, http.client.HTTPException):
        return 0
    ahead = _ahead(headers)
    return ahead if wrong_clock(ahead, "") else 0


def wrong_clock(ahead: float, where: str) -> str:
    """What is wrong with this host's clock, '' when nothing is. ahead: seconds, of that of the ACME server `where`."""
    if abs(ahead) <= CLOCK_SECONDS:
        return ""
    seconds = abs(ahead)
    text = f"{seconds / 86400:.0f} days" if seconds >= 2 * 86400 else f"{seconds / 3600:.1f} hours"
    return f"the clock of this server is {text} {'ahead of' if ahead > 0 else 'behind'} that of the ACME server {where}"


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, (list, dict)) else []


def retry_after(header: str) -> float:
    """Seconds since 1970 of a Retry-After (RFC 9110, 10.2.3): seconds from now, or a date; 0 for neither."""
    if re.fullmatch("[0-9]+", header):
        # A float, as an integer of very many digits cannot be added to a time.
        return time.time() + float(header)
    try:
        return parsedate_to_datetime(header).timestamp()
    except (ValueError, OverflowError):
        return 0
