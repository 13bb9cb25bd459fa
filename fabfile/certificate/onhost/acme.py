"""The ACME server, asked by the host before anything is ordered: is it there, what does it offer?"""

from __future__ import annotations

import json
import re
import ssl
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from ...machine.onhost.atomic import RefusedError


def directory(url: str, bundle: str) -> dict[str, Any]:
    """Fetch the server's directory (RFC 8555, 7.1.1): it costs no rate limit.

    bundle: a PEM file on this host with the authority of the server's own certificate, or "".
    Returns {"profiles": [names], "identities": [names for CAA records]}; both may be empty, as servers
    need not say. With "refused", the server's refusal, and "retry_after", see the function, when it does not
    want to be asked now. Raises RefusedError when there is no answer.
    """
    context = ssl.create_default_context(cafile=bundle or None)
    # Python 3.13 refuses an authority without keyUsage, as `openssl req -x509` makes it; clients take it.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not bundle and not context.cert_store_stats()["x509_ca"]:
        # This host trusts nobody, so it can check nobody; certbot brings authorities of its own.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    where = urlsplit(url).netloc
    request = urllib.request.Request(url, headers={"User-Agent": "private-docker-registry"})  # noqa: S310 - https by rules.py
    try:
        with urllib.request.urlopen(request, timeout=15, context=context) as answer:  # noqa: S310
            found = json.load(answer)
            meta = found.get("meta") if isinstance(found, dict) else None
            meta = meta if isinstance(meta, dict) else {}
    except urllib.error.HTTPError as error:
        return {
            "profiles": [],
            "identities": [],
            "refused": f"the ACME server {where} answers HTTP {error.code}",
            "retry_after": retry_after(error.headers.get("Retry-After", "")),
        }
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        text = "its own certificate is not trusted: see ACME_CA_BUNDLE" if isinstance(
            reason, ssl.SSLCertVerificationError) else getattr(reason, "strerror", None) or reason  # fmt: skip
        raise RefusedError(f"the ACME server {where} cannot be reached: {text}", LATER) from None
    return {
        "profiles": sorted(_texts(meta.get("profiles"))),
        "identities": _texts(meta.get("caaIdentities")),
    }


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


LATER = "the certificate in use stays; cron tries again by itself"
