"""PAGE, asked of a real nginx: who may see what, by which session, and that /v2/ knows nothing of it."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from fabfile.accounts.onhost import accounts_file, sessions
from fabfile.settings import load
from tests import nginx
from tests.routes import ACCOUNTS, DIGEST, may

from .test_access import HOST, entry, payload

PUBLIC = "public/*"
BLOB = f"sha256:{'b' * 64}"
# The registry and `auth`: two sockets of the same nginx. It says what it was asked, and with which cookie.
OVERRIDE = """
map "$http_authorization" $right {
    "~^Basic (KNOWN)\\z" yes;
    default no;
}
server {
    listen unix:/sockets/registry/registry.sock;
    access_log off;
    add_header Docker-Content-Digest DIGEST;
    add_header Cache-Control max-age=31536000;
    location ~ /blobs/ {
        return 307 https://blobs.invalid/docker/registry/v2/blobs/sha256/bb/bbb/data;
    }
    location / {
        if ($request_method = PUT) {
            return 201;
        }
        if ($request_method = DELETE) {
            return 202;
        }
        return 200 "registry: $request_method $request_uri cookie=$http_cookie password=$http_authorization";
    }
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
PAGE_ITSELF = {"X-Page": "1", "Sec-Fetch-Site": "same-origin"}
# What is asked for -> who gets it; another account gets the second, a stranger 401.
EVERYONE = ("puller", "reader", "pusher", "ci", "ladmin", "boss")
READ = [
    f"/-/v2/NAME/manifests/{DIGEST}",
    "/-/v2/NAME/manifests/1.0",
    "/-/v2/NAME/tags/list",
    f"/-/v2/NAME/blobs/{BLOB}",
]


class Answer(NamedTuple):
    status: int
    body: str
    headers: http.client.HTTPMessage

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["errors"][0]["message"])


class Browser:
    """Asks with the cookie that an account would have."""

    def __init__(self, port: int, directory: Path) -> None:
        self.directory = directory
        self._connection = http.client.HTTPSConnection(HOST, port, timeout=20)
        self._port = port

    def ask(self, user: str, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """user: an account, or "" for nobody."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if user:
            fields["Cookie"] = f"theme=dark; {self.cookie(user)}; other=1"
        return self.send(method, path, body or None, fields)

    def send(self, method: str, path: str, body: bytes | None = None, fields: dict[str, str] | None = None) -> Answer:
        """The same, with these headers and no others."""
        try:
            return self._send(method, path, body, fields)
        except (http.client.RemoteDisconnected, ConnectionError):
            # One that was kept may be closed by now, as a body was sent to what does not read it.
            self._connection.close()
            return self._send(method, path, body, fields)

    def _send(self, method: str, path: str, body: bytes | None, fields: dict[str, str] | None) -> Answer:
        if self._connection.sock is None:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            plain = socket.create_connection(("127.0.0.1", self._port), 20)
            self._connection.sock = context.wrap_socket(plain, server_hostname=HOST)
        self._connection.request(method, path, body, fields or {})
        answer = self._connection.getresponse()
        return Answer(answer.status, answer.read().decode(), answer.headers)

    def cookie(self, user: str, day: int = nginx.DAY) -> str:
        return f"__Host-registry={token(user, day)}"

    def log(self) -> list[list[str]]:
        return [line.split("\t") for line in (self.directory / "uses/uses.log").read_text().splitlines()]


def token(user: str, day: int = nginx.DAY) -> str:
    account = ACCOUNTS[user]
    line = accounts_file.Line(user, f"{user}:{nginx_hash()}", account.role, account.repositories, "2026")
    return sessions.token(nginx.SECRET, line, day)


def nginx_hash() -> str:
    from .test_accounts import HASH

    return HASH


def view(user: str, public: tuple[str, ...] = (PUBLIC,)) -> str:
    return sessions.view(ACCOUNTS[user].repositories, public)


def browser(settings: str) -> Iterator[Browser]:
    if not nginx.where():
        pytest.skip("there is no nginx: neither a program, nor the sandbox's image (./inv test makes it)")
    with nginx.place() as directory:
        env, accounts = directory / ".env", directory / "accounts"
        env.write_text(f"{nginx.MANDATORY}{settings}\n")
        accounts.write_text("".join(entry(user, each.role, each.repositories) for user, each in ACCOUNTS.items()))
        known = "|".join(payload(user).replace("+", r"\+") for user in ACCOUNTS)
        override = OVERRIDE.replace("KNOWN", known).replace("DIGEST", DIGEST)
        ports = nginx.write(directory, load(env), accounts, override=override)
        data = directory / "page/data"
        lists = [f"r/{name}/_tags.json" for name in ("team-a/x", "other/x", "public/x")]
        lists += [f"views/{view(user)}{kind}.json" for user in ACCOUNTS for kind in ("", ".tags", ".digests")]
        lists += [f"views/{sessions.view((PUBLIC,), ())}.json", "site.json", "seen.json", "accounts.json", "disk.json"]
        for name in lists:
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_text(json.dumps({"file": name}))
        (directory / "page/index.html").write_text("the page")
        blob = directory / "blobs/docker/registry/v2/blobs/sha256/bb/bbb/data"
        blob.parent.mkdir(parents=True)
        blob.write_text("a config")
        with nginx.running(directory, ports["443"]):
            yield Browser(ports["443"], directory)


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    yield from browser(f"ANONYMOUS_PULL={PUBLIC}")


@pytest.fixture(scope="module")
def admins() -> Iterator[Browser]:
    yield from browser(f"PAGE=admin\nANONYMOUS_PULL={PUBLIC}")


@pytest.fixture(scope="module")
def without() -> Iterator[Browser]:
    yield from browser("PAGE=off")


def test_what_is_read_of_a_repository(page: Browser) -> None:
    """As /v2/ has it: each role, inside its patterns and outside, and strangers."""
    rows = 0
    for name in ("team-a/x", "other/x", "public/x"):
        for path in (*READ, "/-/data/r/NAME/_tags.json"):
            for user in ("", *ACCOUNTS):
                for method in ("GET", "HEAD"):
                    expected = 200 if name == "public/x" or (user and may(user, name, "pull")) else 404 if user else 401
                    answer = page.ask(user, method, path.replace("NAME", name))
                    assert answer.status == expected, (user, method, name, path, answer)
                    rows += 1
    print(f"\n{rows} rows")


CHANGES = [("DELETE", "/-/v2/NAME/manifests/1.0"), ("DELETE", f"/-/v2/NAME/manifests/{DIGEST}"),
           ("PUT", "/-/v2/NAME/manifests/1.0")]  # fmt: skip


def test_only_admins_change_something_and_only_within_their_patterns(page: Browser) -> None:
    for method, path in CHANGES:
        for name in ("team-a/x", "other/x", "public/x"):
            for user in ("", *ACCOUNTS):
                answer = page.ask(user, method, path.replace("NAME", name), b"{}", **named(PAGE_ITSELF))
                role = ACCOUNTS[user].role if user else ""
                good = {"PUT": 201, "DELETE": 202}[method]
                outside = 404 if role == "admin" else 403 if user else 401
                expected = good if role == "admin" and may(user, name, "delete") else outside
                assert answer.status == expected, (user, method, name, answer)
    assert page.ask("pusher", "DELETE", "/-/v2/other/x/manifests/1", b"", **named(PAGE_ITSELF)).message == (
        "to delete takes the role admin, and pusher has the role push"
    )


def named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("-", "_"): value for name, value in headers.items()}


@pytest.mark.parametrize("method", ["DELETE", "PUT"])
def test_each_of_the_three_locks_holds_alone(page: Browser, method: str) -> None:
    path = "/-/v2/team-a/x/manifests/1.0"
    opened = {"PUT": 201, "DELETE": 202}[method]
    assert page.ask("boss", method, path, b"{}", **named(PAGE_ITSELF)).status == opened
    # The cookie, which a browser sends for pages of this site alone.
    assert page.ask("", method, path, b"{}", **named(PAGE_ITSELF)).status == 401
    # The header that another site's page cannot send.
    assert page.ask("boss", method, path, b"{}", Sec_Fetch_Site="same-origin").status == 403
    for site in ("cross-site", "same-site", "none", "same-origin, same-origin", "SAME-ORIGIN"):
        assert page.ask("boss", method, path, b"{}", X_Page="1", Sec_Fetch_Site=site).status == 403, site
    refused = page.ask("boss", method, path, b"{}", X_Page="1")
    assert (refused.status, refused.message) == (403, "only the page itself may change something here")
    # And a password counts nothing there.
    basic = {"Authorization": f"Basic {payload('boss')}", **PAGE_ITSELF}
    assert page.send(method, path, b"{}", basic).status == 401


def test_no_other_method_and_no_other_endpoint_of_the_registry_is_there(page: Browser) -> None:
    for method in ("POST", "PATCH", "OPTIONS", "LOCK"):
        for path in (*READ, *(path for _, path in CHANGES)):
            for user in ("", "boss"):
                answer = page.ask(user, method, path.replace("NAME", "team-a/x"), b"", **named(PAGE_ITSELF))
                assert answer.status in (401, 403), (method, path, answer)
    assert page.ask("boss", "DELETE", f"/-/v2/team-a/x/blobs/{BLOB}", b"", **named(PAGE_ITSELF)).status in (403, 404)
    for path in ("/-/v2/", "/-/v2/_catalog", "/-/v2/team-a/x/blobs/uploads/", "/-/v2/team-a/x/referrers/" + DIGEST,
                 "/-/", "/-/nothing", "/-/session", "/-/shell/", "/-/data/", "/-/data/state.json", "/-/data/r/x",
                 "/-/data/../state.json", "/-/data/views/../../state.json", "/-/assets/0123456789abcdef/../../x",
                 "/-/data/r/../views/all/_tags.json", "/-/assets/0123456789abcdef/x.js"):  # fmt: skip
        answer = page.ask("boss", "GET", path)
        assert answer.status == (200 if path == "/-/" else 404), (path, answer)


SPELLINGS = ["/-/v2/team-a/../other/x/tags/list", "/-/v2/team-a%2f..%2fother/x/tags/list", "/-/v2//other/x/tags/list",
             "/-/v2/team-a/%2e%2e/other/x/tags/list", "/-//v2/other/x/tags/list", "/-/v2/other/x/tags/list?/v2/team-a",
             "/-/data/r/team-a/../other/x/_tags.json", "/-/data/r/team-a%2f..%2fother/x/_tags.json",
             "/-/data/r//other/x/_tags.json", "/-/v2/Other/x/tags/list",
             "/-/data/r/team-a/_tags.json/other/x/_tags.json",
             ]  # fmt: skip


def test_no_spelling_leads_out_of_the_patterns_of_an_account(page: Browser) -> None:
    for path in SPELLINGS:
        assert page.ask("ci", "GET", path).status == 404, path
        # Whoever may see all sees it as it is written, or not at all.
        assert page.ask("boss", "GET", path).status in (200, 404), path


def test_each_gets_the_list_of_their_own_view(page: Browser) -> None:
    views = {user: view(user) for user in ACCOUNTS} | {"": sessions.view((PUBLIC,), ())}
    assert {views[user] for user in ("puller", "pusher", "boss")} == {"all"}
    for user, own in views.items():
        for other in {*views.values(), "0123456789abcdef"}:
            for kind in ("", ".tags", ".digests") if other != views[""] else ("",):
                answer = page.ask(user, "GET", f"/-/data/views/{other}{kind}.json")
                expected = 200 if other == own else 404 if user else 401
                assert answer.status == expected, (user, other)
                assert expected != 200 or json.loads(answer.body)["file"] == f"views/{own}{kind}.json"


def test_what_is_about_all_of_it(page: Browser) -> None:
    for name, allowed in (("accounts", ("boss",)), ("disk", ("boss",)), ("site", EVERYONE), ("seen", ("", *EVERYONE))):
        for user in ("", *ACCOUNTS):
            answer = page.ask(user, "GET", f"/-/data/{name}.json")
            assert answer.status == (200 if user in allowed else 403 if user else 401), (name, user)
    assert page.ask("ladmin", "GET", "/-/data/disk.json").message == "this is for admins without limits"


def test_who_am_i(page: Browser, admins: Browser) -> None:
    def me(where: Browser, user: str) -> object:
        answer = where.ask(user, "GET", "/-/me")
        assert answer.status == 200
        return json.loads(answer.body)

    public = sessions.view((PUBLIC,), ())
    assert me(page, "") == {"account": "", "role": "", "repositories": [PUBLIC], "view": public}
    assert me(page, "ci") == {"account": "ci", "role": "push", "repositories": ["team-a/*"], "view": view("ci")}
    assert me(page, "boss") == {"account": "boss", "role": "admin", "repositories": ["*"], "view": "all"}
    nobody = {"account": "", "role": "", "repositories": [], "view": ""}
    assert me(admins, "") == me(admins, "ci") == nobody
    assert me(admins, "boss") == me(page, "boss")


def test_a_login_gives_the_cookie_of_the_day(page: Browser) -> None:
    answer = login(page, "ci")
    assert answer.status == 204
    assert answer.headers.get_all("Set-Cookie") == [f"{page.cookie('ci')}; Path=/; Secure; HttpOnly; SameSite=Strict"]
    assert answer.headers["Cache-Control"] == "private, no-store"
    wrong = page.send("POST", "/-/login", fields={"Authorization": basic("ci:wrong"), "X-Page": "1"})
    assert (wrong.status, wrong.message) == (401, "the name or the password is wrong")
    # Nothing that makes a browser ask by itself, and nothing to go on with.
    assert wrong.headers.get_all("WWW-Authenticate") == [f'Session realm="{HOST}"']
    assert "Set-Cookie" not in wrong.headers
    for fields in (
        {},
        {"Authorization": "Bearer anonymous"},
        {"Authorization": "Basic !"},
        {"Cookie": page.cookie("ci")},
    ):
        answer = page.send("POST", "/-/login", fields={**fields, "X-Page": "1"})
        assert answer.status == 401, fields
        assert "Set-Cookie" not in answer.headers
    right = {"Authorization": basic("ci:right")}
    assert page.send("POST", "/-/login", fields=right).status == 403
    assert page.send("POST", "/-/login", fields={**right, "X-Page": "1", "Sec-Fetch-Site": "same-site"}).status == 403
    assert page.send("GET", "/-/login", fields={**right, "X-Page": "1"}).status == 405


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def login(where: Browser, user: str) -> Answer:
    return where.send("POST", "/-/login", fields={"Authorization": basic(f"{user}:right"), **PAGE_ITSELF})


def test_where_the_page_is_for_admins_nobody_else_signs_in(admins: Browser) -> None:
    for user, account in ACCOUNTS.items():
        answer = login(admins, user)
        assert answer.status == (204 if account.role == "admin" else 403)
        # Nor does a token that would be theirs count.
        assert admins.ask(user, "GET", "/-/data/site.json").status == (200 if account.role == "admin" else 401)
    assert login(admins, "ci").message == "this page is for accounts of the role admin, and ci has the role push"
    assert admins.ask("", "GET", "/-/v2/public/x/tags/list").status == 401
    assert admins.ask("", "GET", "/-/data/seen.json").status == 401


def test_logout(page: Browser) -> None:
    answer = page.ask("ci", "POST", "/-/logout", X_Page="1")
    assert answer.status == 204
    assert answer.headers["Set-Cookie"] == "__Host-registry=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"
    assert answer.headers["Clear-Site-Data"] == '"cache"'
    assert page.ask("ci", "POST", "/-/logout").status == 403


def test_a_session_counts_for_two_days_and_only_as_it_is_written(page: Browser) -> None:
    def status(cookie: str) -> int:
        return page.send("GET", "/-/data/site.json", fields={"Cookie": cookie}).status

    right = page.cookie("ci")
    assert status(right) == status(page.cookie("ci", nginx.DAY - 1)) == status(f"a=b;{right};c=d") == 200
    for wrong in (page.cookie("ci", nginx.DAY - 2), page.cookie("ci", nginx.DAY + 1), right.upper(), right[:-1],
                  f"{right}0", f"x{right}", right.replace("=", "=x"), f'a="{right}"', "__Host-registry=",
                  f"__Host-registry={'0' * 64}", right.replace("__Host-", "__Secure-")):  # fmt: skip
        assert status(wrong) == 401, wrong


def test_v2_never_looks_at_the_cookie(page: Browser, without: Browser) -> None:
    for path in ("/v2/", "/v2", "/v2/team-a/x/tags/list", f"/v2/team-a/x/manifests/{DIGEST}"):
        answer = page.ask("boss", "GET", path, Accept="text/html")
        assert answer.status == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert without.send("GET", "/v2/").headers["WWW-Authenticate"] == f'Basic realm="{HOST}"'
    # And the registry never sees it.
    fields = {"Authorization": basic("boss:right"), "Cookie": page.cookie("boss")}
    assert "cookie= password=" in page.send("GET", "/v2/team-a/x/tags/list", fields=fields).body
    assert "cookie= password=" in page.ask("boss", "GET", "/-/v2/team-a/x/tags/list", Authorization="Basic x").body


def test_what_is_asked_of_the_registry_is_no_more_than_what_was_looked_at(page: Browser) -> None:
    asked = {
        "/-/v2/team-a/x/tags/list?n=5&last=1.0": "/v2/team-a/x/tags/list?n=5&last=1.0 ",
        "/-/v2/team-a/x/tags/list?n=%0d%0aX:y;": "/v2/team-a/x/tags/list ",
        "/-/v2/team-a/x/manifests/1.0?n=1": "/v2/team-a/x/manifests/1.0 ",
    }
    for path, expected in asked.items():
        assert f"GET {expected}" in page.ask("boss", "GET", path).body, path


IMAGES = ["/", "/?x=1", "/app", "/team-a/app", "/team-a/app:1.0", f"/team-a/app@{DIGEST}", "/a/b.c_d-e__f/g:V1?x",
          "/v2x", "/v2-tools/a", "/team-a/"]  # fmt: skip
NO_IMAGES = ["/v2", "/v2/", "/v2/app", "/App", "/-x", "/a//b", "/a/%2e%2e/b", "/a:b:c", "/a/b@c", "/.env"]


def test_the_page_is_at_every_name_that_one_types(page: Browser, without: Browser) -> None:
    for path in IMAGES:
        answer = page.send("GET", path, fields={"Accept": "text/html,*/*"})
        assert (answer.status, answer.body) == (200, "the page"), path
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
        assert "require-trusted-types-for 'script'; trusted-types lit-html" in answer.headers["Content-Security-Policy"]
        if path not in ("/", "/?x=1"):
            # Clients and those who look around are told nothing.
            assert page.send("GET", path, fields={"Accept": "*/*"}).status == 401
            assert page.send("POST", path, fields={"Accept": "text/html"}).status == 401
            assert without.send("GET", path, fields={"Accept": "text/html"}).status == 401
    for path in NO_IMAGES:
        assert page.send("GET", path, fields={"Accept": "text/html"}).status == 401, path
    body = without.send("GET", "/").body
    assert f"docker login {HOST}" in body
    assert not re.search(r"boss|team-a|public|nginx|\d", re.sub(r"</?h1>", "", body))
    assert len(body) < 500
    for path in ("/-/", "/-/me", "/-/login", "/-/data/site.json", "/-/v2/team-a/x/tags/list"):
        assert without.send("GET", path).status == 401, path


SAID = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def test_what_every_answer_says_to_a_browser(page: Browser) -> None:
    for user, method, path in [("", "GET", "/"), ("", "GET", "/-/me"), ("ci", "GET", "/-/data/site.json"),
                               ("ci", "GET", f"/-/v2/team-a/x/blobs/{BLOB}"), ("ci", "GET", "/-/v2/team-a/x/tags/list"),
                               ("", "GET", "/-/data/site.json"), ("ci", "GET", "/-/v2/other/x/tags/list"),
                               ("", "POST", "/-/login"), ("", "GET", "/-/nothing"),
                               ("ci", "POST", "/-/logout")]:  # fmt: skip
        headers = page.ask(user, method, path, X_Page="1").headers
        for name, value in SAID.items():
            assert headers.get_all(name) == [value], (path, name)
        assert len(headers.get_all("Content-Security-Policy") or []) == 1, path
        assert len(headers.get_all("Cache-Control") or []) == 1, path
        assert not [name for name in headers if name.lower().startswith("access-control-")]
    blob = page.ask("ci", "GET", f"/-/v2/team-a/x/blobs/{BLOB}")
    assert (blob.body, blob.headers["Content-Type"]) == ("a config", "application/octet-stream")
    assert "sandbox" in blob.headers["Content-Security-Policy"]


DELETED = {"X_Digest": BLOB, **named(PAGE_ITSELF)}


def test_who_looks_uses_nothing_and_who_deletes_is_told_of(page: Browser) -> None:
    page.ask("boss", "GET", "/-/v2/team-a/x/manifests/looked-at")
    page.ask("boss", "GET", f"/-/v2/team-a/x/blobs/{BLOB}")
    page.ask("boss", "DELETE", "/-/v2/team-a/x/manifests/gone", b"", **DELETED)
    page.ask("boss", "DELETE", f"/-/v2/team-a/x/manifests/{BLOB}", b"", **named(PAGE_ITSELF))
    page.ask("pusher", "DELETE", "/-/v2/team-a/x/manifests/refused", b"", **DELETED)
    page.ask("boss", "PUT", "/-/v2/team-a/x/manifests/back", b"{}", **named(PAGE_ITSELF))
    wanted = {("boss", "DELETE", "gone", BLOB), ("boss", "DELETE", BLOB, BLOB), ("boss", "PUT", "back", DIGEST)}
    end, told = time.monotonic() + 10, set[tuple[str, ...]]()
    # A line is written after the answer.
    while not wanted <= told:
        assert time.monotonic() < end, told
        told = {(row[1], row[2], row[4], row[5]) for row in page.log() if row[3] == "team-a/x"}
    assert not [row for row in told if row[2] in ("looked-at", "refused") or row[1:3] == ("GET", BLOB)]
