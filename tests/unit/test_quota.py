"""Quotas and the nearly full disk: what counts, what is written for nginx, what people are told, when cron looks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile import layout
from fabfile.errors import StepError
from fabfile.machine.host import here
from fabfile.machine.onhost import disk
from fabfile.machine.onhost import store as place
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.settings import HOME, Settings
from fabfile.store import quota as told
from fabfile.store.onhost import images, quota, removal, retention, rules
from tests.unit.stores import sha
from tests.unit.test_collect import DAY, Server

GB = 10**9


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A deployed one, on a disk with room for all."""
    server = Server(tmp_path)
    (tmp_path / layout.NGINX).mkdir()
    now = server.now
    monkeypatch.setattr(time, "time", lambda: now)
    room(monkeypatch, 500 * GB)
    return server


def room(monkeypatch: pytest.MonkeyPatch, free: int, total: int = 1000 * GB, inodes: int = 10**6) -> None:
    found = {"free": free, "total": total, "inodes": inodes, "all_inodes": 10**7}
    monkeypatch.setattr(disk, "space", lambda _: found)


def ruled(server: Server, text: str) -> quota.Judged:
    (server.root / layout.RETENTION).write_text(text)
    return quota.judge(str(server.root))


def refused(server: Server) -> dict[str, str]:
    """Key -> what clients are told."""
    files = (server.root / layout.FULL).glob("*.json")
    return {file.stem: json.loads(file.read_text())["errors"][0]["message"] for file in files}


def size(*contents: bytes) -> int:
    return sum(map(len, contents))


def blob(server: Server, digest: str) -> int:
    return server.store.blob_path(digest).stat().st_size


def used(server: Server, text: str = "[team/*]\nquota = 1G\n") -> int:
    (section,) = ruled(server, text)["sections"]
    return section["used"]


def test_layers_count_once_and_what_is_of_others_does_not(server: Server) -> None:
    config = {"os": "linux", "architecture": "amd64"}
    one = server.store.image("team/a", [b"shared" * 100, b"one"], "1")
    two = server.store.image("team/b", [b"shared" * 100, b"two!"], "1")
    server.store.image("other/c", [b"elsewhere" * 1000], "1")
    expected = (
        size(b"shared" * 100, b"one", b"two!", json.dumps(config).encode()) + blob(server, one) + blob(server, two)
    )
    assert used(server) == expected
    # Without a tag it counts as before: a server may have it pinned.
    shutil.rmtree(server.store.part("team/b", "_manifests/tags"))
    assert used(server) == expected


def test_what_an_index_has_counts(server: Server) -> None:
    child = server.store.image("team/a", [b"platform" * 10])
    before = used(server)
    index = server.store.index("team/a", [{"digest": child}], "1")
    assert used(server) == before + blob(server, index)


def test_the_size_is_that_of_the_file_and_not_what_a_client_says(server: Server) -> None:
    layer = b"large" * 1000
    server.store.blob(layer, "team/a")
    liar = {
        "schemaVersion": 2,
        "config": {"digest": server.store.blob(b"{}", "team/a"), "size": 0},
        "layers": [{"digest": sha(layer), "size": 0}, {"digest": sha(b"is not there"), "size": 10**15}],
    }
    digest = server.store.manifest("team/a", liar, "1")
    assert used(server) == len(layer) + 2 + blob(server, digest)


def test_a_layer_without_an_image_counts_for_a_day(server: Server) -> None:
    server.store.blob(b"of long ago", "team/a")
    assert used(server) == 0
    server.fresh().blob(b"of a push that is under way", "team/a")
    assert used(server) == len(b"of a push that is under way")


def test_a_layer_by_another_digest_counts_once(server: Server) -> None:
    server.fresh().alias(b"by sha512", "team/a")
    assert used(server) == len(b"by sha512")


def test_where_a_manifest_cannot_be_read_all_layers_count(server: Server) -> None:
    digest = server.store.image("team/a", [b"layer" * 50], "1")
    server.store.blob(b"an old one", "team/a")
    content = server.store.blob_path(digest).read_bytes()
    before = used(server)
    # As long, so that only what it names is gone.
    server.store.blob_path(digest).write_bytes(content.replace(b"layers", b"layerz"))
    assert used(server) == before + len(b"an old one")


def test_what_is_in_the_trash_does_not_count(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "PAUSE", 0.0)
    digest = server.store.image("team/a", [b"layer" * 50], "1")
    found = ruled(server, "[team/*]\nquota = 1M\n")
    assert found["sections"][0]["used"] > 0
    removal.remove(str(server.root), "team/a", "1", whole=False, digest=digest)
    assert used(server) == 0
    removal.undo(str(server.root))
    assert used(server) == found["sections"][0]["used"]


def test_a_reached_quota_is_a_file_and_a_raised_one_none(server: Server) -> None:
    server.store.image("team/a", [b"x" * 2_000_000], "1")
    (rule,) = rules.parse("[team/*]\nquota = 2M\n")
    found = ruled(server, "[team/*]\nquota = 2M\n")
    assert found["changed"] == ["team/*"]
    said = "the quota of team/* is reached: 2.0 MB used of 2.0 MB; pulls and deletes go on"
    assert refused(server) == {rule.key: said}
    assert (server.root / layout.FULL).stat().st_mode & 0o777 == 0o755
    assert (server.root / layout.FULL / f"{rule.key}.json").stat().st_mode & 0o777 == 0o644
    assert ruled(server, "[team/*]\nquota = 2M\n")["changed"] == []
    server.store.image("team/a", [b"y" * 3_000_000], "2")
    assert ruled(server, "[team/*]\nquota = 2M\n")["changed"] == []
    assert "5.0 MB used" in refused(server)[rule.key]
    assert ruled(server, "[team/*]\nquota = 6M\n")["changed"] == ["team/*"]
    assert refused(server) == {}


def test_a_section_that_goes_is_refused_no_more(server: Server) -> None:
    server.store.image("team/a", [b"x" * 2_000_000], "1")
    ruled(server, "[team/*]\nquota = 1M\n")
    assert len(refused(server)) == 1
    ruled(server, "[other/*]\nquota = 1M\n")
    assert refused(server) == {}
    ruled(server, "[team/*]\nquota = 1M\n")
    (server.root / layout.RETENTION).unlink()
    quota.judge(str(server.root))
    assert refused(server) == {}


def test_the_first_section_that_matches_has_it(server: Server) -> None:
    server.store.image("team/free", [b"x" * 2_000_000], "1")
    assert used(server, "[team/free]\nkeep = 1 newest\n[team/*]\nquota = 1M\n") == 0
    assert refused(server) == {}


def test_a_mistake_leaves_the_quotas_as_they_were(server: Server) -> None:
    server.store.image("team/a", [b"x" * 2_000_000], "1")
    ruled(server, "[team/*]\nquota = 1M\n")
    before = refused(server)
    found = ruled(server, "[team/*]\nquota = many\n")
    assert found["problem"].startswith("retention.ini:2: quota: many")
    assert refused(server) == before != {}
    mark, name, text = told.row(found)
    assert (mark, name) == ("warn", "pushes")
    assert text.startswith("the quotas are as they were: retention.ini:2:")


def test_a_disk_that_is_nearly_full(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def looked(free: float, **more: int) -> tuple[bool, list[str]]:
        room(monkeypatch, int(free * GB), **more)
        found = quota.judge(str(server.root))
        assert (layout.FULL_DISK in refused(server)) == found["room"]["full"]
        return found["room"]["full"], found["changed"]

    assert looked(1.0) == (False, [])
    assert looked(0.999) == (True, [layout.FULL_DISK])
    assert refused(server)[layout.FULL_DISK] == (
        "the registry's disk is nearly full: 999.0 MB free, pushes need 1.00 GB; pulls go on"
    )
    # A little more, or each push would end them again.
    assert looked(1.19) == (True, [])
    assert looked(1.2) == (False, [layout.FULL_DISK])
    # A small disk.
    assert looked(0.41, total=4 * GB) == (False, [])
    assert looked(0.39, total=4 * GB) == (True, [layout.FULL_DISK])
    assert looked(50, inodes=999) == (True, [])
    assert "only 999 more files" in refused(server)[layout.FULL_DISK]
    assert looked(50) == (False, [layout.FULL_DISK])


def test_the_disk_is_looked_at_whatever_the_rules_and_the_store_are(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    room(monkeypatch, 1)
    assert ruled(server, "[a]\nquota = many\n")["room"]["full"]
    assert layout.FULL_DISK in refused(server)


def test_nothing_is_judged_where_the_disk_is_away_or_nothing_is_deployed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "problem", lambda _: ["it is away", "mount it"])
    with pytest.raises(RefusedError, match="it is away"):
        quota.judge(str(server.root))
    assert not (server.root / layout.FULL).exists()
    with pytest.raises(RefusedError, match="nothing is deployed"):
        quota.judge(str(server.root / "nowhere"))


def test_before_the_first_push(tmp_path: Path) -> None:
    (tmp_path / layout.DATA).mkdir(parents=True)
    (tmp_path / layout.RETENTION).write_text("[a]\nquota = 1M\n")
    assert quota.measured(str(tmp_path), rules.read(str(tmp_path)) or [], 0.0) == [
        {"pattern": "a", "quota": 10**6, "used": 0}
    ]


def test_what_images_and_retention_show(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.store.image("team/a", [b"x" * 2_000_000], "1")
    (server.root / layout.RETENTION).write_text("[team/*]\nkeep = 1 newest\nquota = 1M\n[b]\nquota = 2T\n")
    for found in (images.listed(str(server.root))["quotas"], retention.retention(str(server.root), dry=True)["quotas"]):
        assert told.lines(found) == ["team/*: 2.0 MB of 1.0 MB, so pushes are refused", "b: 0 B of 2.0 TB"]
    (server.root / layout.RETENTION).write_text("[b]\nquota = x\n")
    assert images.listed(str(server.root))["odd"][0].startswith("retention.ini:2: ")


def judged(**more: Any) -> quota.Judged:
    sections = [{"pattern": "team/*", "quota": 50 * GB, "used": 51 * GB}, {"pattern": "b", "quota": GB, "used": 5}]
    found: Any = {
        "when": time.time() - 60, "seen": time.time(), "sections": sections, "problem": "", "changed": [],
        "room": {"free": 5 * GB, "limit": GB, "full": False, "files": -1},
    }  # fmt: skip
    answer: quota.Judged = found | more
    return answer


def test_what_status_says() -> None:
    assert told.row(None)[0] == "ok"
    assert told.row(judged()) == (
        "warn",
        "pushes",
        "team/*: 51.0 GB of 50.0 GB, so pushes are refused; b: 5 B of 1.0 GB",
    )
    assert told.row(judged(sections=[])) == ("ok", "pushes", "taken")
    full = {"free": GB // 2, "limit": GB, "full": True, "files": -1}
    assert told.row(judged(room=full)) == (
        "failed", "pushes", "refused: 500 MB are free on the images' disk, and 1.0 GB must be: ./fab -H … gc --now"
    )  # fmt: skip
    # At rest cron comes by, but there is nothing to look at.
    assert told.row(judged(sections=[], when=0.0))[0] == "ok"


def test_where_cron_stands_still_status_says_since_when() -> None:
    old = {"when": time.time() - DAY, "seen": time.time() - 7200}
    mark, _, text = told.row(judged(**old))
    assert mark == "warn"
    assert text.endswith("so pushes are refused; b: 5 B of 1.0 GB; that was 2 h ago, and cron did not look since: "
                         "log/quota.log on the server")  # fmt: skip
    assert told.row(judged(sections=[], **old))[0] == "warn"
    full = {"free": 0, "limit": GB, "full": True, "files": -1}
    assert told.row(judged(room=full, **old))[0] == "failed"
    # Before cron has its new file.
    assert told.row(judged(sections=[], when=time.time() - 7200, seen=0.0))[0] == "warn"


def test_what_the_last_look_found_is_kept(server: Server) -> None:
    assert quota.last(str(server.root)) is None
    found = ruled(server, "[a]\nquota = 1M\n")
    assert quota.last(str(server.root)) == found
    (server.root / layout.QUOTA_SEEN).touch()
    os.utime(server.root / layout.QUOTA_SEEN, (5, 5))
    kept = quota.last(str(server.root))
    assert kept is not None
    assert kept["seen"] == 5
    (server.root / layout.QUOTA_RECORD).write_text("torn")
    assert quota.last(str(server.root)) is None


def test_what_cron_writes_down_and_tells(
    server: Server, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host, alerts = here(), server.root / "alerts"
    there = replace(settings, deploy_dir=str(server.root), alert_command=f"cat >>{alerts}")
    server.store.image("team/a", [b"x" * 2_000_000], "1")

    def looked(text: str, free: float) -> tuple[bool, str]:
        (server.root / layout.RETENTION).write_text(text)
        room(monkeypatch, int(free * GB))
        done = told.quota(host, there)
        return done.changed, done.summary

    low, high = "[team/*]\nquota = 1M\n", "[team/*]\nquota = 1G\n"
    assert looked(low, 5) == (True, "team/*: the quota is reached, pushes are refused")
    assert looked(low, 5) == (False, "as it was")
    assert told.tell(host, there, "") == "", "a quota is no alarm"
    assert looked(high, 0.9) == (
        True, "disk: pushes are refused, 900 MB are free on the images' disk, and 1.0 GB must be; "
        "team/*: pushes are taken again"
    )  # fmt: skip
    assert told.tell(host, there, "") == "ALERT_COMMAND was told"
    assert looked(high, 0.8) == (False, "as it was")
    assert told.tell(host, there, "") == "", "the same, with other numbers"
    assert looked(high, 5) == (True, "disk: pushes are taken again")
    assert told.tell(host, there, "") == ""
    looked(high, 0.7)
    assert told.tell(host, there, "") == "ALERT_COMMAND was told"
    assert alerts.read_text().count("gc --now") == 2
    with pytest.raises(StepError, match=r"the quotas are as they were: retention.ini:2: "):
        looked("[team/*]\nquota = 1\n", 5)
    # After another step that is no failure.
    told.look(host, there)
    assert "cron does it within a minute: the quotas are as they were" in " ".join(capsys.readouterr().out.split())


class Minute:
    """A server's directory in which `./inv` writes down that it was called, and with what."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (layout.DATA, layout.USES, layout.FULL):
            (root / name).mkdir(parents=True)
        shutil.copy(HOME / "deploy" / layout.MINUTE_SCRIPT, root)
        self.inv("")
        self.limit(1)

    def inv(self, more: str) -> None:
        (self.root / "inv").write_text(f'#!/bin/sh\necho "$@" >>called\n{more}\n')
        (self.root / "inv").chmod(0o755)

    def limit(self, count: int) -> None:
        (self.root / layout.QUOTA_RECORD).write_text(json.dumps({"room": {"free": 5, "limit": count, "full": False}}))

    def log(self, method: str, repository: str = "app") -> None:
        with (self.root / layout.USES_LOG).open("a") as log:
            log.write(f"1700000000.123\tann\t{method}\t{repository}\t1\tsha256:{'0' * 64}\t5\tPUT\\x09PUT\n")

    def looked(self) -> bool:
        called = self.root / "called"
        called.unlink(missing_ok=True)
        done = subprocess.run(
            ["sh", f"./{layout.MINUTE_SCRIPT}"], cwd=self.root, capture_output=True, text=True, check=False
        )
        assert done.stdout + done.stderr == ""
        if not called.exists():
            return False
        assert called.read_text() == f"quota --log {layout.QUOTA_LOG}\n"
        return True


@pytest.fixture
def minute(tmp_path: Path) -> Minute:
    return Minute(tmp_path)


def test_a_server_at_rest_is_not_looked_at(minute: Minute) -> None:
    assert not minute.looked()
    assert (minute.root / layout.QUOTA_SEEN).read_text() == "0\n"
    for method in ("GET", "HEAD", "GET"):
        minute.log(method, "put/POST")
    assert not minute.looked()
    os.utime(minute.root / layout.QUOTA_SEEN, (5, 5))
    assert not minute.looked()
    assert (minute.root / layout.QUOTA_SEEN).stat().st_mtime > 5, "it says that cron was here"


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_what_was_pushed_is_looked_at_once(minute: Minute, method: str) -> None:
    minute.log("GET")
    minute.log(method)
    minute.log("GET")
    assert minute.looked()
    assert not minute.looked()
    minute.log("HEAD")
    assert not minute.looked()
    minute.log(method)
    assert minute.looked()
    # A new log, of the night.
    (minute.root / layout.USES_LOG).unlink()
    minute.log(method)
    assert minute.looked()
    assert not minute.looked()


def test_a_look_that_fails_comes_again(minute: Minute) -> None:
    minute.inv("exit 1")
    minute.log("PUT")
    assert minute.looked()
    assert not (minute.root / layout.QUOTA_SEEN).exists(), "and status says that it did not happen"
    assert minute.looked()
    minute.inv("")
    assert minute.looked()
    assert not minute.looked()


def test_what_else_makes_it_look(minute: Minute) -> None:
    assert not minute.looked()
    minute.limit(10**18)
    assert minute.looked(), "the disk has less"
    minute.limit(1)
    assert not minute.looked()
    flag = minute.root / layout.FULL / "0123.json"
    flag.touch()
    assert minute.looked(), "what is refused may be let in again"
    flag.unlink()
    (minute.root / layout.RETENTION).write_text("[a]\nquota = 1M\n")
    later = time.time() + 10
    os.utime(minute.root / layout.RETENTION, (later, later))
    assert minute.looked(), "there are new rules"
    os.utime(minute.root / layout.RETENTION, (5, 5))
    assert not minute.looked()
    (minute.root / layout.QUOTA_RECORD).unlink()
    assert minute.looked(), "nobody ever looked"


def test_two_do_not_look_at_once(minute: Minute) -> None:
    minute.inv(f"sh ./{layout.MINUTE_SCRIPT}")
    minute.log("PUT")
    assert minute.looked()
