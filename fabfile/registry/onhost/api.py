"""The registry, asked on the host itself, through nginx and TLS; and its trust by the host's Docker."""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import socket
import ssl
from pathlib import Path
from typing import NamedTuple

from ...machine.onhost.atomic import RefusedError, replace

CERTS_D = Path("/etc/docker/certs.d")
TRUST = "push-test.crt"
MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# The largest manifest that a registry has to take (OCI distribution specification, pushing manifests).
LARGEST = 4 << 20


class Answer(NamedTuple):
    """Of a registry. digest: that it names, '' where it names none that we know."""

    status: int
    digest: str
    body: bytes


class Loopback(http.client.HTTPSConnection):
    """HTTPS to this machine, under the registry's name, trusting the certificate that it runs alone."""

    def __init__(self, name: str, certificate: str) -> None:
        context = ssl.create_default_context(cafile=certificate)
        # Python 3.13 refuses an authority without keyUsage, as `openssl req -x509` makes it; Docker takes it.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        # The certificate itself is the anchor, so one from a test authority is as good as any.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        super().__init__(name, timeout=30, context=context)
        self._tls = context

    def connect(self) -> None:
        """Connect to the loopback address whatever DNS says."""
        plain = socket.create_connection(("127.0.0.1", 443), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def request(name: str, certificate: str, method: str, path: str, login: str) -> Answer:
    """One request to https://NAME/PATH as `user:password`. Raises RefusedError where there is no answer."""
    token = base64.b64encode(login.encode()).decode()
    connection = Loopback(name, certificate)
    try:
        headers = {"Authorization": f"Basic {token}", "Accept": ", ".join(MANIFESTS)}
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        body = response.read(LARGEST)
        named = response.getheader("Docker-Content-Digest", "")
        return Answer(response.status, named if DIGEST.fullmatch(named) else "", body)
    except (OSError, http.client.HTTPException) as error:
        raise RefusedError(f"https://{name}{path}: {error}", "./fab -H … logs") from None
    finally:
        connection.close()


def delete_tag(name: str, certificate: str, repository: str, tag: str, login: str) -> int:
    """Delete the manifest that a tag points to. Returns the HTTP status: 202 done, 404 not there.

    A registry deletes by digest alone (OCI distribution specification, deleting manifests). It need not name
    the digest of a tag (the same, pulling manifests): then it is made of the manifest itself.
    """
    path = f"/v2/{repository}/manifests/"
    found = request(name, certificate, "HEAD", path + tag, login)
    if found.status == 200 and not found.digest:
        found = request(name, certificate, "GET", path + tag, login)
    if found.status != 200:
        return found.status
    digest = found.digest or f"sha256:{hashlib.sha256(found.body).hexdigest()}"
    return request(name, certificate, "DELETE", path + digest, login).status


def sweep(name: str) -> None:
    """Remove the trust that a push-test left behind when it was killed."""
    directory = CERTS_D / name
    if (directory / TRUST).is_file():
        distrust([str(directory / TRUST), str(directory)])


def trust(name: str, certificate: str) -> list[str]:
    """Have this host's Docker trust the registry's chain. Returns what to undo, for `distrust`.

    Docker reads the directory at each request (docs.docker.com/engine/security/certificates).
    """
    directory = CERTS_D / name
    made = [str(path) for path in (directory, CERTS_D) if not path.is_dir()]
    directory.mkdir(parents=True, exist_ok=True)
    replace(directory / TRUST, Path(certificate).read_bytes(), 0o644)
    return [str(directory / TRUST), *made]


def distrust(made: list[str]) -> None:
    """Take back what `trust` made: the file, and the directories that were not there before."""
    file, *directories = made
    Path(file).unlink(missing_ok=True)
    for directory in directories:
        if Path(directory).is_dir() and not any(Path(directory).iterdir()):
            Path(directory).rmdir()
