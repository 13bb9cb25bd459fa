"""/health, and whose address counts behind a load balancer, asked of a real nginx with our whole configuration.

The registry and `auth` behind it are two sockets of the same nginx.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from fabfile import layout
from fabfile.settings import load
from tests import nginx

from .test_access import HOST, payload
from .test_accounts import HASH

BEHIND = """
server {
    listen unix:/sockets/registry/registry.sock;
    access_log /run/asked.log;
    if (-f FULL/ill) {
        return 503;
    }
    return 200;
}
server {
    listen unix:/sockets/auth/auth.sock;
    access_log off;
    if ($http_authorization != "Basic RIGHT") {
        return 401;
    }
    return 200;
}
"""


CLIENT = "127.0.0.1"
RIGHT = {"Authorization": f"Basic {payload('boss')}"}
WRONG = {"Authorization": f"Basic {payload('nobody')}"}


@cache
def trusting() -> ssl.SSLContext:
    """Whoever answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@dataclass(frozen=True)
class Server:
    """A running nginx, and where its files are."""

    directory: Path
    ports: dict[str, int]
    client: str = CLIENT

    def ask(
        self,
        port: str,
        path: str,
        *,
        name: str = HOST,
        method: str = "GET",
        first: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        """Status and body. first: what is sent before all else. (0, "") where nothing comes back."""
        plain = socket.socket()
        plain.settimeout(20)
        # Else its port is nobody's for a minute, and a server of another test may want it.
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        plain.bind((self.client, 0))
        connection = http.client.HTTPConnection(name, timeout=20)
        connection.sock = plain
        with contextlib.closing(connection):
            try:
                plain.connect(("127.0.0.1", self.ports[port]))
                plain.sendall(first)
                if port != "80":
                    connection.sock = trusting().wrap_socket(plain, server_hostname=name)
                connection.request(method, path, headers=dict(headers or {}))
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLError):
                return 0, ""

    def pings(self) -> list[str]:
        """The address of each that asked for /v2/ with a password that was right."""
        return re.findall(r'^(\S+) - boss .*"GET /v2/ ', (self.directory / "log").read_text(), re.M)

    def refused_from(self, port: str, *, first: bytes = b"", forwarded: str = "") -> str:
        """The address that nginx says a wrong login came from."""
        log = self.directory / "uses/refused.log"
        before = len(log.read_text().splitlines())
        self.ask(port, "/v2/", first=first, headers={**WRONG, **({"X-Forwarded-For": forwarded} if forwarded else {})})
        (line,) = nginx.written(log, before, 1)
        return line.split("\t")[2]


@contextlib.contextmanager
def server(line: str, *, certificate: bool = True) -> Iterator[Server]:
    if not nginx.where():
        pytest.skip("there is no nginx: neither a program, nor the sandbox's image (./inv test makes it)")
    with nginx.place() as directory:
        env, accounts = directory / ".env", directory / "accounts"
        env.write_text(f"{nginx.MANDATORY}{line}\n")
        accounts.write_text(f"# boss role=admin repositories= changed=2026\nboss:{HASH}\n")
        override = BEHIND.replace("FULL", layout.Inside.FULL).replace("RIGHT", payload("boss"))
        ports = nginx.write(directory, load(env), accounts, override=override)
        if not certificate:
            (directory / "https.conf").unlink()
            (directory / "override.conf").unlink()
        with nginx.running(directory, ports["443"]):
            yield Server(directory, ports)


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    with server("") as found:
        yield found


def test_health_is_the_same_to_everyone_by_every_method(plain: Server) -> None:
    logins: tuple[dict[str, str], ...] = ({}, RIGHT, WRONG)
    for port, method, login in itertools.product(("80", "443"), ("GET", "HEAD", "POST", "OPTIONS"), logins):
        said = "" if method == "HEAD" else "ok\n"
        assert plain.ask(port, "/health", method=method, headers=login) == (200, said), (port, method, login)
    # What is near it is for nobody.
    for path in ("/health/", "/healthz", "/health/x", "/Health"):
        assert plain.ask("443", path)[0] == 401, path
        assert plain.ask("80", path)[0] == 308, path


def test_health_is_asked_of_the_registry_once_a_second_at_most(plain: Server) -> None:
    log = plain.directory / "run/asked.log"
    before = len(log.read_text().splitlines()) if log.exists() else 0
    for _ in range(200):
        assert plain.ask("80", "/health")[0] == 200
    asked = [line for line in log.read_text().splitlines()[before:] if '"GET / ' in line]
    # 200 requests take less than a second or two; even on a slow machine they are not asked one by one.
    assert len(asked) < 50


def test_a_server_that_takes_leave_or_whose_registry_is_ill_is_unfit(plain: Server) -> None:
    leaving, ill = plain.directory / layout.DRAINING.removeprefix("nginx/"), plain.directory / "full/ill"
    for port in ("80", "443"):
        leaving.touch()
        assert plain.ask(port, "/health") == (503, "this server takes leave\n")
        # Whoever does not look at that is served as ever.
        assert plain.ask("443", "/v2/", headers=RIGHT)[0] == 200
        leaving.unlink()
    ill.touch()
    # What was well is believed for a second.
    end = time.monotonic() + 10
    while plain.ask("80", "/health")[0] != 503 and time.monotonic() < end:
        pass
    for port in ("80", "443"):
        assert plain.ask(port, "/health") == (503, "the registry does not answer\n")
    ill.unlink()
    assert plain.ask("443", "/health") == (200, "ok\n")


def test_without_a_certificate_nothing_is_served_yet() -> None:
    with server("", certificate=False) as young:
        assert young.ask("80", "/health") == (503, "nothing is served here yet\n")


def test_names_that_are_not_ours_get_no_health_but_from_a_load_balancer(plain: Server) -> None:
    assert plain.ask("80", "/health", name="192.0.2.1") == (0, "")
    with server(f"LOAD_BALANCER={CLIENT}") as behind:
        assert behind.ask("80", "/health", name="192.0.2.1") == (200, "ok\n")
        assert behind.ask("80", "/", name="192.0.2.1") == (0, "")
        # The balancer itself asks, whatever it says of somebody else.
        assert behind.ask("80", "/health", name="192.0.2.1", headers={"X-Forwarded-For": "203.0.113.9"}) == (
            200,
            "ok\n",
        )
    with server("LOAD_BALANCER=192.0.2.7") as behind:
        assert behind.ask("80", "/health", name="192.0.2.1", headers={"X-Forwarded-For": "192.0.2.7"}) == (0, "")


def test_a_load_balancer_alone_is_believed_of_a_clients_address(plain: Server) -> None:
    claimed = "203.0.113.9"
    assert plain.refused_from("443", forwarded=claimed) == CLIENT
    with server("LOAD_BALANCER=192.0.2.7") as elsewhere:
        assert elsewhere.refused_from("443", forwarded=claimed) == CLIENT
    with server(f"LOAD_BALANCER={CLIENT} 192.0.2.0/24") as behind:
        assert behind.refused_from("443", forwarded=claimed) == claimed
        # The last one that is no balancer: before it stands what the client itself wrote.
        assert behind.refused_from("443", forwarded=f"198.51.100.1, {claimed}, 192.0.2.7") == claimed


def test_the_proxy_protocol_is_spoken_on_a_port_of_its_own() -> None:
    first = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n"
    port = str(layout.PROXY_PORT)
    with server(f"LOAD_BALANCER=proxy {CLIENT}") as behind:
        assert behind.refused_from(port, first=first) == "203.0.113.9"
        assert behind.ask(port, "/health", first=first) == (200, "ok\n")
        # Those who come by themselves say nothing of that, nor is the header of the other form believed.
        assert behind.refused_from("443", forwarded="203.0.113.9") == CLIENT
    with server("LOAD_BALANCER=proxy 192.0.2.7") as elsewhere:
        assert elsewhere.refused_from(port, first=first) == CLIENT


@pytest.mark.skipif(not shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin"), reason="no haproxy")
def test_the_haproxy_of_the_page_tells_the_client_and_leaves_alone_who_takes_leave(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/balancer.md").read_text()
    (text,) = re.findall(r"```text\n(defaults\n.*?)```", page, re.S)
    with server("LOAD_BALANCER=proxy 127.0.0.1") as a, server("LOAD_BALANCER=proxy 127.0.0.1") as b:
        front = nginx.free_ports("80", "443")
        for name, free in front.items():
            text = text.replace(f"bind :{name}", f"bind 127.0.0.1:{free}")
        for address, each in (("10.0.0.11", a), ("10.0.0.12", b)):
            for port in ("80", "8443"):
                # Each has its own port for the checks here.
                checked = f" port {each.ports['80']}" if port == "8443" else ""
                text = text.replace(f"{address}:{port}\n", f"127.0.0.1:{each.ports[port]}{checked}\n")
        config = tmp_path / "haproxy.cfg"
        config.write_text(text.replace("check port 80", "check").replace("inter 5s", "inter 100ms"))
        path = {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin"}
        with subprocess.Popen(["haproxy", "-db", "-f", str(config)], env=path) as process:
            try:
                through, end = Server(a.directory, front, client="127.0.0.2"), time.monotonic() + 20
                while through.ask("443", "/health")[0] != 200 and time.monotonic() < end:
                    pass
                for _ in range(10):
                    assert through.ask("443", "/v2/", headers=RIGHT)[0] == 200
                assert {*a.pings(), *b.pings()} == {"127.0.0.2"}
                (a.directory / "full/draining").touch()
                before = -1
                while before != len(a.pings()) and time.monotonic() < end:
                    before = len(a.pings())
                    answers = [through.ask("443", "/v2/", headers=RIGHT)[0] for _ in range(10)]
                    assert set(answers) == {200}
                assert time.monotonic() < end
            finally:
                process.terminate()
