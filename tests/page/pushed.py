"""Pushes made content into a registry, as a client does: for the demo, and for the tests with the real one."""

from __future__ import annotations

import base64
import http.client
import ssl
from dataclasses import dataclass
from pathlib import Path

from .made import Content


class PushError(Exception):
    """What the registry did not take, and what it said."""


@dataclass
class Registry:
    """A registry of the sandbox: its name, its port on this machine, NAME:PASSWORD of an account."""

    name: str
    port: int
    authority: Path
    login: str

    def connect(self) -> http.client.HTTPSConnection:
        """To 127.0.0.1, under the registry's name. Raises OSError where nobody listens."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60)
        http.client.HTTPConnection.connect(connection)
        context = ssl.create_default_context(cafile=str(self.authority))
        connection.sock = context.wrap_socket(connection.sock, server_hostname=self.name)
        return connection

    @property
    def headers(self) -> dict[str, str]:
        login = base64.b64encode(self.login.encode()).decode()
        return {"Host": f"{self.name}:{self.port}", "Authorization": f"Basic {login}"}


def push(content: Content, registry: Registry) -> int:
    """Bring all of it there, the oldest tags first. Returns how many tags. Raises PushError."""
    connection = registry.connect()

    def ask(method: str, path: str, body: bytes = b"", kind: str = "") -> http.client.HTTPResponse:
        headers = registry.headers | ({"Content-Type": kind} if kind else {})
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status not in (200, 201, 202, 404) or (answer.status == 404 and method != "HEAD"):
            raise PushError(f"{method} {path}: {answer.status} {said.decode()[:200]}")
        return answer

    def manifest(repository: str, reference: str, digest: str) -> None:
        kind, text = content.manifests[repository, digest]
        ask("PUT", f"/v2/{repository}/manifests/{reference}", text, kind)

    for (repository, digest), (_, text) in content.manifests.items():
        for blob, held in content.blobs.items():
            if blob.encode() in text and ask("HEAD", f"/v2/{repository}/blobs/{blob}").status == 404:
                begun = ask("POST", f"/v2/{repository}/blobs/uploads/").getheader("Location") or ""
                place = "/" + begun.split("/", 3)[3]
                ask("PUT", f"{place}&digest={blob}", held, "application/octet-stream")
        manifest(repository, digest, digest)
    tags = [
        (tag.pushed, repository, name, tag.digest)
        for repository, all_ in content.tags.items()
        for name, tag in all_.items()
    ]
    there = [row for row in sorted(tags) if (row[1], row[3]) in content.manifests]
    for _, repository, name, digest in there:
        manifest(repository, name, digest)
    for repository, hung in content.hung.items():
        for name, digest in hung.items():
            manifest(repository, name, digest)
    connection.close()
    return len(there)
