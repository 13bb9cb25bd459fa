"""Certificates on the host: what lies on its disk, and what it serves."""

from __future__ import annotations

import re
import socket
import ssl
import tempfile
from pathlib import Path
from typing import Any

from .atomic import RefusedError


def on_disk(lineage: str, renewal: str) -> dict[str, Any]:
    """The certificate of a lineage: see `_facts`; with "server", the ACME server it came from, or "".

    lineage: directory of fullchain.pem; renewal: certbot's settings for it, or "". Returns {} when there
    is none.
    """
    path = Path(lineage, "fullchain.pem")
    if not path.is_file():
        return {}
    text = Path(renewal).read_text() if renewal and Path(renewal).is_file() else ""
    found = re.search(r"^server = (.*)$", text, re.M)
    server = {"server": found[1] if found else ""}
    try:
        return _facts(path) | server
    except ssl.SSLError:
        return {"broken": "not a readable certificate"} | server


def damage(conf: str, name: str) -> str:
    """What keeps certbot from knowing its own certificate again; '' when nothing does, or when there
    is none.
    """
    there = {
        part: (Path(conf, part) / place).exists()
        for part, place in (("live", name), ("archive", name), ("renewal", f"{name}.conf"))
    }
    if len(set(there.values())) > 1:
        missing = ", ".join(part for part, exists in there.items() if not exists)
        return f"certbot's files for {name} do not belong together: no {missing}"
    renewal = Path(conf, "renewal", f"{name}.conf")
    if renewal.is_file() and "archive_dir" not in renewal.read_text("utf-8", "replace"):
        return f"{renewal} is damaged"
    # A copy that followed the links has files in their place, and certbot does not take those.
    for part in ("cert", "chain", "fullchain", "privkey") if renewal.is_file() else ():
        link = Path(conf, "live", name, f"{part}.pem")
        if not link.is_symlink() or not link.exists():
            return f"{link} is no link to a file in archive/{name}"
    return ""


def served(name: str, port: int = 443) -> dict[str, Any]:
    """The certificate that this machine shows to clients that ask for that name. See `_facts`.

    Raises RefusedError when there is no TLS handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # It is compared with the one on disk; whether clients trust its issuer is their business.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=name) as tls,
        ):
            der = tls.getpeercert(binary_form=True)
    except OSError as error:
        raise RefusedError(f"no TLS on port {port} for {name}: {error}", "./fab -H … up") from None
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(ssl.DER_cert_to_PEM_cert(der or b""))
        file.flush()
        return _facts(Path(file.name))


def _facts(path: Path) -> dict[str, Any]:
    """{"serial" (hexadecimal), "names", "not_before", "not_after" (seconds since 1970), "issuer"}.

    The standard library parses a certificate only for this private function, which has been the
    same since Python 2.6; the server has no other parser.
    """
    parsed: dict[str, Any] = ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]
    issuer = {key: value for part in parsed["issuer"] for key, value in part}
    return {
        "serial": parsed["serialNumber"],
        "names": [value for kind, value in parsed.get("subjectAltName", ()) if kind == "DNS"],
        "not_before": ssl.cert_time_to_seconds(parsed["notBefore"]),
        "not_after": ssl.cert_time_to_seconds(parsed["notAfter"]),
        "issuer": issuer.get("commonName") or issuer.get("organizationName") or "unknown",
    }
