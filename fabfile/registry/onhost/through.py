"""The proof that this very server works, through nginx and TLS on it: whichever server a name would lead to."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import ssl
import urllib.request
from base64 import b64encode
from typing import TypedDict
from urllib.parse import urljoin, urlsplit

from ...machine.onhost.atomic import RefusedError
from .api import LARGEST, Loopback

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
REMEDY = "./fab -H … status looks at the server; ./fab -H … logs shows what its containers say"
# Of a registry that lets clients fetch layers elsewhere.
ELSEWHERE = (302, 307)


class Proven(TypedDict):
    """digest: of the manifest that was pushed. parts: what was proven, in words, in order."""

    digest: str
    parts: list[tuple[str, str]]


def prove(name: str, certificate: str, repository: str, tag: str, login: str) -> Proven:
    """Be refused without and with a wrong password, push an image of 1 KB, pull it, compare it, delete it.

    name: of the registry; certificate: a file with the chain that nginx runs; login: `user:password`. Raises
    RefusedError at the first part that is not so.
    """
    client = Client(name, certificate, login)
    parts = [("no credentials", client.refused("")), ("wrong password", client.refused(f"{login}-not"))]
    path = f"/v2/{repository}"
    layer = os.urandom(1024)
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha(layer)]}}
    )
    for blob in (layer, config.encode()):
        client.upload(path, blob)
    described = [{"mediaType": kind, "digest": sha(blob), "size": len(blob)}
                 for kind, blob in ((CONFIG, config.encode()), (LAYER, layer))]  # fmt: skip
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": IMAGE, "config": described[0], "layers": described[1:]}
    ).encode()
    digest = sha(manifest)
    client.ask("PUT", f"{path}/manifests/{tag}", 201, manifest, IMAGE)
    parts.append(("push", digest))
    try:
        if client.ask("GET", f"{path}/manifests/{tag}", 200)[1] != manifest:
            raise RefusedError(f"{name}: the manifest came back as another one", "check the store of the images")
        if client.blob(f"{path}/blobs/{sha(layer)}") != layer:
            raise RefusedError(f"{name}: the layer came back with another content", "check the store of the images")
        parts.append(("pull", f"{digest}, equal"))
    finally:
        client.ask("DELETE", f"{path}/manifests/{digest}", 202)
    parts.append(("delete", "the manifest is gone from the registry"))
    return {"digest": digest, "parts": parts}


def sha(content: bytes) -> str:
    """Its digest."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Client:
    """One account at the registry on this machine."""

    def __init__(self, name: str, certificate: str, login: str) -> None:
        self.name = name
        self.certificate = certificate
        self.login = login

    def refused(self, login: str) -> str:
        """See that the registry says 401 to that login, '' for none."""
        status, _, _ = self._request("GET", "/v2/", b"", "", login)
        # An open registry sends strangers to its token.
        if status not in (401, 403, 429):
            raise RefusedError(f"https://{self.name}/v2/ answered {status} to a stranger", REMEDY)
        return f"refused: {status}"

    def upload(self, path: str, blob: bytes) -> None:
        """Push a blob in one piece (OCI distribution specification, pushing blobs)."""
        place = self.ask("POST", f"{path}/blobs/uploads/", 202)[0]
        parts = urlsplit(urljoin(f"https://{self.name}/", place))
        target = f"{parts.path}?{parts.query}{'&' if parts.query else ''}digest={sha(blob)}"
        self.ask("PUT", target, 201, blob, "application/octet-stream")

    def blob(self, path: str) -> bytes:
        """The content of a blob, fetched where the registry says."""
        status, place, content = self._request("GET", path, b"", "", self.login)
        if status in ELSEWHERE and urlsplit(place).scheme == "https":
            with urllib.request.urlopen(place, timeout=30) as answer:  # noqa: S310 - https alone
                return bytes(answer.read(LARGEST))
        if status != 200:
            raise RefusedError(f"https://{self.name}{path} answered {status}", REMEDY)
        return content

    def ask(self, method: str, path: str, expected: int, body: bytes = b"", kind: str = "") -> tuple[str, bytes]:
        """Place and content of an answer. Raises RefusedError for another status."""
        status, place, content = self._request(method, path, body, kind, self.login)
        if status != expected:
            said = content[:200].decode("utf-8", "replace")
            raise RefusedError(
                f"{method} https://{self.name}{path.partition('?')[0]} answered {status}: {said}", REMEDY
            )
        return place, content

    def _request(self, method: str, path: str, body: bytes, kind: str, login: str) -> tuple[int, str, bytes]:
        headers = {"Accept": IMAGE} | ({"Content-Type": kind} if kind else {})
        if login:
            headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
        connection = Loopback(self.name, self.certificate)
        try:
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            return response.status, response.getheader("Location", ""), response.read(LARGEST)
        except (OSError, http.client.HTTPException, ssl.SSLError) as error:
            raise RefusedError(f"https://{self.name}{path.partition('?')[0]}: {error}", REMEDY) from None
        finally:
            connection.close()
