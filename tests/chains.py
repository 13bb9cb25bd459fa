"""Certificates of one's own, as an authority issues them, for the tests."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID


def issued(issuer: str, subject: str, *, told: bool = True) -> tuple[bytes, bytes]:
    """A certificate for a name, and its key. told: whether it says where that of its issuer is."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    named, ours = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (issuer, subject))
    begin, end = now - timedelta(hours=1), now + timedelta(days=90)
    builder = x509.CertificateBuilder(named, ours, key.public_key(), x509.random_serial_number(), begin, end)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
    if told:
        place = x509.UniformResourceIdentifier("http://issuer.example.org/")
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, place)
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return pem, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
