"""A registry asked on its own socket, past nginx: whether a new one answers as the one that it shall replace."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import stat
import time
from pathlib import Path
from typing import NamedTuple

from ...layout import Service
from ...machine.onhost import beneath
from ...machine.onhost.atomic import RefusedError
from .beside import SOCKETS, Found
from .source import ACCEPT

SECONDS = 20
# How many images are looked at, and how much of an answer.
SAMPLES, LARGEST = 5, 4 << 20
# Seconds before each look.
PAUSES = (0, 0.2, 0.5, 1)


class Answer(NamedTuple):
    """Of a registry. asked: method and path."""

    asked: str
    status: int
    digest: str
    location: str
    body: bytes


class OverSocket(http.client.HTTPConnection):
    """HTTP to a socket of a container, below a directory that is the container's own: no link is followed.

    place: of that directory, below top. patience: seconds.
    """

    def __init__(self, top: Path, place: str, name: str, patience: float = SECONDS) -> None:
        super().__init__("localhost", timeout=patience)
        self._place, self._name = (top, place), name

    def connect(self) -> None:
        """To the socket itself. Raises OSError where it is none."""
        with beneath.directory(*self._place) as handle:
            if not stat.S_ISSOCK(os.stat(self._name, dir_fd=handle, follow_symlinks=False).st_mode):
                raise ConnectionRefusedError(f"{self._name} is no socket")
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            # A socket's path has 107 characters at most (unix(7)); this one is short wherever DEPLOY_DIR is.
            self.sock.connect(f"/proc/self/fd/{handle}/{self._name}")


def over(top: Path, name: str, patience: float = SECONDS) -> OverSocket:
    """To a socket, or to the one beside it that a link of that name leads to (compose.yml: own_socket).

    name: its path below top. Raises OSError where the link leads anywhere else.
    """
    place, _, name = name.rpartition("/")
    with beneath.directory(top, place) as handle:
        return OverSocket(top, place, _target(handle, name), patience)


def _target(handle: int, name: str) -> str:
    try:
        target = os.readlink(name, dir_fd=handle)
    except OSError:
        return name
    if "/" in target:
        raise ConnectionRefusedError(f"{name} leads elsewhere")
    return target


def ask(root: Path, found: Found, path: str, method: str = "GET", login: str = "") -> Answer:
    """One request. Raises RefusedError where there is no answer."""
    connection = OverSocket(root, SOCKETS[found["service"]], f"{found['id']}.sock")
    headers = {"Accept": ACCEPT, "Host": "localhost"}
    if login:
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    try:
        connection.request(method, path, headers=headers)
        got = connection.getresponse()
        digest, location = got.getheader("Docker-Content-Digest", ""), got.getheader("Location", "")
        return Answer(f"{method} {path.partition('?')[0]}", got.status, digest, location, got.read(LARGEST))
    except (OSError, http.client.HTTPException) as error:
        raise RefusedError(f"{found['name']} does not answer: {error}", "./fab -H … logs") from None
    finally:
        connection.close()


def require(root: Path, old: Found, new: Found) -> None:
    """Raise RefusedError unless the new one answers as it must, and as the old one does. Nothing is left behind."""
    if new["service"] == Service.AUTH:
        for login in ("", "nobody:wrong"):
            _expect(new, ask(root, new, "/v2/", login=login), 401)
        return
    _expect(new, ask(root, new, "/v2/"), 200)
    for path in _samples(root, old):
        _require_alike(root, old, new, path)
    begun = ask(root, new, "/v2/push-test/blobs/uploads/", "POST")
    _expect(new, begun, 202)
    _expect(new, ask(root, new, begun.location.removeprefix("http://localhost"), "DELETE"), 204)


def _require_alike(root: Path, old: Found, new: Found, path: str) -> None:
    """More than once: somebody may delete it, or write it at this moment."""
    for pause in PAUSES:
        time.sleep(pause)
        try:
            was = ask(root, old, path)
        except RefusedError:
            # That is no fault of the new one.
            return
        now = ask(root, new, path)
        if was.status >= 400 or (now.status, now.digest) == (was.status, was.digest):
            return
    raise RefusedError(f"the new registry answers {path} with {now.status}, the old one with {was.status}")


def _expect(new: Found, got: Answer, status: int) -> None:
    if got.status != status:
        raise RefusedError(f"the new {new['service']} answers {got.asked} with {got.status}, not with {status}")


def _samples(root: Path, old: Found) -> list[str]:
    """A few manifests and layers that the old one has."""
    paths: list[str] = []
    with contextlib.suppress(RefusedError, ValueError, LookupError, TypeError, AttributeError):
        for repository in json.loads(ask(root, old, f"/v2/_catalog?n={SAMPLES}").body)["repositories"]:
            tags = json.loads(ask(root, old, f"/v2/{repository}/tags/list").body)["tags"] or []
            for tag in tags[:1]:
                named = ask(root, old, f"/v2/{repository}/manifests/{tag}")
                manifest = json.loads(named.body)
                # By its digest: version 2 writes a tag in place, so in the middle of a push it cannot be read.
                paths.append(f"/v2/{repository}/manifests/{named.digest or tag}")
                layers = [manifest["config"], *manifest["layers"]] if "config" in manifest else []
                paths += [f"/v2/{repository}/blobs/{layer['digest']}" for layer in layers[:2]]
    return paths
