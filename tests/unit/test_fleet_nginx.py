"""One of several servers, asked of a real nginx: whose accounts are not those in force serves nobody.

The registry and `auth` behind it are two sockets of the same nginx; files say what the registry answers.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from fabfile import layout
from fabfile.settings import load
from tests import nginx
from tests.routes import ACCOUNTS, METHODS

from .test_access import entry, payload
from .test_health import CLIENT, Server

OWN, BEFORE, OTHER = (f"sha256:{digit * 64}" for digit in "123")
BEHIND = """
map $http_authorization $right {
    "~^Basic (KNOWN)\\z" yes;
    default no;
}
server {
    listen unix:/sockets/registry/registry.sock;
    access_log /run/asked.log;
    set $digest MINE;
    if (-f FULL/before) {
        set $digest BEFORE;
    }
    if (-f FULL/other) {
        set $digest OTHER;
    }
    location = /v2/private/accounts/manifests/current {
        if (-f FULL/gone) {
            return 404;
        }
        if (-f FULL/down) {
            return 500;
        }
        add_header Docker-Content-Digest $digest;
        return 200 "{}";
    }
    location = /v2/_catalog {
        default_type "application/json; charset=utf-8";
        return 200 '{"repositories":[LISTED]}';
    }
    location / {
        return 200 "registry: $request_uri";
    }
}
server {
    listen unix:/sockets/auth/auth.sock;
    access_log /run/passwords.log;
    if ($right = no) {
        return 401;
    }
    return 200;
}
"""


@contextlib.contextmanager
def fleet(line: str = "", listed: str = "") -> Iterator[Server]:
    if not nginx.where():
        pytest.skip("there is no nginx: neither a program, nor the sandbox's image (./inv test makes it)")
    with nginx.place() as directory:
        env, accounts = directory / ".env", directory / "accounts"
        env.write_text(f"{nginx.MANDATORY}{line}\n")
        settings = replace(load(env), fleet=("root@a", "root@b"))
        accounts.write_text("".join(entry(user, each.role, each.repositories) for user, each in ACCOUNTS.items()))
        override = BEHIND.replace("FULL", layout.Inside.FULL).replace("MINE", OWN).replace("BEFORE", BEFORE)
        override = (
            override.replace("OTHER", OTHER)
            .replace("LISTED", listed)
            .replace("KNOWN", "|".join(map(payload, ACCOUNTS)))
        )
        ports = nginx.write(
            directory, settings, accounts, override=override, known=[f'"~^{each}\\z" known;' for each in (OWN, BEFORE)]
        )
        with nginx.running(directory, ports["443"]):
            yield Server(directory, ports)


@pytest.fixture(scope="module")
def one() -> Iterator[Server]:
    with fleet() as found:
        yield found


@pytest.fixture(scope="module")
def public() -> Iterator[Server]:
    with fleet("ANONYMOUS_PULL=*") as found:
        yield found


def login(user: str = "boss") -> dict[str, str]:
    return {"Authorization": f"Basic {payload(user)}"}


def states(server: Server) -> tuple[int, int, int]:
    """Of /v2/ with a password, of /health, and of the page's lists to somebody without a session."""
    return (
        server.ask("443", "/v2/", headers=login())[0],
        server.ask("80", "/health")[0],
        server.ask("443", "/-/me")[0],
    )


@contextlib.contextmanager
def said(server: Server, what: str) -> Iterator[None]:
    (server.directory / "full" / what).touch()
    try:
        yield
    finally:
        (server.directory / "full" / what).unlink()


def become(server: Server, expected: tuple[int, int, int], seconds: float = 20) -> float:
    """Wait until it answers so; the seconds that it took."""
    start = time.monotonic()
    while (found := states(server)) != expected:
        assert time.monotonic() < start + seconds, found
    return time.monotonic() - start


def test_a_server_serves_with_the_accounts_in_force_or_those_before(one: Server) -> None:
    open_, closed = (200, 200, 200), (503, 503, 503)
    become(one, open_)
    assert one.ask("80", "/health") == (200, "ok\n")
    with said(one, "before"):
        # Asked anew by then.
        time_to_ask = time.monotonic() + 3
        while time.monotonic() < time_to_ask:
            assert states(one) == open_
    with said(one, "other"):
        become(one, closed)
        assert "not those in force" in one.ask("443", "/health")[1]
        # Whatever was remembered of a password, and whoever has none.
        for user in ACCOUNTS:
            assert one.ask("443", "/v2/", headers=login(user))[0] == 503
    become(one, open_)
    with said(one, "gone"):
        become(one, closed)
    become(one, open_)


def test_without_its_store_whoever_was_let_in_stays_so(one: Server) -> None:
    become(one, (200, 200, 200))
    with said(one, "down"):
        end = time.monotonic() + 4
        while time.monotonic() < end:
            assert states(one) == (200, 200, 200)
        # A password that nobody knew before, too: `auth` needs no store.
        assert one.ask("443", "/v2/", headers=login("puller"))[0] == 200


def test_many_requests_are_few_questions(one: Server) -> None:
    become(one, (200, 200, 200))
    asked, passwords = (one.directory / f"run/{name}.log" for name in ("asked", "passwords"))
    before = [path.read_text().count("\n") for path in (asked, passwords)]
    begun = time.monotonic()
    for _ in range(300):
        assert one.ask("443", "/v2/", headers=login())[0] == 200
    seconds = time.monotonic() - begun
    questions = asked.read_text().splitlines()[before[0] :]
    assert len([line for line in questions if "/manifests/current" in line]) <= seconds + 2
    # The password itself is known for minutes.
    assert passwords.read_text().count("\n") == before[1]
    print(f"\n{300 / seconds:.0f} requests a second, a connection each")


def test_a_wrong_password_is_wrong_and_counted_by_its_address(one: Server) -> None:
    assert one.refused_from("443") == CLIENT


PATHS = (
    "/v2/private/accounts/manifests/current",
    f"/v2/private/accounts/blobs/{OWN}",
    "/v2/private/accounts/tags/list",
    "/v2/private/accounts/tags/list/",
    "/v2/private/accounts/blobs/uploads/",
    "/v2/private/accounts/blobs/uploads/x",
    "/v2/private/accounts/whatever",
    "/v2/private/accounts/",
    "/v2//private/accounts/manifests/current",
    "/v2/x/../private/accounts/manifests/current",
    "/v2/private%2Faccounts/manifests/current",
    "/v2/%70rivate/accounts/manifests/current",
    "/v2/private/accounts/manifests/current?n=1",
)


def test_nobody_reaches_the_repository_of_the_accounts(one: Server, public: Server) -> None:
    for server, strangers in ((one, 401), (public, 401)):
        become(server, (200, 200, 200))
        for path in PATHS:
            for method in METHODS:
                for user in ACCOUNTS:
                    status, body = server.ask("443", path, method=method, headers=login(user))
                    assert status == 403, (path, method, user, status, body)
                    assert "registry: " not in body
                assert server.ask("443", path, method=method)[0] == strangers, (path, method)
                word = {"Authorization": "Bearer anonymous"}
                assert server.ask("443", path, method=method, headers=word)[0] == strangers, (path, method)
        # Its neighbours are repositories as all others.
        for path in ("/v2/private/accounts2/tags/list", "/v2/private/tags/list", "/v2/x/private/accounts/tags/list"):
            assert server.ask("443", path, headers=login())[0] == 200, path
    assert "for its servers alone" in one.ask("443", PATHS[0], headers=login())[1]
    assert public.ask("443", "/v2/any/tags/list", headers={"Authorization": "Bearer anonymous"})[0] == 200


@pytest.mark.parametrize(
    ("listed", "shown"),
    [
        ('"private/accounts"', ""),
        ('"private/accounts","z"', '"z"'),
        ('"a","private/accounts"', '"a"'),
        ('"a","private/accounts","private/accounts2","z"', '"a","private/accounts2","z"'),
        ('"x/private/accounts","z"', '"x/private/accounts","z"'),
    ],
)
def test_the_list_of_all_repositories_has_no_place_of_accounts(listed: str, shown: str) -> None:
    with fleet(listed=listed) as server:
        assert server.ask("443", "/v2/_catalog?n=9", headers=login()) == (200, f'{{"repositories":[{shown}]}}')
        assert server.ask("443", "/v2/_catalog", headers=login("pusher"))[0] == 403
