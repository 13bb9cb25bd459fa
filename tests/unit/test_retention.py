"""deploy/retention.ini: mistakes have a line, every tag has a reason, and nothing goes without a rule."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from fabfile import layout
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.store.onhost import collect, images, removal, retention, rules
from tests.unit.stores import sha
from tests.unit.test_collect import DAY, Server

GOOD = """
# Of all teams.
[team-a/*]
protect  = v* latest stable       ; never deleted by any rule
keep     = 2 newest, pushed 30d, used 90d
untagged = never

[*]
untagged = 12h
"""


def test_a_file_says_what_it_means() -> None:
    first, second = rules.parse(GOOD)
    assert first == rules.Rule("team-a/*", 3, ("v*", "latest", "stable"), True, 2, 30 * DAY, 90 * DAY, rules.NEVER)
    assert (second.line, second.keeps, second.untagged) == (8, False, DAY / 2)
    assert rules.for_repository([first, second], "team-a/x/y") is first
    assert rules.for_repository([first], "other") is None
    assert rules.parse("") == rules.parse("# nothing\n") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keep = 1 newest\n", "1: expected [PATTERN"),
        ("[a]\nkeep\n", "2: expected KEY = VALUE"),
        ("[a]\n\nkeeep = 1 newest\n", "3: keeep: expected one of protect, keep, untagged, quota"),
        ("[a]\nprotect = x\n", "1: [a] needs keep, untagged or quota"),
        ("[a]\nkeep = 0 newest\n", "2: keep: 0 newest: expected `10 newest`"),
        ("[a]\nkeep = ten newest\n", "2: keep: ten newest: expected"),
        ("[a]\nkeep = 1 newest,\n", "2: keep: an empty part"),
        ("[a]\nkeep = pushed 30\n", "2: 30: expected an age"),
        ("[a]\nprotect = x\nkeep = used\n", "3: nothing: expected an age"),
        ("[a]\nuntagged = 0d\n", "2: 0d: expected an age"),
        ("[a]\nuntagged = 1d\n[b]\nuntagged = soon\n", "4: soon: expected an age"),
        ("[a]\nuntagged = 1d\n[a]\nuntagged = 1d\n", "3: [a] is there twice"),
        ("[a]\nuntagged = 1d\nuntagged = 2d\n", "3: untagged is there twice"),
        ("[A b]\nuntagged = 1d\n", "1: [A b]: expected a pattern"),
        ("[DEFAULT]\nuntagged = 1d\n", "1: [DEFAULT]: expected a pattern"),
        ("[a]\nquota = 5\n", "2: quota: 5: expected a size, for example 500M, 50G or 2T"),
        ("[a]\nkeep = 1 newest\nquota = 0G\n", "3: quota: 0G: expected a size"),
        ("[a]\nquota = 1.5G\n", "2: quota: 1.5G: expected a size"),
        ("[a]\nquota =\n", "2: quota: nothing: expected a size"),
        ("[a]\nprotect = v*\n[b]\nquota = 5 G\n", "1: [a] needs keep, untagged or quota"),
        ("[a]\nquotas = 5G\n", "2: quotas: expected one of"),
        ("[a]\nkeep = 1 newest\nprotect = v*, stable\n", "3: protect: v*,: expected patterns of tags with blanks"),
        ("[a]\nprotect = v* , stable\nkeep = 1 newest\n", "2: protect: ,: expected patterns of tags"),
        ("[a]\nprotect = app:v1\nkeep = 1 newest\n", "2: protect: app:v1: expected patterns"),
        ("[a]\nprotect =\nkeep = 1 newest\n", "2: protect: nothing: expected patterns"),
    ],
)
def test_a_mistake_has_its_line(text: str, said: str) -> None:
    with pytest.raises(RefusedError) as refused:
        rules.parse(text)
    assert refused.value.what.startswith(f"retention.ini:{said}")


def test_every_tag_has_a_reason() -> None:
    (rule,) = rules.parse("[*]\nprotect = v*\nkeep = 1 newest, pushed 10d, used 20d\n")
    now = 100 * DAY
    pushed = {"v1": 0.0, "newest": 95 * DAY, "tie": 95 * DAY, "new": 91 * DAY, "used": DAY, "old": DAY, "unknown": DAY}
    used = dict.fromkeys(pushed, DAY) | {"used": 90 * DAY, "unknown": 0.0}
    assert rules.judged(rule, pushed, used, now, begun=85 * DAY) == {
        "v1": (True, "protected by v*"),
        "newest": (True, "among the 1 newest"),
        "tie": (True, "among the 1 newest"),
        "new": (True, "pushed 9 d ago"),
        "used": (True, "used 10 d ago"),
        "unknown": (True, "used 15 d ago"),
        "old": (True, "used 15 d ago"),
    }, "whatever was written down before the log began anew"
    assert rules.judged(rule, pushed, used, now, begun=DAY)["old"] == (
        False, "not among the 1 newest, pushed 99 d ago, used 99 d ago"
    )  # fmt: skip
    (other,) = rules.parse("[*]\nuntagged = 1d\n")
    assert rules.judged(other, {"old": 0.0}, used, now, 0.0) == {"old": (True, "[*] has no keep")}


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """Five tags: the first is the oldest, all were pushed long ago."""
    server = Server(tmp_path)
    for number in range(5):
        server.store.now = 1_700_000_000 + number * DAY
        server.store.image("app", [b"%d" % number], f"1.{number}")
    (tmp_path / layout.USES / "begun").touch()
    os.utime(tmp_path / layout.USES / "begun", (1_700_000_000, 1_700_000_000))
    return server


def ruled(server: Server, text: str, **options: Any) -> retention.Judged:
    (server.root / "retention.ini").write_text(text)
    return retention.retention(str(server.root), **{"dry": False} | options)


def tags(server: Server, name: str = "app") -> list[str]:
    return sorted(path.name for path in server.store.part(name, "_manifests/tags").iterdir())


def test_without_a_file_nothing_goes(server: Server) -> None:
    with pytest.raises(RefusedError, match=r"there is no retention\.ini"):
        retention.retention(str(server.root), dry=False)
    assert len(tags(server)) == 5
    assert server.gc()["counts"] == {}


def test_what_no_rule_keeps_goes_and_comes_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "[app]\nprotect = 1.0\nkeep = 2 newest\n"
    assert ruled(server, text, dry=True)["removed"] == 0
    assert len(tags(server)) == 5
    done = ruled(server, text)
    assert (done["removed"], done["held"], done["unmatched"]) == (2, {}, [])
    assert tags(server) == ["1.0", "1.3", "1.4"]
    monkeypatch.setattr(removal, "PAUSE", 0.0)
    assert sorted(removal.undo(str(server.root))["restored"]) == ["app:1.1", "app:1.2"]
    assert len(tags(server)) == 5


def test_a_use_keeps_a_tag(server: Server) -> None:
    link = server.store.part("app", "_manifests/tags/1.0") / "current/link"
    server.used("app", link.read_text(), time.time())
    done = ruled(server, "[*]\nkeep = 2 newest, used 1d\n")
    assert (done["removed"], tags(server)) == (2, ["1.0", "1.3", "1.4"])


def test_a_rule_that_would_take_too_much_is_held(server: Server) -> None:
    """A brake: all tags of a repository, or more than half of them; cron goes on with the others."""
    server.store.image("single", [b"x"], "1")
    for tag in ("1", "2", "3", "4"):
        server.store.now = 1_700_000_000 + int(tag)
        server.store.image("half", [b"y" + tag.encode()], tag)
    text = "[half]\nkeep = 2 newest\n[*]\nkeep = pushed 1d\n[never]\nuntagged = 1d\n"
    held = {"app": "all 5 tags would go", "single": "its only tag would go"}
    done = ruled(server, text)
    assert (done["held"], done["removed"], done["unmatched"]) == (held, 0, ["never"])
    assert ruled(server, text, cron=True)["removed"] == 2
    assert (tags(server, "half"), len(tags(server)), tags(server, "single")) == (["3", "4"], 5, ["1"])
    assert ruled(server, text, all_of_it=True)["removed"] == 6


def test_a_repository_that_cannot_be_read_is_left(server: Server) -> None:
    link = server.store.part("app", "_manifests/tags/1.4") / "current/link"
    server.store.blob_path(link.read_text()).write_bytes(b"{}")
    done = ruled(server, "[*]\nkeep = 3 newest\n")
    assert (done["left"], done["removed"]) == (["app"], 0)


def test_signatures_are_not_judged_by_themselves(server: Server) -> None:
    digest = (server.store.part("app", "_manifests/tags/1.4") / "current/link").read_text()
    server.store.now = 1
    server.store.image("app", [b"cosign"], digest.replace(":", "-") + ".sig")
    done = ruled(server, "[*]\nkeep = 3 newest\n")
    assert done["removed"] == 2
    assert len(tags(server)) == 4


def test_gc_takes_images_without_a_tag_as_the_file_says(server: Server) -> None:
    server.store.image("app", [b"untagged"])
    server.store.image("other", [b"untagged too"])
    server.store.image("only-keep", [b"untagged as well"])
    text = "[app]\nuntagged = 2d\n[other]\nuntagged = never\n[only-keep]\nkeep = 1 newest\n"
    (server.root / "retention.ini").write_text(text)
    done = server.gc()
    assert done["counts"]["manifest"] == 1
    assert (server.has(b"untagged"), server.has(b"untagged too")) == (False, True)
    assert server.has(b"untagged as well")
    assert sha(b"untagged too") not in str(done)


def test_what_was_used_before_that_was_written_down_stays_for_so_long(server: Server) -> None:
    """An image that is pinned by its digest, in the first night after an update, and by hand."""
    pinned = server.store.image("app", [b"pinned by digest"])
    begun = server.root / layout.USES_BEGUN
    os.utime(begun, (server.now - 60, server.now - 60))
    (server.root / "retention.ini").write_text("[*]\nuntagged = 30d\n")
    assert server.gc()["counts"] == server.gc(untagged=30 * DAY)["counts"] == {}
    begun.unlink()
    assert server.gc(untagged=30 * DAY)["counts"] == {}, "nothing is written down"
    begun.touch()
    assert [digest for _, digest, _ in server.gc()["manifests"]] == [pinned]


def test_images_without_a_tag_have_the_brakes_that_tags_have(server: Server) -> None:
    for number in range(3):
        server.store.image("half", [b"half %d" % number], *(["1"] if number < 2 else []))
    server.store.image("all", [b"without a tag"])
    server.store.image("app", [b"without a tag, too"])
    (server.root / "retention.ini").write_text("[*]\nuntagged = 30d\n")
    done = server.gc()
    assert done["held"] == {"all": "its only manifest would go", "half": "2 of 3 manifests would go"}
    assert [(name, done["counts"]["manifest"]) for name, _, _ in done["manifests"]] == [("app", 1)]
    assert server.has(b"without a tag")
    assert server.gc(untagged=30 * DAY)["counts"]["manifest"] == 3, "who says it by hand is believed"


def test_images_that_would_go_are_shown_before(server: Server) -> None:
    """Those without a tag, and those that the rules take the last tag from."""
    lone = server.store.image("app", [b"without a tag"])
    text = "[*]\nkeep = 4 newest\nuntagged = 30d\n"
    oldest = (server.store.part("app", "_manifests/tags/1.0") / "current/link").read_text()
    shown = ruled(server, text, dry=True)["images"]
    assert sorted(digest for _, digest, _ in shown) == sorted([lone, oldest])
    assert ruled(server, text)["removed"] == 1
    assert sorted(digest for _, digest, _ in server.gc()["manifests"]) == sorted([lone, oldest])


def test_a_full_disk_takes_no_undo_away(server: Server) -> None:
    """gc --now purges what gc took; of tags there are only links."""
    assert ruled(server, "[app]\nkeep = 3 newest\n")["removed"] == 2
    collect.collect(str(server.root), now=True)
    assert sorted(removal.undo(str(server.root))["restored"]) == ["app:1.0", "app:1.1"]


def test_no_rule_and_no_list_is_for_the_accounts_of_several_servers(server: Server) -> None:
    """Without them nobody is served anywhere. With one server it is a repository as any other."""
    for number in range(3):
        server.store.image(layout.ACCOUNTS_REPOSITORY, [b"accounts %d" % number], f"x{number}")
    text = "[*]\nkeep = 1 newest\n"
    names = [each["repository"] for each in images.listed(str(server.root))["repositories"]]
    assert names == ["app", layout.ACCOUNTS_REPOSITORY]
    assert {name for name, *_ in ruled(server, text, dry=True)["tags"]} == {*names}
    generation_file = server.root / layout.GENERATION
    generation_file.parent.mkdir(parents=True, exist_ok=True)
    generation_file.touch()
    assert [each["repository"] for each in images.listed(str(server.root))["repositories"]] == ["app"]
    assert {name for name, *_ in ruled(server, text, all_of_it=True)["tags"]} == {"app"}
    assert tags(server, layout.ACCOUNTS_REPOSITORY) == ["x0", "x1", "x2"]
