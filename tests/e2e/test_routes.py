"""Every route of the registry, by every method, as every kind of account: what nginx lets through."""

from __future__ import annotations

import base64
import http.client
import itertools
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from tests.routes import ACCOUNTS, DIGEST, may, rows
from tests.sandbox.demo import DOMAIN

from .world import World

PASSWORD = "of-the-routes"
NAMES = ("team-a/x", "other/x")


class Wire:
    """One connection that is kept, as a client does."""

    def __init__(self, world: World) -> None:
        context = ssl.create_default_context(cafile=str(world.sandbox.directory / "ca.pem"))
        self._port = world.sandbox.port(443)
        self._connection = http.client.HTTPSConnection(DOMAIN, self._port, timeout=60)
        self._context = context

    def ask(self, user: str, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        """The status of a request; with no user, of a stranger's."""
        if user:
            login = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            return self._ask(method, path, body, fields)
        except (http.client.RemoteDisconnected, ConnectionError):
            # One that was kept may be closed by now: then once more, as every client does.
            self._connection.close()
            return self._ask(method, path, body, fields)

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> int:
        if self._connection.sock is None:
            plain = socket.create_connection(("127.0.0.1", self._port), 60)
            self._connection.sock = self._context.wrap_socket(plain, server_hostname=DOMAIN)
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


@pytest.fixture(scope="module")
def team(world: World) -> Iterator[World]:
    world.standard()
    for user, account in ACCOUNTS.items():
        limits = [part for text in account.repositories for part in ("--repository", text)]
        world.fab("htpasswd", "--user", user, "--role", account.role, *limits, input=PASSWORD + "\n")
    yield world
    for user in ACCOUNTS:
        world.fab("htpasswd", "--remove", user)


def test_every_route_by_every_method_as_every_account(team: World) -> None:
    wire, refused = Wire(team), 0
    table = list(rows(*NAMES))
    for method, path, name, route in table:
        for user in ACCOUNTS:
            status = wire.ask(user, method, path)
            # nginx itself sends /v2 on as /v2/, for whoever has an account.
            expected = path == "/v2" or may(user, name, route)
            assert (status != 403) == expected, (method, path, user, route, status)
            assert status not in (401, 429, 500, 502, 503), (method, path, user, status)
            refused += status == 403
        assert wire.ask("", method, path) == 401, (method, path)
    print(f"\nroutes: {len(table)} rows x {len(ACCOUNTS)} accounts, {refused} refusals as they should be")


# Where the registry reads `mount` and `from`: in the query and, with a form's type, in the body.
WAYS = [
    (method, form, way)
    for method in ("POST", "PUT", "PATCH", "GET", "DELETE")
    for form in ("/v2/NAME/blobs/uploads/", "/v2/NAME/blobs/uploads/UUID")
    for way in ("query", "form", "body wins", "multipart")
]


def mount(path: str, digest: str, way: str) -> tuple[str, bytes, str]:
    """Path, body and its type. A form's body wins over the query, and the parts of another count on every method."""
    wanted = {"mount": digest, "from": "other/secret"}
    query = urlencode(wanted if way == "query" else {"mount": digest, "from": "team-a/x"})
    if way in ("query", "body wins"):
        path += ("&" if "?" in path else "?") + query
    parts = "".join(
        f'--cut\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in wanted.items()
    )
    return {
        "query": (path, b"", "application/x-www-form-urlencoded"),
        "multipart": (path, f"{parts}--cut--\r\n".encode(), "multipart/form-data; boundary=cut"),
    }.get(way, (path, urlencode(wanted).encode(), "application/x-www-form-urlencoded"))


def test_no_way_leads_to_a_layer_of_another_repository(team: World) -> None:
    """Finding 1 of the hostile review: a mount by the address of an upload that has begun."""
    wire = Wire(team)
    secret = team.push_blob("other/secret", b"layer of the others", "-u", f"boss:{PASSWORD}")
    mounted = {}
    for user, (method, form, way) in itertools.product(ACCOUNTS, WAYS):
        begun = "none"
        login = ("-u", f"{user}:{PASSWORD}")
        if "UUID" in form and user not in ("puller", "reader"):
            begun = team.begin_upload("team-a/x", *login).rpartition("/")[2]
        path = form.replace("NAME", "team-a/x").replace("UUID", begun)
        path, body, kind = mount(path, secret, way)
        status = wire.ask(user, method, path, body, Content_Type=kind)
        there = wire.ask("boss", "HEAD", f"/v2/team-a/x/blobs/{secret}") == 200
        if there:
            mounted[user, method, form, way] = status
            assert wire.ask("boss", "DELETE", f"/v2/team-a/x/blobs/{secret}") == 202
    assert {user for user, *_ in mounted} == {"pusher", "boss"}, mounted
    # It does mount where it may, so the rows above can fail.
    assert ("pusher", "POST", "/v2/NAME/blobs/uploads/", "query") in mounted
    assert ("boss", "POST", "/v2/NAME/blobs/uploads/UUID", "query") in mounted


def test_a_page_of_another_site_changes_nothing(team: World) -> None:
    """A browser that remembers a password sends it along with what any page asks for."""
    wire = Wire(team)
    for site, method, user in itertools.product(
        ("cross-site", "same-site", "same-origin", "none"),
        ("GET", "POST", "DELETE"),
        ("boss", "ci"),
    ):
        path = "/v2/team-a/x/blobs/uploads/" if method == "POST" else f"/v2/team-a/x/manifests/{DIGEST}"
        status = wire.ask(user, method, path, Sec_Fetch_Site=site)
        foreign = method != "GET" and site in ("cross-site", "same-site")
        limited = user == "ci" and method == "DELETE"
        assert (status == 403) == (foreign or limited), (site, method, user, status)


def test_health_takes_no_account(team: World) -> None:
    """What it says when something is wrong: tests/unit/test_health.py."""
    assert Wire(team).ask("", "GET", "/health") == 200
