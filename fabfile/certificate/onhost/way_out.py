"""Whether containers reach the world: certbot is one, and what this host itself reaches proves nothing for it."""

from __future__ import annotations

import shutil
import socket
import subprocess
from urllib.parse import urlsplit

from ...machine.onhost.atomic import RefusedError
from ...stack.onhost.containers import nginx_container

SECONDS = 5
REMEDY = "on the server: systemctl restart docker, or take `iptables: false` out of /etc/docker/daemon.json first"
# In the network of a container, with the host's own Python: its image may have none.
CONNECT = (
    "import socket, sys\n"
    "for address in sys.argv[2:]:\n"
    " try:\n"
    f"  socket.create_connection((address, int(sys.argv[1])), {SECONDS}).close()\n"
    " except OSError:\n"
    "  continue\n"
    " print('yes')\n"
    " break\n"
)


def closed(url: str) -> str:
    """What is wrong where this host reaches the server of a URL and a container does not; '' elsewhere.

    By the addresses that the host knows, so names are no matter. Where that cannot be looked at, nothing is said.
    """
    parts = urlsplit(url)
    port = parts.port or 443
    try:
        container = nginx_container()
    except RefusedError:
        return ""
    process = _printed(["docker", "inspect", "--format", "{{.State.Pid}}", container]) if container else ""
    if not process or not shutil.which("nsenter"):
        return ""
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError:
        return ""
    python = ["python3", "-I", "-B", "-S", "-c", CONNECT, str(port), *sorted({str(each[0]) for *_, each in found})]
    inside = subprocess.run(
        ["nsenter", "--target", process, "--net", *python], capture_output=True, text=True, check=False
    )
    if inside.returncode or inside.stdout.strip() or not _printed(python):
        return ""
    return f"containers have no way out: this server reaches {parts.netloc}, and its containers do not"


def _printed(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
