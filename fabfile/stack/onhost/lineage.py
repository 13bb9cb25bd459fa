"""Certificates on the host: what lies on its disk, and what it serves."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict, final

from ... import layout
from ...machine.onhost import beneath
from ...machine.onhost.atomic import RefusedError

PAIR = (layout.FULLCHAIN, layout.PRIVKEY)


@final
class Facts(TypedDict):
    """Of a certificate. serial: hexadecimal; not_before, not_after: seconds since 1970."""

    serial: str
    names: list[str]
    not_before: int
    not_after: int
    issuer: str


@final
class OnDisk(TypedDict):
    """`Facts`, and the ACME server that it came from, or ''."""

    serial: str
    names: list[str]
    not_before: int
    not_after: int
    issuer: str
    server: str


@final
class Broken(TypedDict):
    """One that cannot be read. broken: why; server: as in `OnDisk`."""

    broken: str
    server: str


def on_disk(lineage: str, renewal: str) -> OnDisk | Broken | None:
    """The certificate of a lineage.

    lineage: directory of fullchain.pem; renewal: certbot's settings for it, or "". Returns None when there
    is none.
    """
    try:
        pem = beneath.read(*place(Path(lineage), layout.FULLCHAIN))
    except (FileNotFoundError, NotADirectoryError):
        return None
    text = ""
    with contextlib.suppress(FileNotFoundError):
        text = beneath.text(Path(renewal).parent, Path(renewal).name) if renewal else ""
    found = re.search(r"^server = (.*)$", text, re.M)
    server = found[1] if found else ""
    try:
        facts = _facts(pem)
    except ssl.SSLError:
        return {"broken": "not a readable certificate", "server": server}
    try:
        key = beneath.read(*place(Path(lineage), layout.PRIVKEY))
        require_pair({layout.FULLCHAIN: pem, layout.PRIVKEY: key})
    except (FileNotFoundError, NotADirectoryError):
        return {"broken": "its key is missing", "server": server}
    except ssl.SSLError:
        return {"broken": "its key is not readable, or another one's", "server": server}
    return {**facts, "server": server}


def require_pair(pair: dict[str, bytes]) -> None:
    """Raise ssl.SSLError unless they fit together: the bytes that were read, whatever becomes of the files.

    pair: the content of fullchain.pem and privkey.pem, by these names.
    """
    with contextlib.ExitStack() as stack:
        chain, key = (stack.enter_context(_in_memory(pair[name])) for name in PAIR)
        # A passphrase would be asked for on a terminal.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key, password="")


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A path to that content: a full disk must not look like a bad certificate."""
    with open(os.memfd_create("pem"), "wb") as file:  # noqa: PTH123 - a handle
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def place(lineage: Path, name: str) -> tuple[Path, str]:
    """A file of a lineage as `beneath` wants it: certbot's links lead from live/ to archive/ beside it."""
    if lineage.parent.name == "live":
        return lineage.parent.parent, f"live/{lineage.name}/{name}"
    return lineage, name


def damage(conf: str, name: str) -> str:
    """What keeps certbot from knowing its own certificate again; '' when nothing does, or when there
    is none.
    """
    top, renewal = Path(conf), f"renewal/{name}.conf"
    there = {part: beneath.there(top, part) is not None for part in (f"live/{name}", f"archive/{name}", renewal)}
    if len(set(there.values())) > 1:
        missing = ", ".join(part.partition("/")[0] for part, exists in there.items() if not exists)
        return f"certbot's files for {name} do not belong together: no {missing}"
    if not there[renewal]:
        return ""
    if "archive_dir" not in beneath.text(top, renewal):
        return f"{top}/{renewal} is damaged"
    # A copy that followed the links has files in their place, and certbot does not take those.
    for part in ("cert", "chain", "fullchain", "privkey"):
        if not beneath.is_link(top, f"live/{name}/{part}.pem"):
            return f"{top}/live/{name}/{part}.pem is no link to a file in archive/{name}"
    return ""


def served(name: str, port: int = 443) -> Facts:
    """The certificate that this machine shows to clients that ask for that name.

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
    return _facts(ssl.DER_cert_to_PEM_cert(der or b"").encode())


def await_served(name: str, serial: str, seconds: float = 5) -> Facts:
    """`served`, once it has this serial or the time is over.

    Right after a reload an old worker of nginx may take one more connection.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = served(name)
        if found["serial"] == serial or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def _facts(pem: bytes) -> Facts:
    """What a certificate says."""
    found = parsed(pem)
    issuer = {key: value for part in found["issuer"] for key, value in part}
    return {
        "serial": found["serialNumber"],
        "names": [value for kind, value in found.get("subjectAltName", ()) if kind == "DNS"],
        "not_before": ssl.cert_time_to_seconds(found["notBefore"]),
        "not_after": ssl.cert_time_to_seconds(found["notAfter"]),
        "issuer": issuer.get("commonName") or issuer.get("organizationName") or "unknown",
    }


def parsed(pem: bytes) -> dict[str, Any]:
    """The first certificate of a text, as ssl.SSLSocket.getpeercert has it. Raises ssl.SSLError.

    The standard library parses a certificate only for this private function, which has been the
    same since Python 2.6; the server has no other parser.
    """
    with _in_memory(pem) as path:
        found: dict[str, Any] = ssl._ssl._test_decode_cert(path)  # type: ignore[attr-defined]
    return found
