"""Who may do what, asked of a real nginx: role x method x path, with and without ANONYMOUS_PULL.

Our whole configuration runs; the registry and `auth` behind it are two sockets of the same nginx that say yes.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fabfile.settings import load
from fabfile.stack import templates
from tests import nginx
from tests.routes import ACCOUNTS, DIGEST, METHODS, PULL, may, rows

from .test_accounts import HASH

HOST = "registry.example.org"
PUBLIC = "public/* base push*"
NAMES = ("team-a/x", "other/x", "public/x")
# Besides those of the table: accounts for their names and patterns, and names that are none.
LIMITED = {
    "a.b": ("team-a/*", "base"),
    "many": ("*x/y*", "**z", "1.5/*/c"),
    "all": ("**",),
    # It begins as the name of one that may do everything.
    "bossier": ("team-b/*",),
}
NOBODIES = ("axb", "A.b", "bossy", "xboss", "unknown")
# What there is besides ours, as the registry and `auth` are somewhere else: the decision comes in a header.
OVERRIDE = """
map $https $told {
    on "$backend $route $scope $spelling";
    default "";
}
add_header X-Decision $told always;
map $http_authorization $right {
    "~^Basic (KNOWN)\\z" yes;
    default no;
}
server {
    listen unix:/sockets/registry/registry.sock;
    access_log off;
    add_header Docker-Distribution-Api-Version registry/2.0;
    return 200 "registry: $request_uri $http_content_type$http_authorization";
}
server {
    listen unix:/sockets/auth/auth.sock;
    access_log off;
    if ($right = no) {
        return 401;
    }
    return 200;
}
"""


@dataclass(frozen=True)
class Answer:
    status: int
    body: str
    backend: str = ""
    route: str = ""
    scope: str = ""
    spelling: str = ""

    @property
    def message(self) -> str:
        """Why not, as clients show it."""
        return str(json.loads(self.body)["errors"][0]["message"])


class Gate:
    """One connection to nginx that is kept, as a client does."""

    def __init__(self, port: int, full: Path) -> None:
        self._port = port
        # Where a file says what must not grow.
        self.full = full
        self._connection = http.client.HTTPSConnection(HOST, port, timeout=20)

    def ask(self, user: str, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """user: an account, "anonymous" for the word of that token, or "" for nobody."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if user:
            fields["Authorization"] = "Bearer anonymous" if user == "anonymous" else f"Basic {payload(user)}"
        if self._connection.sock is None:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            plain = socket.create_connection(("127.0.0.1", self._port), 20)
            self._connection.sock = context.wrap_socket(plain, server_hostname=HOST)
        self._connection.request(method, path, body, fields)
        answer = self._connection.getresponse()
        words = answer.headers.get("X-Decision", "").split()
        return Answer(answer.status, answer.read().decode(), *words)

    def close(self) -> None:
        """The next request has a connection of its own."""
        self._connection.close()


def payload(user: str) -> str:
    return base64.b64encode(f"{user}:right".encode()).decode()


def gate(anonymous_pull: str, sections: templates.Sections = ()) -> Iterator[Gate]:
    if not nginx.where():
        pytest.skip("there is no nginx: neither a program, nor the sandbox's image (./inv test makes it)")
    with nginx.place() as directory:
        env, accounts = directory / ".env", directory / "accounts"
        env.write_text(f"{nginx.MANDATORY}ANONYMOUS_PULL='{anonymous_pull}'\n")
        rights = {user: (account.role, account.repositories) for user, account in ACCOUNTS.items()}
        rights |= {user: ("pull", repositories) for user, repositories in LIMITED.items()}
        accounts.write_text("".join(entry(user, *right) for user, right in rights.items()))
        known = "|".join(payload(user).replace("+", r"\+") for user in (*rights, *NOBODIES))
        override = OVERRIDE.replace("KNOWN", known)
        ports = nginx.write(directory, load(env), accounts, override=override, sections=sections)
        with nginx.running(directory, ports["443"]):
            yield Gate(ports["443"], directory / "full")


def entry(user: str, role: str, repositories: tuple[str, ...]) -> str:
    return f"# {user} role={role} repositories={','.join(repositories)} changed=2026\n{user}:{HASH}\n"


@pytest.fixture(scope="module")
def closed() -> Iterator[Gate]:
    """ANONYMOUS_PULL=off"""
    yield from gate("off")


@pytest.fixture(scope="module")
def opened() -> Iterator[Gate]:
    yield from gate(PUBLIC)


def decided(user: str, name: str, route: str, *, public: bool = False) -> str:
    """Who must answer what has no part in the rules for everyone, or what is."""
    if may(user, name, route):
        return "unmounted" if route == "begin" and ACCOUNTS[user].repositories else "registry"
    return "registry" if public and route in PULL else "refused"


def require(answer: Answer, backend: str, *asked: str) -> None:
    """The backend that nginx chose, and that it was the one that answered."""
    # @denied, which stands in for what a blob's backend refuses, has headers of its own.
    assert answer.backend == backend or (backend == "refused" and not answer.backend), (asked, answer)
    assert answer.status == (403 if backend == "refused" else 200), (asked, answer)
    assert answer.body.startswith("registry: ") == (backend != "refused" and asked[1] != "HEAD"), (asked, answer)


def test_every_account_by_every_method_on_every_path(closed: Gate) -> None:
    for method, path, name, route in rows(*NAMES):
        for user in ACCOUNTS:
            answer = closed.ask(user, method, path)
            if path == "/v2":
                # Sent on as /v2/ for whoever has an account.
                assert answer.status == 200, (user, method)
                continue
            require(answer, decided(user, name, route), user, method, path)
            assert answer.route in (route, ""), (method, path, answer)
        assert closed.ask("", method, path).status == 401, (method, path)
        assert closed.ask("anonymous", method, path).status == 401, (method, path)


def test_the_same_where_everyone_may_pull_something(opened: Gate) -> None:
    for path in ("/v2", "/nothing", "/authenticate", "/authenticate-or-nobody"):
        assert opened.ask("anonymous", "GET", path).status == 401, path
    for method, path, name, route in rows(*NAMES):
        if path == "/v2":
            continue
        public = route == "ping" or (name == "public/x" and "public" in path)
        for user in ACCOUNTS:
            require(opened.ask(user, method, path), decided(user, name, route, public=public), user, method, path)
        answer = opened.ask("anonymous", method, path)
        if public and route in PULL:
            require(answer, "registry", "anonymous", method, path)
        else:
            assert answer.status == 401, (method, path, answer)
        assert opened.ask("", method, path).status == 401, (method, path)


# No account but an unlimited admin gets such an address to the registry, whatever it would mean.
SPELLINGS = [
    "//v2//team-a/x/tags/list", "/v2/team-a/../team-a/x/tags/list", "/v2/team-a/./x/tags/list",
    "/v2/team-a%2fx/tags/list",
    "/v2/team-a/%78/tags/list", "/v2/team-a/x/tags/list%0a", "/v2/team-a/x/manifests/a%20b", "/v2/public//x/tags/list",
    "/v2/public/../other/x/tags/list", "/v2/other%2f..%2fpublic/x/tags/list", "/v2/%5fcatalog", "/v2//", "/v2/%0a",
    "/v2/team-a/x%20/v2/team-a/x%3f/tags/list", f"/v2/team-a/{'x' * 420}/tags/list", f"/v2/{'x' * 500}/tags/list",
]  # fmt: skip


@pytest.mark.parametrize("mode", ["closed", "opened"])
def test_no_other_spelling_gets_through(mode: str, request: pytest.FixtureRequest) -> None:
    asked: Gate = request.getfixturevalue(mode)
    for path in SPELLINGS:
        for user in ACCOUNTS:
            answer = asked.ask(user, "GET", path)
            assert answer.spelling == "odd", (path, answer)
            require(answer, "registry" if user == "boss" else "refused", user, "GET", path)
        assert asked.ask("anonymous", "GET", path).status == 401, path
    for path in ("/v2/team-a/x/tags/list?n=1", f"/v2/team-a/{'x' * 255}/manifests/{'x' * 128}"):
        assert asked.ask("reader", "GET", path).spelling == "canonical", path


def test_where_a_limited_account_is_inside(closed: Gate) -> None:
    everywhere = ("a.b", "many", "all")
    for path, inside in {
        "/v2/": everywhere,
        "/v2/team-a/x/manifests/latest": ("a.b", "all"),
        "/v2/team-a/x/y/blobs/uploads/": everywhere,
        "/v2/team-a/x/blobs/uploads/UUID": ("a.b", "all"),
        "/v2/base/tags/list": ("a.b", "all"),
        f"/v2/base/referrers/{DIGEST}": ("a.b", "all"),
        "/v2/base/x/tags/list": ("all",),
        # With a slash more, `blobs/…` is part of the name of another repository.
        "/v2/base/blobs/evil/blobs/uploads/": ("all",),
        "/v2/base/blobs/evil/manifests/1": ("all",),
        "/v2/team-b/x/manifests/latest": ("all",),
        "/v2/team-a/manifests/latest": ("all",),
        "/v2/xteam-a/x/manifests/latest": ("all",),
        "/v2/team-b/team-a/x/blobs/uploads/": ("all",),
        "/v2/ax/yb/tags/list": ("many", "all"),
        "/v2/fizz/tags/list": ("many", "all"),
        "/v2/1.5/k/l/c/tags/list": ("many", "all"),
        "/v2/1x5/k/c/tags/list": ("all",),
        "/v2/_catalog": (),
        "/v2/team-a/x/tags": (),
        f"/v2/team-a/{'x' * 500}/tags/list": (),
    }.items():
        for user in everywhere:
            answer = closed.ask(user, "GET", path)
            assert answer.scope == ("inside" if user in inside else "outside"), (user, path, answer)


@pytest.mark.parametrize("name", NOBODIES)
def test_a_name_is_what_it_is_to_the_letter(closed: Gate, name: str) -> None:
    """`auth` here says yes to these, too; but it is asked for another one, with a wrong password."""
    assert closed.ask(name, "GET", "/v2/").status == 401


def test_an_account_is_no_other_one_whose_name_it_begins_with(closed: Gate) -> None:
    assert closed.ask("bossier", "GET", "/v2/team-b/x/tags/list").backend == "registry"
    assert closed.ask("bossier", "GET", "/v2/other/x/tags/list").scope == "outside"
    assert closed.ask("bossier", "PUT", "/v2/team-b/x/manifests/1").message == "the account bossier may only pull"


def test_what_is_public_to_the_letter(opened: Gate) -> None:
    for path, public in {
        "/v2/": True,
        "/v2/base/tags/list": True,
        "/v2/base/more/tags/list": False,
        "/v2/public/x/y/manifests/1": True,
        "/v2/publicly/x/manifests/1": False,
        "/v2/pushed/tags/list": True,
        # Where `push-test` proves that strangers are refused.
        "/v2/push-test/tags/list": False,
        "/v2/push-test/x/tags/list": False,
        "/v2/push-tests/tags/list": True,
        "/v2/_catalog": False,
    }.items():
        answer = opened.ask("anonymous", "GET", path)
        assert (answer.status == 200) == public, (path, answer)


def test_why_not(closed: Gate) -> None:
    for user, method, path, words in [
        ("puller", "PUT", "/v2/other/x/manifests/1", "the account puller may only pull"),
        ("ci", "DELETE", "/v2/team-a/x/manifests/1", "the account ci may push and pull"),
        ("ci", "GET", "/v2/other/x/tags/list", "the account ci is limited to team-a/*"),
        ("ladmin", "GET", "/v2/team-a/x/repair", "the account ladmin is limited to team-a/*"),
        ("many", "GET", "/v2/other/x/tags/list", "the account many is limited to *x/y*, **z, 1.5/*/c"),
        ("ladmin", "PATCH", "/v2/team-a/x/manifests/1", "this request is not for the account ladmin"),
        ("pusher", "GET", "/v2/other//x/tags/list", "this spelling of the address is not accepted"),
        # By way of @denied, as blobs are intercepted.
        ("ci", "GET", f"/v2/other/x/blobs/{DIGEST}", "the account ci is limited to team-a/*"),
    ]:
        answer = closed.ask(user, method, path)
        assert answer.status == 403, (user, path, answer)
        assert answer.message.startswith(words), (user, path, answer)


def test_the_page_for_people_is_the_same_for_all_and_at_its_own_address_alone(closed: Gate, opened: Gate) -> None:
    pages = set()
    for gate_ in (closed, opened):
        for user in ("", "anonymous", "boss", "ci", "unknown"):
            page = gate_.ask(user, "GET", "/")
            assert page.status == gate_.ask(user, "HEAD", "/").status == 200
            pages.add(page.body)
        for method in set(METHODS) - {"GET", "HEAD"}:
            assert gate_.ask("", method, "/").status == 401, method
        for other in ("/index.html", "//", "/v2/%2e%2e/", "/%2f", "/v2/..", "/."):
            assert gate_.ask("", "GET", other).status == 401, other
        assert gate_.ask("", "GET", "/?x").status == 200
    (body,) = pages
    assert "<title>" in body
    # Nothing of who and what is there, nor of what runs.
    assert not re.search(r"boss|team-a|public|nginx", body)


def test_a_page_of_another_site(closed: Gate) -> None:
    for site, foreign in {"cross-site": True, "same-site": True, "same-origin": False, "none": False}.items():
        for method in ("GET", "HEAD", "POST", "DELETE", "LOCK"):
            answer = closed.ask("boss", method, "/v2/team-a/x/manifests/1", Sec_Fetch_Site=site)
            refused = foreign and method not in ("GET", "HEAD")
            require(answer, "refused" if refused else "registry", "boss", method, site)


def test_an_upload_begins_without_query_type_and_password(closed: Gate) -> None:
    path = "/v2/team-a/x/blobs/uploads/?mount=a&from=b"
    form = "application/x-www-form-urlencoded"
    assert closed.ask("ci", "POST", path, Content_Type=form).body == f"registry: {path.partition('?')[0]} "
    assert closed.ask("pusher", "POST", path, Content_Type=form).body == f"registry: {path} {form}"


def test_the_token(opened: Gate, closed: Gate) -> None:
    token = json.loads(opened.ask("ci", "GET", "/token").body)["token"]
    assert token == payload("ci")
    assert json.loads(opened.ask("", "GET", "/token").body)["token"] == "anonymous"
    assert opened.ask("unknown", "GET", "/token").status == 401
    assert opened.ask("", "GET", "/v2/base/tags/list", Authorization=f"Bearer {token}").status == 200
    assert opened.ask("", "GET", "/v2/other/x/tags/list", Authorization=f"Bearer {token}").status == 403
    assert closed.ask("", "GET", "/token").status == 401
    assert closed.ask("ci", "GET", "/token").status == 404
