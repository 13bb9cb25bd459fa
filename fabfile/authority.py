"""What the settings of the certificate authority may be: text -> value, or ValueError with what is expected."""

from __future__ import annotations

import re

# https://letsencrypt.org/docs/staging-environment/
ACME_SERVERS = {
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "production": "https://acme-v02.api.letsencrypt.org/directory",
}


def acme_server(text: str) -> str:
    """The name of an authority that we know, or the address of its directory."""
    if text not in ACME_SERVERS and not re.fullmatch(r"https://[A-Za-z0-9.:\[\]-]+[A-Za-z0-9._~/-]*", text):
        raise ValueError("expected staging, production, or the https:// directory URL of an ACME server")
    return text


def rehearsal(text: str) -> str:
    """The authority of a first order, for a trial; or none."""
    return text if text in ("", "none") else acme_server(text)


def profile(text: str) -> str:
    """Of a certificate, as the authority names it."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,64}", text):
        raise ValueError("expected the name of a profile, for example shortlived")
    return text


def chain(text: str) -> str:
    """The root that the chain of a certificate shall end at."""
    # It stands on certbot's command line: so it may not look like an option of it.
    if text and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._()&',:/+-]{0,127}", text):
        raise ValueError("expected the common name of a root certificate, for example ISRG Root X1")
    return text


def pauses(text: str) -> tuple[str, ...]:
    """Minutes after each failed order."""
    minutes = text.split()
    if not minutes or not all(re.fullmatch(r"\d{1,6}(\.\d{1,4})?", number) for number in minutes):
        raise ValueError("expected minutes, separated by spaces, for example: 1 10 100 1440")
    return tuple(minutes)


def eab_kid(text: str) -> str:
    """Of an account that the authority made before."""
    # It stands on certbot's command line, and is no secret.
    if text and not re.fullmatch(r"[A-Za-z0-9_=][A-Za-z0-9._~:/+=-]{0,254}", text):
        raise ValueError("expected the key identifier (KID) as your authority shows it")
    return text
