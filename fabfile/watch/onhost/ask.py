"""Sockets asked on the server itself: nginx for its connections, registry and `auth` whether they answer."""

from __future__ import annotations

import http.client
import re
from pathlib import Path

from ...layout import Inside, Service
from ...machine.onhost.atomic import RefusedError
from ...stack.onhost import workers
from ...stack.onhost.ask import over
from ...stack.onhost.beside import SOCKETS

SECONDS = 5
# What stub_status says (nginx, ngx_http_stub_status_module) -> the names of nginx-prometheus-exporter.
STATUS = re.compile(
    r"Active connections: (?P<active>\d+)\s+server accepts handled requests\s+"
    r"(?P<accepted>\d+) (?P<handled>\d+) (?P<requests>\d+)\s+"
    r"Reading: (?P<reading>\d+) Writing: (?P<writing>\d+) Waiting: (?P<waiting>\d+)"
)


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
    connection = over(top, name, SECONDS)
    try:
        connection.request("GET", path)
        got = connection.getresponse()
        return got.status, got.read(1 << 16).decode("ascii", "replace")
    finally:
        connection.close()
