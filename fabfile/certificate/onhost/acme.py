"""The ACME server, asked by the host before anything is ordered: is it there, what does it offer?"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from typing import TypedDict
from urllib.parse import urlsplit

from ... import layout

LATER = "the certificate in use stays; cron tries again by itself"


class Offer(TypedDict):
    """What an ACME server offers; servers need not say.

    profiles: their names. identities: its names in CAA records. refused: why nothing is known, '' when something is:
    there is no answer, or it does not want to be asked now. retry_after: before when, in seconds since 1970, or 0.
    """

    profiles: list[str]
    identities: list[str]
    refused: str
    retry_after: float


def directory(url: str, bundle: str) -> Offer:
    """Fetch the server's directory (RFC 8555, 7.1.1): it costs no rate limit.

    bundle: a PEM file on this host with the authority of the server's own certificate, or "".
    """
    context = ssl.create_default_context(cafile=bundle or None)
    if not bundle and not context.cert_store_stats()["x509_ca"]:
        # This host trusts nobody, so it can check nobody; certbot brings authorities of its own.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    where = urlsplit(url).netloc
    request = urllib.request.Request(url, headers={"User-Agent": layout.PROJECT})  # noqa: S310 - https by rules.py
    try:
        with urllib.request.urlopen(request, timeout=15, context=context) as answer:  # noqa: S310
            found = json.load(answer)
            meta = found.get("meta") if isinstance(found, dict) else None
            meta = meta if isinstance(meta, dict) else {}
    except urllib.error.HTTPError as error:
        later = retry_after(error.headers.get("Retry-After", ""))
        return _nothing(f"the ACME server {where} answers HTTP {error.code}", later)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        text = "its own certificate is not trusted: see ACME_CA_BUNDLE" if isinstance(
            reason, ssl.SSLCertVerificationError) else getattr(reason, "strerror", None) or reason  # fmt: skip
        return _nothing(f"the ACME server {where} cannot be reached: {text}")
    return {
        "profiles": sorted(_texts(meta.get("profiles"))),
        "identities": _texts(meta.get("caaIdentities")),
        "refused": "",
        "retry_after": 0,
    }


def _nothing(why: str, later: float = 0) -> Offer:
    return {"profiles": [], "identities": [], "refused": why, "retry_after": later}


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
