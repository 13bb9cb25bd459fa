"""What several servers have alike: the account that all answer for, secrets, accounts; handed on, killed anywhere."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile import layout
from fabfile.certificate import alike as outside
from fabfile.certificate import self_test
from fabfile.certificate.cron import schedule
from fabfile.certificate.onhost import acme_accounts, alike, probe, thumbprint
from fabfile.errors import StepError
from fabfile.machine.host import here
from fabfile.machine.network import network
from fabfile.machine.onhost import atomic, beneath
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.settings import Settings
from fabfile.stack.onhost import containers, wanted
from tests.nginx import place, running, where, write

from .far import deployed

SERVER, NAME = "https://acme.test/dir", "registry.example.org"
# RFC 7638, 3.1
KEY = {
    "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
    "n": (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
        "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
        "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
        "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    ),
}  # fmt: skip
MARK = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
FLEET = ("root@a", "root@b", "root@c")


def test_the_thumbprint_of_a_key() -> None:
    assert thumbprint.of_key(KEY) == MARK
    # What is no part of it changes nothing.
    assert thumbprint.of_key({**KEY, "d": "secret"}) == MARK
    point = {"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "d": "secret"}
    assert thumbprint.of_key(point) != thumbprint.of_key({**point, "y": "z"})


def account(root: Path, name: str = "first", server: str = "acme.test/dir", day: int = 1) -> Path:
    """An account of certbot's. Returns its directory."""
    directory = root / layout.CERTIFICATES / "accounts" / server / name
    directory.mkdir(parents=True)
    for part in acme_accounts.PARTS:
        made = {"creation_dt": f"2026-11-0{day}T00:00:00Z", "creation_host": name}
        (directory / part).write_text(json.dumps({**KEY, "d": name} if part == acme_accounts.KEY else made))
    return directory


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A server with all that others need."""
    deployed(tmp_path / "source")
    account(tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """One as `sync` leaves it, with a secret of its own and an account that it had before."""
    deployed(tmp_path / "other")
    (tmp_path / "other" / layout.HTTP_SECRET).write_text("its own")
    (tmp_path / "other" / layout.ACCOUNTS).unlink()
    account(tmp_path / "other", "older")
    return tmp_path / "other"


@pytest.fixture(autouse=True)
def no_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "nginx_container", lambda service: "")
    monkeypatch.setattr(os, "fchown", lambda *_: None)


def the_same(source: Path, other: Path) -> None:
    for name in alike.OWNERS:
        assert (other / name).read_bytes() == (source / name).read_bytes()
        assert (other / name).stat().st_mode & 0o777 == 0o600
    # One alone, or certbot would take another, which nobody answers for.
    assert acme_accounts.known(str(other / layout.CERTIFICATES), SERVER) == ["first"]
    assert thumbprint.of(str(other), SERVER, NAME) == thumbprint.of(str(source), SERVER, NAME) == MARK


def test_all_of_it_is_handed_on_and_once_more_changes_nothing(source: Path, other: Path) -> None:
    found = alike.of(str(source), SERVER, NAME, page=True)
    assert len(alike.take(str(other), SERVER, found)) == 3
    the_same(source, other)
    assert alike.take(str(other), SERVER, found) == []
    # What it had lies where certbot does not look.
    assert [path.name[:5] for path in (other / layout.CERTIFICATES / "forgotten").iterdir()] == ["older"]


class KilledError(BaseException):
    """As by SIGKILL: nothing of ours runs any more."""


def test_killed_at_each_change_it_goes_on(
    source: Path, other: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before and after each file that is written, and each that is moved."""
    found = alike.of(str(source), SERVER, NAME, page=True)
    place, cut, left = tmp_path / "each", 0, 0

    def step() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KilledError

    def killing(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **options: Any) -> Any:
            step()
            done = real(*args, **options)
            step()
            return done

        return change

    with monkeypatch.context() as patch:
        patch.setattr(alike, "replace", killing(atomic.replace))
        patch.setattr(beneath, "write_new", killing(beneath.write_new))
        patch.setattr(os, "rename", killing(os.rename))
        while True:
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(other, place)
            left = cut
            try:
                alike.take(str(place), SERVER, found)
                break
            except KilledError:
                left = 10**6
                alike.take(str(place), SERVER, found)
            the_same(source, place)
            cut += 1
    the_same(source, place)
    assert cut == 12


@pytest.mark.parametrize("strange", ["../x", "", "a/b", "x" * 65])
def test_no_account_leads_out_of_its_directory(other: Path, strange: str) -> None:
    with pytest.raises(RefusedError, match=r"no account of certbot's"):
        acme_accounts.take(str(other / layout.CERTIFICATES), SERVER, strange, dict.fromkeys(acme_accounts.PARTS, "{}"))


def test_what_has_no_account_for_people_is_no_source(source: Path) -> None:
    assert alike.begun(str(source))
    (source / layout.ACCOUNTS).unlink()
    assert not alike.begun(str(source))
    (source / layout.HTTP_SECRET).unlink()
    with pytest.raises(RefusedError, match=r"there is no .*http-secret"):
        alike.of(str(source), SERVER, NAME, page=False)


@pytest.fixture
def fleet(settings: Settings) -> Settings:
    return replace(settings, fleet=FLEET, acme_server=SERVER)


def test_where_nobody_asks_over_http_there_is_no_account_to_share(fleet: Settings, source: Path) -> None:
    here_alone = replace(fleet, deploy_dir=str(source))
    for settings in (replace(here_alone, acme_challenge="dns-01"), replace(here_alone, tls_certificate="/x")):
        assert not outside.begin(here(), settings).changed
        assert outside.of(here(), settings)["account"] == ""


def test_nginx_has_the_answer_that_up_made_of_the_account(source: Path, fleet: Settings) -> None:
    """By a real nginx, if there is one: any token, and nothing that is none."""
    assert wanted.CHALLENGE not in wanted.wanted(source)
    assert thumbprint.keep(str(source), SERVER, NAME)
    assert not thumbprint.keep(str(source), SERVER, NAME)
    made = wanted.wanted(source)[wanted.CHALLENGE]
    (source / layout.THUMBPRINT).write_text('x"; return 200 "y')
    assert wanted.CHALLENGE not in wanted.wanted(source)
    if not where():
        return
    with place() as directory:
        ports = write(directory, fleet, source / layout.ACCOUNTS)
        (directory / wanted.CHALLENGE).write_bytes(made)
        with running(directory, ports["80"]):
            seen = [
                probe._fetch(NAME, "127.0.0.1", ports["80"], token, answer)
                for token, answer in (
                    ("abc-_1", f"abc-_1.{MARK}"), ("abc", "abc.another"), ("a%20b", f"a b.{MARK}"), ("", f".{MARK}"),
                )
            ]  # fmt: skip
    assert seen[0] == ""
    assert "answers for another account" in seen[1]
    assert all("answered by something else (HTTP 308)" in each for each in seen[2:])


def test_before_an_order_each_address_must_answer_for_our_account(
    fleet: Settings, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is put anywhere: the token is as random as the authority's."""
    settings = replace(fleet, deploy_dir=str(source))
    asked: list[tuple[str, str]] = []

    def fetch(names: list[str], token: str, port: int = 80, answer: str = "") -> probe.Seen:
        asked.append((token, answer))
        return {"nameless": [], "unanswered": [], "wrong": {}, "right": ["192.0.2.1"], "unreachable": []}

    monkeypatch.setattr(probe, "fetch", fetch)
    self_test.fetch(here(), settings)
    self_test.fetch(here(), settings)
    assert len({token for token, _ in asked}) == 2
    assert all(answer == f"{token}.{MARK}" for token, answer in asked)
    shutil.rmtree(source / layout.CERTIFICATES / "accounts")
    with pytest.raises(StepError, match="it has no account at the authority"):
        self_test.fetch(here(), settings)


def test_a_rehearsal_has_another_account_so_there_is_none(fleet: Settings) -> None:
    production = replace(fleet, acme_server="production")
    assert production.rehearsal == ""
    assert replace(production, acme_challenge="dns-01").rehearsal
    assert replace(production, fleet=()).rehearsal


def test_cron_comes_at_another_minute_on_each(fleet: Settings) -> None:
    names = [f"root@{letter}.example.com" for letter in "abcd"]
    settings = replace(fleet, fleet=tuple(names))
    assert len({schedule(settings.of(name)) for name in names}) == 4
    # Whoever logs in, and however many others there are.
    assert schedule(settings.of("a.example.com")) == schedule(replace(settings, fleet=("me@a.example.com", "b")))


@pytest.mark.parametrize(
    ("a", "own", "mark", "words"),
    [
        ("8.8.8.1 8.8.8.2 8.8.8.3", "8.8.8.1", "ok", "8.8.8.1, and 8.8.8.2, 8.8.8.3 of the other servers"),
        ("8.8.8.1", "8.8.8.1", "ok", "8.8.8.1"),
        ("8.8.8.2 8.8.8.3", "8.8.8.1", "failed", "none of them is this server's (8.8.8.1)"),
        ("8.8.8.2 8.8.8.3", "10.0.0.1", "warn", "none of them is this server's (10.0.0.1)"),
        ("8.8.8.1 8.8.8.2 8.8.8.3 8.8.8.4", "8.8.8.1", "warn", "8.8.8.4"),
    ],
)
def test_a_name_has_the_addresses_of_all_servers(fleet: Settings, a: str, own: str, mark: str, words: str) -> None:
    facts = {"a": [f"{NAME} {a}"], "addresses": [own]}
    (row,) = (row for row in network(facts, fleet) if row.name == f"A {NAME}")
    assert (row.mark, words in row.found) == (mark, True)
    assert bool(row.remedy) == (mark != "ok")
