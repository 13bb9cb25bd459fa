"""Sockets asked on the server itself: nginx for its connections, registry and `auth` whether they answer."""

from __future__ import annotations

import http.client
import os
import re
import socket
import stat
from pathlib import Path

from ...layout import Inside, Service
from ...machine.onhost import beneath
from ...machine.onhost.atomic import RefusedError
from ...stack.onhost import workers
from ...stack.onhost.beside import SOCKETS

SECONDS = 5
# What stub_status says (nginx, ngx_http_stub_status_module) -> the names of nginx-prometheus-exporter.
STATUS = re.compile(
    r"Active connections: (?P<active>\d+)\s+server accepts handled requests\s+"
    r"(?P<accepted>\d+) (?P<handled>\d+) (?P<requests>\d+)\s+"
    r"Reading: (?P<reading>\d+) Writing: (?P<writing>\d+) Waiting: (?P<waiting>\d+)"
)


class _Socket(http.client.HTTPConnection):
    """HTTP over a socket in a directory that a container may have touched: no link is followed."""

    def __init__(self, top: Path, name: str) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._top, self._name = top, name

    def connect(self) -> None:
        place, _, name = self._name.rpartition("/")
        with beneath.directory(self._top, place) as handle:
            name = _target(handle, name)
            if not stat.S_ISSOCK(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode):
                raise ConnectionRefusedError(f"{name} is no socket")
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(SECONDS)
            # A socket's path has 107 characters at most (unix(7)); this one is short wherever DEPLOY_DIR is.
            self.sock.connect(f"/proc/self/fd/{handle}/{name}")


def _target(handle: int, name: str) -> str:
    """What a link to a name beside it leads to (compose.yml: own_socket); any other link leads nowhere."""
    try:
        target = os.readlink(name, dir_fd=handle)
    except OSError:
        return name
    if "/" in target:
        raise ConnectionRefusedError(f"{name} leads elsewhere")
    return target


def status() -> dict[str, int]:
    """What nginx says of its connections: see STATUS; nothing where it does not answer."""
    try:
        found = STATUS.match(_get(Path(f"/proc/{workers.master()}/root"), Inside.STATUS.lstrip("/"))[1])
    except (OSError, RefusedError, http.client.HTTPException):
        return {}
    return {name: int(number) for name, number in found.groupdict().items()} if found else {}


def answers(root: Path, service: str) -> bool:
    """Whether the registry, or `auth`, answers as it must: `auth` asks for a password."""
    expected = 401 if service == Service.AUTH else 200
    try:
        return _get(root, f"{SOCKETS[service]}/{service}.sock", "/v2/")[0] == expected
    except (OSError, RefusedError, http.client.HTTPException):
        return False


def _get(top: Path, name: str, path: str = "/") -> tuple[int, str]:
    connection = _Socket(top, name)
    try:
        connection.request("GET", path)
        got = connection.getresponse()
        return got.status, got.read(1 << 16).decode("ascii", "replace")
    finally:
        connection.close()
