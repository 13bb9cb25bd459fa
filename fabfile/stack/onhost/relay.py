"""A registry that moves to another server: nothing may change for some seconds; then the old one hands people over.

nginx/full/moving.json   nobody pushes or deletes here. It lies on both servers while the last of it is copied, and on
                         the old one for ever: whatever starts there, nothing is pushed there again
.moved                   of the old server: all that comes to ports 80 and 443 goes to the new one, as it is (TCP). What
                         nginx runs then knows neither accounts nor the registry, after a reboot too
.relayed                 of the new server: the addresses of the old one, behind which there are many people
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from ... import layout
from ...machine.onhost.atomic import RefusedError, replace

RELAYED = "relayed.conf"
# A move that died lets people push again after that, where the other server cannot have been pushed to.
LONGEST = 600.0
SECONDS = 5
MESSAGE = "the registry is moving to another server: push again in a minute; pulls go on"
# Debian's nginx has the module in a file of its own; the official image has it built in.
MODULES = "include /etc/nginx/modules-enabled/*mod-stream.conf;\n"
# proxy_timeout: the registry is silent for a while when it hashes a large layer.
STREAM = """
stream {{
    proxy_connect_timeout 10s;
    proxy_timeout 1h;
    server {{
        listen 80;
        proxy_pass {address}:80;
    }}
    server {{
        listen 443;
        proxy_pass {address}:443;
    }}
}}

# For the health check alone.
http {{
    access_log off;
    # The image is read-only.
    client_body_temp_path /run/client-body;
    proxy_temp_path /run/proxy;
    fastcgi_temp_path /run/fastcgi;
    uwsgi_temp_path /run/uwsgi;
    scgi_temp_path /run/scgi;
    server {{
        listen 127.0.0.1:8080;
        return 200;
    }}
}}
"""


class Moved(TypedDict):
    """Where the registry has gone. to: what to type behind -H; address: IPv4 or IPv6; when: seconds since 1970."""

    to: str
    address: str
    when: float


def moved(directory: str) -> Moved | None:
    """See Moved; None where it is here. Changes nothing. What cannot be read has no address, and moved all the same."""
    file = Path(directory, layout.MOVED)
    if not os.path.lexists(file):
        return None
    try:
        _, text = file.read_text("utf-8").split("\n", 1)
        found: Moved = json.loads(text)
        return {"to": str(found["to"]), "address": str(ipaddress.ip_address(found["address"])), "when": found["when"]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RefusedError(f"{file} cannot be read: {error}", "it says where this registry has moved to") from None


class Where(TypedDict):
    """moved: see Moved. frozen: whether nobody may push here."""

    moved: Moved | None
    frozen: bool


def where(directory: str) -> Where:
    """Where the registry is. Changes nothing."""
    return {"moved": moved(directory), "frozen": frozen(directory)}


def leave(directory: str, to: str, address: str) -> None:
    """From now on this registry is the one at that address: `up` makes nginx hand all over to it.

    to: what to type behind -H. Raises RefusedError where pushes were let in since they were refused.
    """
    root = Path(directory)
    try:
        # It stays there, and is young again: see `let_in_again`.
        os.utime(root / layout.FULL / f"{layout.FULL_MOVING}.json")
    except FileNotFoundError:
        raise RefusedError(
            "nothing was changed: it took too long, and pushes were let in again meanwhile",
            "run the same command again",
        ) from None
    found: Moved = {"to": to, "address": str(ipaddress.ip_address(address)), "when": time.time()}
    # lock.sh reads the first line.
    replace(root / layout.MOVED, f"{to}\n{json.dumps(found)}\n".encode(), 0o644)


def come_back(directory: str) -> None:
    """It is here again. What nginx runs becomes other with the next `up`."""
    Path(directory, layout.MOVED).unlink(missing_ok=True)


def freeze(directory: str) -> None:
    """Have nginx refuse every push and every deletion; pulls go on. Nothing is reloaded."""
    place = Path(directory, layout.FULL)
    if not place.is_dir():
        place.mkdir()
        place.chmod(0o755)
    answer = {"errors": [{"code": "DENIED", "message": MESSAGE}]}
    replace(place / f"{layout.FULL_MOVING}.json", json.dumps(answer).encode(), 0o644)


def thaw(directory: str) -> bool:
    """Let people push again. Returns whether they could not."""
    try:
        Path(directory, layout.FULL, f"{layout.FULL_MOVING}.json").unlink()
    except FileNotFoundError:
        return False
    return True


def frozen(directory: str) -> bool:
    """Whether nobody may push. Changes nothing."""
    return Path(directory, layout.FULL, f"{layout.FULL_MOVING}.json").is_file()


def let_in_again(root: Path) -> bool:
    """`thaw`, where a move died before anything had gone. For cron. Returns whether it did."""
    file = root / layout.FULL / f"{layout.FULL_MOVING}.json"
    with contextlib.suppress(FileNotFoundError):
        old = time.time() - file.stat().st_mtime > LONGEST
        # Something is on its way to this server, or has left it: then nobody knows here what the other one does.
        between = any(os.path.lexists(root / name) for name in (layout.MOVED, layout.RESTORING, layout.SWITCHING))
        return old and not between and thaw(str(root))
    return False


def know(directory: str, addresses: Sequence[str]) -> None:
    """Those behind these addresses, of the old server, are many people: they are not counted as one. [] for none."""
    file = Path(directory, layout.RELAYED)
    if addresses:
        replace(file, json.dumps(sorted(addresses)).encode(), 0o644)
    else:
        file.unlink(missing_ok=True)


def known(root: Path) -> dict[str, bytes]:
    """The part of nginx's configuration that `know` makes: lines of a map in identity.conf."""
    try:
        found = [ipaddress.ip_address(each) for each in json.loads((root / layout.RELAYED).read_text())]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise RefusedError(
            f"{root / layout.RELAYED} cannot be read: {error}", "remove it, then ./fab -H … up"
        ) from None
    lines = "".join(f'"~^{str(each).replace(".", "[.]")} " "";\n' for each in found)
    return {RELAYED: lines.encode()}


def configuration(plain: dict[str, bytes], address: str) -> dict[str, bytes]:
    """What nginx runs on the old server. plain: what it would run else, of which users and limits are taken."""
    head = plain["nginx.conf"].decode().partition("\nhttp {")[0]
    host = f"[{address}]" if ":" in address else address
    return {"nginx.conf": f"{MODULES}{head}\n{STREAM.format(address=host)}".encode()}


def with_stream(said: str) -> str:
    """What nginx said of a configuration. Raises RefusedError where that is that it has not got the module."""
    if 'unknown directive "stream"' in said:
        raise RefusedError(
            "this nginx cannot hand connections over: it has no stream module",
            "NGINX_IMAGE: the official image has it, Debian's nginx with libnginx-mod-stream; then upgrade",
        )
    return said


def addresses() -> list[str]:
    """Those of this machine that others may reach it by, as far as it knows. Changes nothing."""
    # hostname(1): without loopback and link-local ones.
    try:
        said = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    except FileNotFoundError:
        said = []
    found = []
    for each in said:
        with contextlib.suppress(ValueError):
            found.append(str(ipaddress.ip_address(each)))
    return found


def resolved(names: Sequence[str]) -> list[str]:
    """The addresses of these names, or addresses, as this machine finds them. Changes nothing."""
    found: dict[str, None] = {}
    for name in names:
        with contextlib.suppress(OSError):
            found |= dict.fromkeys(str(each[4][0]) for each in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM))
    return list(found)


def reach(addresses: Sequence[str], name: str, token: str) -> tuple[str, list[str]]:
    """The first of these addresses at which that other server answers on both ports, and why the others are not it.

    token: of a file that lies there now (certificate/onhost/probe.py); name: of the registry. ('', …) for none.
    """
    wrong = []
    for address in addresses:
        connection = http.client.HTTPConnection(address, 80, timeout=SECONDS)
        try:
            connection.request("GET", f"/.well-known/acme-challenge/{token}", headers={"Host": name})
            answer = connection.getresponse()
            if answer.read(200).decode("utf-8", "replace") != token:
                wrong.append(f"{address} is another machine")
                continue
            with socket.create_connection((address, 443), timeout=SECONDS):
                return address, wrong
        except (OSError, http.client.HTTPException) as error:
            wrong.append(f"{address}: {getattr(error, 'strerror', None) or error}")
        finally:
            connection.close()
    return "", wrong
