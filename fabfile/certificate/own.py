"""A certificate of your own, looked at on your own machine before anything is sent."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..rules import wildcard
from ..settings import Settings

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

AGAIN = "correct TLS_CERTIFICATE and TLS_KEY in .env, then run this again"


def check(settings: Settings) -> None:
    """Raise UsageError unless TLS_CERTIFICATE and TLS_KEY fit together, are in time and have our names."""
    # Slow to import, and absent on a server.
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    place = settings.tls_certificate
    try:
        first = x509.load_pem_x509_certificates(Path(place).read_bytes())[0]
    except ValueError as error:
        raise UsageError(f"{place}: not a readable certificate: {error}", AGAIN) from None
    try:
        key = load_pem_private_key(Path(settings.tls_key).read_bytes(), password=None)
    except TypeError:
        raise UsageError(
            f"{settings.tls_key}: this key has a passphrase, which nobody can type at night",
            "take it off: openssl pkey -in KEY -out NEW-KEY, then name the new file in TLS_KEY",
        ) from None
    except ValueError as error:
        raise UsageError(f"{settings.tls_key}: not a readable key: {error}", AGAIN) from None
    if key.public_key() != first.public_key():
        raise UsageError(f"{settings.tls_key} is not the key of the first certificate in {place}", AGAIN)
    if problem := _wrong(first, settings):
        raise UsageError(f"{place}: {problem}", AGAIN)


def _wrong(certificate: Certificate, settings: Settings) -> str:
    from cryptography import x509

    now = datetime.now(timezone.utc)
    if now > certificate.not_valid_after_utc:
        return f"it has expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if now < certificate.not_valid_before_utc:
        return f"it is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = {name.lower() for name in found.value.get_values_for_type(x509.DNSName)}
    except x509.ExtensionNotFound:
        names = set()
    missing = [name for name in settings.names if not covered(name, names)]
    if missing:
        return f"it is for {', '.join(sorted(names)) or 'no name'}, not for {', '.join(missing)}"
    return ""


def covered(name: str, names: Collection[str]) -> bool:
    """Whether it is one of these names, or a wildcard among them covers it."""
    return name in names or wildcard(name) in names
