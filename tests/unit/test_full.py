"""What nginx lets nobody push while a file says so, asked of a real one: by role, route, section, and way to send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile.layout import FULL_DISK
from fabfile.store.onhost import quota, rules
from tests.routes import ACCOUNTS, DIGEST, may, rows

from .test_access import Gate, gate, require

RULES = rules.parse(
    "[team-a/free*]\nkeep = 1 newest\n[team-a/*]\nquota = 50G\n[o.her/*]\nquota = 5M\n[*]\nuntagged = 1d\n"
)
SECTIONS = [(rule.pattern, rule.key if rule.quota else "") for rule in RULES]
TEAM, OTHER = RULES[1].key, RULES[2].key
BEGIN, MANIFEST = "/v2/{}/blobs/uploads/", "/v2/{}/manifests/1"


@pytest.fixture(scope="module", params=["off", "public/*"])
def server(request: pytest.FixtureRequest) -> Iterator[Gate]:
    """With and without ANONYMOUS_PULL; nothing is full in the beginning."""
    yield from gate(request.param, SECTIONS)


@pytest.fixture
def gated(server: Gate) -> Iterator[Gate]:
    yield server
    for file in server.full.iterdir():
        file.unlink()


def full(place: Path, key: str, message: str) -> None:
    (place / f"{key}.json").write_bytes(quota._answer(message))


def asked(gated: Gate, user: str, method: str, path: str, body: bytes | None = None) -> str:
    """`taken`, the words of a refusal, or the status."""
    answer = gated.ask(user, method, path, body)
    if body is not None:
        # nginx does, behind a body that nobody read.
        gated.close()
    if answer.status == 200:
        return "taken"
    return answer.message if answer.status == 403 else str(answer.status)


def test_over_a_quota_no_upload_begins_and_all_else_goes_on(gated: Gate) -> None:
    full(gated.full, TEAM, "51 GB of 50 GB")
    for method, path, name, route in rows("team-a/x", "other/x"):
        for user in ACCOUNTS:
            answer = gated.ask(user, method, path)
            if name == "team-a/x" and route == "begin" and may(user, name, route):
                assert (answer.status, answer.message) == (403, "51 GB of 50 GB"), (user, path)
                assert json.loads(answer.body)["errors"][0]["code"] == "DENIED"
            elif name == "team-a/x" and user == "boss" and method == "POST" and path.endswith("/uploads/UUID"):
                assert (answer.status, answer.message) == (403, "51 GB of 50 GB"), "a mount can come in there, too"
            elif path != "/v2" and not may(user, name, route):
                require(answer, "refused", user, method, path)
            else:
                assert answer.status == 200, (user, method, path, answer)
    assert gated.ask("", "POST", BEGIN.format("team-a/x")).status == 401


def test_a_mount_begins_an_upload_too(gated: Gate) -> None:
    path = f"{BEGIN.format('team-a/x')}?mount={DIGEST}&from=other/x"
    assert asked(gated, "pusher", "POST", path) == "taken"
    full(gated.full, TEAM, "no")
    assert asked(gated, "pusher", "POST", path) == asked(gated, "ci", "POST", path) == "no"


def test_the_first_section_that_matches_counts_to_the_letter(gated: Gate) -> None:
    full(gated.full, TEAM, "team")
    full(gated.full, OTHER, "other")
    for name, said in {
        "team-a/x": "team", "team-a/x/y": "team", "team-a/free": "taken", "team-a/freed/x": "taken",
        "team-b/x": "taken", "xteam-a/x": "taken", "other/x": "taken", "o.her/x": "other",
        "team-a/blobs/uploads/x": "team",
    }.items():  # fmt: skip
        assert asked(gated, "boss", "POST", BEGIN.format(name)) == said, name
    # Another spelling is the admin's own, and the same repository.
    assert asked(gated, "boss", "POST", "/v2//team-a/x/blobs/uploads/") == "team"
    assert asked(gated, "boss", "POST", "/v2/team-a/x/blobs/%75ploads/") == "team"


def test_on_a_full_disk_what_is_whole_may_end(gated: Gate) -> None:
    full(gated.full, FULL_DISK, "0.9 GB")
    upload = "/v2/other/x/blobs/uploads/UUID"
    for method, path, body, said in [
        ("POST", BEGIN.format("other/x"), None, "0.9 GB"),
        ("POST", upload, None, "0.9 GB"),
        ("PATCH", upload, b"part", "0.9 GB"),
        ("PATCH", upload, None, "0.9 GB"),
        ("PUT", f"{upload}?digest={DIGEST}", b"all of it", "0.9 GB"),
        ("PUT", f"{upload}?digest={DIGEST}", b"", "taken"),
        ("PUT", f"{upload}?digest={DIGEST}", None, "taken"),
        ("DELETE", upload, None, "taken"),
        ("GET", upload, None, "taken"),
        ("PUT", MANIFEST.format("other/x"), b"{}", "taken"),
        ("GET", MANIFEST.format("other/x"), None, "taken"),
        ("DELETE", MANIFEST.format("other/x"), None, "taken"),
    ]:
        assert asked(gated, "boss", method, path, body) == said, (method, path, body)
    answer = gated.ask("boss", "PUT", upload, b"5\r\nwhole\r\n0\r\n\r\n", Transfer_Encoding="chunked")
    gated.close()
    assert (answer.status, answer.message) == (403, "0.9 GB")


def test_both_at_once_and_neither_again(gated: Gate) -> None:
    full(gated.full, TEAM, "quota")
    full(gated.full, FULL_DISK, "disk")
    assert asked(gated, "pusher", "POST", BEGIN.format("team-a/x")) == "disk"
    (gated.full / f"{FULL_DISK}.json").unlink()
    assert asked(gated, "pusher", "POST", BEGIN.format("team-a/x")) == "quota"
    (gated.full / f"{TEAM}.json").unlink()
    assert asked(gated, "pusher", "POST", BEGIN.format("team-a/x")) == "taken"


def test_who_may_not_push_is_told_that(gated: Gate) -> None:
    """Not how full it is."""
    full(gated.full, FULL_DISK, "disk")
    full(gated.full, TEAM, "quota")
    assert asked(gated, "reader", "POST", BEGIN.format("team-a/x")) == "the account reader may only pull"
    assert asked(gated, "ci", "POST", BEGIN.format("other/x")) == "the account ci is limited to team-a/*"
    assert gated.ask("", "POST", BEGIN.format("team-a/x")).status == 401
    foreign = gated.ask("boss", "POST", BEGIN.format("team-a/x"), Sec_Fetch_Site="cross-site")
    assert foreign.message == "a page of another site may change nothing here"


def test_a_client_names_no_file_itself(gated: Gate) -> None:
    full(gated.full, FULL_DISK, "disk")
    assert gated.ask("boss", "GET", MANIFEST.format("other/x"), X_Full=FULL_DISK).status == 200
    assert gated.ask("boss", "POST", BEGIN.format("other/x"), X_Full="nothing").message == "disk"
