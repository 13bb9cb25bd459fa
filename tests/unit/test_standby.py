"""A standby and the first one: what one may ask of the other, what is copied, and who is the first."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile import layout
from fabfile.copies import checked, follow, twins
from fabfile.copies.onhost import behind, mirror, offer, peer, putback, since, stage, standing
from fabfile.errors import StepError
from fabfile.machine import lock
from fabfile.machine.host import here
from fabfile.machine.onhost.atomic import RefusedError, locked
from fabfile.report import Outcome
from fabfile.settings import HOME, Settings
from fabfile.stack import nginx
from fabfile.store.onhost import trash

from .far import deployed
from .stores import Store
from .test_copies import KilledError, _dying, images

ROOT = os.geteuid() == 0
SSH = """\
#!/bin/sh
# ssh -F CONFIG other WORDS
shift 3
SSH_ORIGINAL_COMMAND="$*" PYTHONPATH={home} exec {python} -c '
import os, sys
from fabfile.copies.onhost import offer
from fabfile.machine.onhost.atomic import RefusedError
offer.STANDBY_LOCK = "{root}/lock"
try:
    offer.answer("{root}", os.environ["SSH_ORIGINAL_COMMAND"])
except RefusedError as error:
    sys.exit("error: " + error.what)
'
"""


class Pair:
    """Two DEPLOY_DIRs on this machine, of which one stands by."""

    def __init__(self, place: Path, settings: Settings) -> None:
        self.first, self.second = place / "first", place / "second"
        for root in (self.first, self.second):
            root.mkdir(parents=True)
            (root / layout.NGINX).mkdir()
        self.store, self.copy = deployed(self.first), deployed(self.second)
        (self.second / layout.ACCOUNTS).write_text("demo:older\n")
        self.settings = replace(settings, deploy_dir=str(self.second))
        standing.begin(str(self.first), standing.FIRST, "b", 1)
        standing.begin(str(self.second), standing.SECOND, "a", 1)

    def follow(self, wait: float = 1.0) -> Outcome:
        return follow.follow(here(), self.settings, wait)

    def used(self, *lines: str) -> None:
        """Lines in the first one's log of uses."""
        log = self.first / layout.USES_LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.writelines(f"{time.time():.3f}\tdemo\t{line}\n" for line in lines)


@pytest.fixture
def pair(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Pair:
    if not ROOT or not shutil.which("rsync"):
        pytest.skip("rsync shuts itself in for root alone")
    found = Pair(tmp_path, settings)
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text(SSH.format(home=HOME, python=sys.executable, root=found.first))
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(layout, "COPY_LOCK", str(tmp_path / "copy.lock"))
    monkeypatch.setattr(nginx, "up", lambda *_: None)
    monkeypatch.setattr(lock, "exclusive", lambda *_, **__: contextlib.nullcontext())
    return found


def same(pair: Pair) -> None:
    """Both have the same images, and the standby no blob that nobody needs."""
    assert images(pair.copy) == images(pair.store)
    assert checked.incomplete(pair.second) == []
    needed = {digest for _, digest in checked.references(pair.second)}
    assert {digest for digest, _, _ in checked.blobs(pair.second)} == needed
    assert checked.check(pair.second, every=True).damaged == {}


def test_a_standby_becomes_what_the_first_one_is(pair: Pair) -> None:
    """Whatever is pushed, moved and deleted between two copies."""
    chance = random.Random(1)  # noqa: S311 - a test
    for number in range(5):
        for _ in range(chance.randrange(4)):
            name, tag = chance.choice(["app", "team/app", "team"]), chance.choice("123")
            if chance.random() < 0.3 and (place := pair.store.part(name, f"_manifests/tags/{tag}")).is_dir():
                shutil.rmtree(place)
            else:
                layers = [str(chance.randrange(9)).encode(), b"all have it"]
                pair.store.image(name, layers, tag)
        pair.used(f"PUT\tapp\t{number}")
        pair.follow()
        same(pair)
    assert (pair.second / layout.ACCOUNTS).read_text() == "demo:hash\n"
    assert (pair.second / layout.CERTIFICATES / "live/a/cert.pem").read_text() == "a certificate"
    assert not (pair.first / layout.DATA / layout.COPY / layout.COPY_FOLLOWED).exists()


def test_what_has_not_changed_stays_the_same_file(pair: Pair) -> None:
    pair.store.image("app", [b"one"], "1")
    pair.follow()
    link = pair.copy.part("app", "_manifests/tags/1") / "current/link"
    before = link.stat().st_ino
    pair.store.image("app", [b"two"], "2")
    pair.used("PUT\tapp\t2")
    pair.follow()
    same(pair)
    assert link.stat().st_ino == before


def test_at_rest_nothing_is_copied(pair: Pair) -> None:
    pair.store.image("app", [b"one"], "1")
    pair.used("PUT\tapp\t1")
    assert pair.follow().changed
    good = standing.copied(str(pair.second))["good"]
    # A pull is nothing new, and what no log tells is not looked for each minute.
    pair.used("GET\tapp\t1")
    pair.store.image("app", [b"two"], "2")
    assert pair.follow() == Outcome("nothing is new", changed=False)
    assert images(pair.copy).keys() == {"app:1"}
    assert standing.copied(str(pair.second))["good"] > good
    pair.used("PUT\tapp\t2")
    assert pair.follow().changed
    same(pair)


def test_once_an_hour_all_is_compared(pair: Pair) -> None:
    pair.used("GET\tapp\t1")
    pair.follow()
    pair.store.image("app", [b"one"], "1")
    assert not pair.follow().changed
    last = standing.copied(str(pair.second))
    standing.remember(str(pair.second), {**last, "whole": last["whole"] - follow.WHOLE})
    assert pair.follow().changed
    same(pair)


def arrived(pair: Pair) -> None:
    """As `follow`, but for rsync."""
    staged = stage.stage(str(pair.first), place=layout.COPY_FOLLOWED)
    out = pair.first / layout.DATA / layout.COPY / layout.COPY_FOLLOWED
    every = checked.references(out)
    links = [(name, digest, (out / layout.STORE / name).lstat().st_mtime) for name, digest in every]
    assert staged["missing"] == {}
    lacking = putback.lacking(str(pair.second), sorted({digest for _, digest in every}), read=False)
    for name in (f"{layout.STORE}/{trash.blob(digest)}/data" for digest in lacking):
        target = pair.second / layout.DATA / layout.COPY / layout.COPY_IN / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(out / name, target)
    putback.put(str(pair.second), [], lacking, whole=False)
    mirror.swap(str(pair.second), links)


def test_killed_anywhere_the_next_minute_converges(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each rename, link, removal and exchange on the standby: what is seen there is whole."""
    monkeypatch.setattr(os, "sync", lambda: None)
    moment, over = 0, False
    while not over:
        pair = Pair(tmp_path / str(moment), settings)
        pair.store.image("app", [b"one", b"both"], "1")
        pair.store.image("old", [b"goes"], "1")
        arrived(pair)
        before = images(pair.copy)
        shutil.rmtree(pair.store.part("old", "_manifests/tags/1"))
        pair.store.image("app", [b"two", b"both"], "1")
        pair.store.image("app", [b"three"], "3")
        left = [moment]
        with monkeypatch.context() as patch, contextlib.suppress(KilledError):
            for name in ("rename", "link", "unlink", "rmdir"):
                patch.setattr(os, name, _dying(getattr(os, name), left))
            patch.setattr(mirror, "_exchange", _dying(mirror._exchange, left))
            arrived(pair)
            over = True
        assert images(pair.copy) in (before, images(pair.store)), moment
        assert checked.incomplete(pair.second) == [], moment
        arrived(pair)
        same(pair)
        moment += 1
    assert moment > 20


def test_without_an_exchange_it_is_two_renames(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old kernel, or a file system that does not know it."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    for number in range(2):
        pair.store.image("app", [str(number).encode()], "1")
        pair.used("PUT\tapp\t1")
        pair.follow()
        same(pair)


def test_a_blob_that_has_rotted_on_the_first_one_never_has_a_name_here(pair: Pair) -> None:
    pair.store.image("app", [b"good"], "1")
    pair.store.image("app", [b"rotten"], "2")
    bad = pair.store.blob(b"rotten")
    pair.store.blob_path(bad).write_bytes(b"rotted")
    with pytest.raises(StepError, match=f"{bad} has rotted"):
        pair.follow()
    assert not pair.copy.blob_path(bad).exists()
    assert images(pair.copy) == images(pair.store)
    assert [each.partition(" ")[0] for each in checked.incomplete(pair.second)] == ["app:2"]


@pytest.mark.parametrize(
    "asked",
    [
        "", "sh", "stage $(id)", "stage 0 1-2-3 x", "stage ../..", "done", "done x", "epoch x", "'",
        "rsync --server --sender -logDtpre.iLsfxCIvu . /etc/",
        "rsync --server -logDtpre.iLsfxCIvu . ./",
        "rsync --server --daemon --config=/tmp/mine .",
        "rsync --server --daemon . ; id",
        "/usr/lib/openssh/sftp-server",
    ],
)  # fmt: skip
def test_nothing_else_can_be_asked_for(tmp_path: Path, settings: Settings, asked: str) -> None:
    pair = Pair(tmp_path, settings)
    with pytest.raises(RefusedError):
        offer.answer(str(pair.first), asked)
    assert not (pair.first / layout.DATA / layout.COPY).exists()


def test_only_the_first_one_gives_copies(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = Pair(tmp_path, settings)
    for asked in ("stage", offer.RSYNC, "done 1-2-3"):
        with pytest.raises(RefusedError, match="not the first"):
            offer.answer(str(pair.second), asked)
    offer.answer(str(pair.second), "epoch")
    assert json.loads(capsys.readouterr().out) == {"role": "standby", "epoch": 1, "copied": 0.0}
    (pair.second / layout.STANDBY_STATE).unlink()
    with pytest.raises(RefusedError, match="knows of no other one"):
        offer.answer(str(pair.second), "epoch")


def test_rsync_reads_nothing_else_and_writes_nothing(pair: Pair, tmp_path: Path) -> None:
    """A standby that was taken over, with any options of rsync."""
    (tmp_path / "secret").write_text("nobody's")
    ssh = ["--rsh", f"ssh -F {pair.second}/none"]
    module = f"{peer.OTHER}::{offer.MODULE}"
    assert peer.ask(str(pair.second), "stage").returncode == 0
    out = pair.first / layout.DATA / layout.COPY / layout.COPY_FOLLOWED
    (out / "leads-out").symlink_to(tmp_path / "secret")
    before = sorted(path.relative_to(out) for path in out.rglob("*"))

    def rsync(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["rsync", "-r", *ssh, *words], capture_output=True, text=True, check=False)

    got = tmp_path / "got"
    for options in (
        ["--copy-links", f"{module}/", f"{got}/"],
        [f"{module}/../../../..{tmp_path}/secret", f"{got}/"],
        [f"{module}/{tmp_path}/secret", f"{got}/"],
        [f"--filter=: {tmp_path}/secret", f"{module}/", f"{got}/"],
    ):
        said = rsync(*options)
        assert "nobody's" not in said.stdout + said.stderr
        assert not [path for path in got.rglob("*") if path.is_file() and path.read_bytes() == b"nobody's"]
    assert rsync("--remove-source-files", f"{module}/", f"{got}/").returncode != 0
    assert rsync(f"{tmp_path}/secret", f"{module}/").returncode != 0
    assert rsync("--delete", f"{tmp_path}/bin/", f"{module}/").returncode != 0
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == before


def test_who_cleans_up_is_waited_for_until_the_next_minute(pair: Pair) -> None:
    pair.store.image("app", [b"one"], "1")
    with (pair.first / layout.STORE_LOCK).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = pair.follow(0)
        assert not done.changed or "not this minute" in done.summary
        assert images(pair.copy) == {}
    pair.follow()
    same(pair)


@pytest.mark.parametrize(
    ("lines", "writes"),
    [
        ([], (0, 0)),
        (["GET\tapp\t1", "HEAD\tapp\tsha256:0"], (0, 0)),
        (["PUT\tapp\t1"], (1, 1)),
        (["PUT\tapp\tsha256:0", "PUT\tapp\t", "POST\tapp\t", "DELETE\tapp\tsha256:0"], (4, 0)),
        (["PUT\tPUT"], (0, 0)),
    ],
)
def test_what_the_log_tells(tmp_path: Path, settings: Settings, lines: list[str], writes: tuple[int, int]) -> None:
    pair = Pair(tmp_path, settings)
    pair.used("PUT\tapp\t0")
    token = since.token(pair.first)
    pair.used(*lines)
    assert since.written(pair.first, token) == writes


def test_what_no_log_can_tell(tmp_path: Path, settings: Settings) -> None:
    pair = Pair(tmp_path, settings)
    pair.used("GET\tapp\t1")
    token = since.token(pair.first)
    assert since.written(pair.first, "") is None
    assert since.written(pair.first, "1-2") is None
    (pair.first / layout.AUDIT_LOG).parent.mkdir(exist_ok=True)
    (pair.first / layout.AUDIT_LOG).write_text("somebody was at work\n")
    assert since.written(pair.first, token) is None
    token = since.token(pair.first)
    (pair.first / layout.USES_LOG).rename(pair.first / "aside")
    pair.used("GET\tapp\t1")
    assert since.written(pair.first, token) is None


def answers(monkeypatch: pytest.MonkeyPatch, said: object) -> None:
    """What the other server says."""
    found = subprocess.CompletedProcess([], 255 if said is None else 0, json.dumps(said), "no route")
    monkeypatch.setattr(peer, "ask", lambda *_, **__: found)


def refused(root: Path) -> str:
    """What a push is answered with; '' where it is taken."""
    path = root / layout.FULL / f"{layout.FULL_STANDBY}.json"
    return str(json.loads(path.read_text())["errors"][0]["message"]) if path.is_file() else ""


def test_d19_a_first_one_that_comes_back_steps_back(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(tmp_path, settings)
    mine = replace(settings, deploy_dir=str(pair.first))
    pair.store.image("app", [b"old"], "old")
    copied = time.time() + 10
    new = pair.store.image("app", [b"new"], "new")
    link = pair.store.part("app", "_manifests/tags/new") / "current/link"
    os.utime(link, (copied + 1, copied + 1))
    for said in (None, {"role": "standby", "epoch": 1, "copied": 0.0}, {"role": "standby", "epoch": 9, "copied": 0.0},
                 {"role": "first", "epoch": 1, "copied": 0.0}):  # fmt: skip
        answers(monkeypatch, said)
        follow.follow(here(), mine)
        assert refused(pair.first) == ""
    answers(monkeypatch, {"role": "first", "epoch": 2, "copied": copied})
    for _ in range(2):
        with pytest.raises(StepError, match=r"b took over, .*maybe not there: app:new\n") as told:
            follow.follow(here(), mine)
        assert "app:old" not in told.value.what
        answers(monkeypatch, None)
    assert refused(pair.first) == "b took over from this server: pushes and deletes go there"
    assert standing.read(str(pair.first)) | {"since": 0} == {  # type: ignore[operator]
        "role": "former", "epoch": 2, "other": "b", "copied": 0.0, "since": 0,
    }  # fmt: skip
    assert behind.all_tags(str(pair.first))["app:new"] == new
    ((mark, _, text),) = twins.rows(behind.report(str(pair.first)), "root@b")
    assert (mark, "app:new" in text) == ("failed", True)


def test_a_standby_takes_over_once(tmp_path: Path, settings: Settings) -> None:
    pair = Pair(tmp_path, settings)
    directory = str(pair.second)
    assert refused(pair.second) == "this server stands by and takes no push and no delete: both go to a"
    standing.remember(directory, {**standing.NEVER, "when": 7.0})
    for _ in range(2):
        state = standing.take_over(directory)
        assert (state["role"], state["epoch"], state["copied"]) == ("first", 2, 7.0)
        assert refused(pair.second) == ""
    assert standing.step_back(str(pair.first), 2)
    assert not standing.step_back(str(pair.first), 2)
    assert not standing.step_back(directory, 2)
    with pytest.raises(RefusedError, match="does not stand by"):
        standing.take_over(str(pair.first))
    # The way back: what it knew of its former life says nothing.
    follow.write_lost(str(pair.first), 0.0)
    standing.begin(str(pair.first), standing.SECOND, "b", 2)
    assert behind.lost(str(pair.first)) == []
    assert standing.take_over(str(pair.first))["epoch"] == 3


@pytest.mark.parametrize(
    ("role", "ago", "changes", "mark", "words"),
    [
        ("standby", 20, {}, "ok", "stands by for a: 3 tags, as of 20 s ago"),
        ("standby", 400, {}, "warn", "as of 400 s ago"),
        ("standby", 0, {"good": 0.0}, "warn", "nothing was copied yet"),
        ("standby", 20, {"settings": True}, "warn", "the first one has other settings: ./fab standby brings them"),
        ("standby", 400, {"problem": "no route"}, "warn", "; no route"),
        ("first", 20, {}, "ok", "b is 20 s and 2 images behind"),
        ("first", 400, {}, "warn", "b is 400 s and 2 images behind"),
        ("first", 0, {"good": 0.0}, "warn", "b has fetched nothing yet"),
    ],
)
def test_what_status_says(  # noqa: PLR0917 - each is a column
    tmp_path: Path, settings: Settings, role: str, ago: int, changes: dict[str, Any], mark: str, words: str
) -> None:
    pair = Pair(tmp_path, settings)
    root = pair.first if role == "first" else pair.second
    pair.used("GET\tapp\t1")
    now: Any = {
        **standing.NEVER,
        "token": since.token(root),
        "good": time.time() - ago,
        "when": 1.0,
        "tags": 3,
        **changes,
    }
    standing.remember(str(root), now)
    pair.used("PUT\tapp\t1", "PUT\tapp\tsha256:0", "PUT\tapp\t2")
    found = behind.report(str(root))
    assert twins.rests(found) == (role == "standby")
    (row,) = twins.rows(found, "root@b")
    assert row[:2] == (mark, "standby")
    assert words in row[2]


def test_without_a_standby_status_says_nothing(tmp_path: Path) -> None:
    nothing = behind.report(str(tmp_path))
    assert twins.rows(nothing, "") == []
    assert twins.rows(nothing, "root@b") == [("warn", "standby", "root@b does not stand by yet: ./fab -H … standby")]


def test_a_standby_that_fetches_nothing_is_told_of(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(tmp_path, settings)
    mine = replace(settings, deploy_dir=str(pair.first))
    answers(monkeypatch, None)
    assert not follow.follow(here(), mine).changed
    state = standing.read(str(pair.first))
    assert state
    standing.write(pair.first, {**state, "since": time.time() - follow.SILENT - 1})
    with pytest.raises(StepError, match="the standby b has fetched nothing for 15 minutes and more"):
        follow.follow(here(), mine)


def test_a_first_one_that_is_away_for_a_minute_is_no_news(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(tmp_path, settings)
    monkeypatch.setattr(layout, "COPY_LOCK", str(tmp_path / "copy.lock"))
    answers(monkeypatch, None)
    assert follow.follow(here(), pair.settings).summary.startswith("not this minute")
    state = standing.read(str(pair.second))
    assert state
    standing.write(pair.second, {**state, "since": time.time() - follow.LATE - 1})
    with pytest.raises(StepError, match="the standby does not follow a"):
        follow.follow(here(), pair.settings)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Path, "expanduser", lambda path: tmp_path / str(path).removeprefix("~root/"))
    return tmp_path


def test_who_is_let_in(home: Path) -> None:
    """One line of ours, whatever key; all others stay."""
    keys = home / ".ssh/authorized_keys"
    assert peer.let_in("/docker-registry", "ssh-ed25519 AAAA")
    keys.write_text("# mine\nssh-ed25519 BBBB me\n" + keys.read_text())
    assert not peer.let_in("/docker-registry", "ssh-ed25519 AAAA")
    assert peer.let_in("/docker-registry", "ssh-ed25519 CCCC")
    assert keys.read_text().splitlines() == [
        "# mine",
        "ssh-ed25519 BBBB me",
        'restrict,command="sh /docker-registry/inv offer" ssh-ed25519 CCCC private-docker-registry-standby',
    ]
    assert keys.stat().st_mode & 0o777 == 0o600


def test_a_link_that_leads_out_is_refused_on_the_standby_too(pair: Pair) -> None:
    links: list[putback.Link] = [("repositories/../../../x/_layers/y/link", pair.copy.blob(b"x"), 0.0)]
    assert mirror.swap(str(pair.second), links) == 0
    assert not (pair.second / "x").exists()


def test_the_store_of_a_standby_may_have_nothing_yet(pair: Pair) -> None:
    pair.follow()
    assert images(Store(pair.second / layout.DATA)) == {}


def test_an_empty_first_one_does_not_empty_its_standby(pair: Pair) -> None:
    pair.store.image("app", [b"one"], "1")
    pair.follow()
    shutil.rmtree(pair.store.top)
    (pair.first / layout.AUDIT_LOG).parent.mkdir(exist_ok=True)
    (pair.first / layout.AUDIT_LOG).write_text("somebody\n")
    assert "nothing was changed" in pair.follow(0).summary
    assert images(pair.copy).keys() == {"app:1"}
    pair.follow()
    assert images(pair.copy) == {}


def test_a_run_that_goes_on_for_hours_is_left_alone(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(tmp_path, settings)
    monkeypatch.setattr(layout, "COPY_LOCK", str(tmp_path / "copy.lock"))
    monkeypatch.setattr(layout, "STANDBY_LOCK", str(tmp_path / "lock"))
    before = standing.copied(str(pair.second))
    with locked(tmp_path / "copy.lock"):
        assert follow.follow(here(), pair.settings) == Outcome("another run is at it", changed=False)
        with pytest.raises(StepError, match="is locked by another command"):
            follow.follow(here(), pair.settings, 0.01)
    assert standing.copied(str(pair.second)) == {**before, "problem": standing.copied(str(pair.second))["problem"]}
    state = standing.read(str(pair.first))
    assert state
    standing.write(pair.first, {**state, "since": time.time() - follow.SILENT - 1})
    answers(monkeypatch, None)
    with locked(tmp_path / "lock"):
        assert not follow.follow(here(), replace(settings, deploy_dir=str(pair.first))).changed


def test_nginx_is_told_in_the_next_minute_where_it_could_not_be(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.follow()
    told: list[str] = []
    monkeypatch.setattr(nginx, "up", lambda *_: told.append("up"))

    def busy(*_: object, **__: object) -> None:
        raise StepError("somebody else is at work")

    (pair.first / layout.ACCOUNTS).write_text("demo:newer\n")
    pair.used("PUT\tapp\t1")
    with monkeypatch.context() as patch:
        patch.setattr(lock, "exclusive", busy)
        with pytest.raises(StepError, match="somebody else is at work"):
            pair.follow()
    assert told == []
    pair.follow()
    assert told == ["up"]
    pair.used("PUT\tapp\t1")
    pair.follow()
    assert told == ["up"]


def test_a_standby_has_no_say(tmp_path: Path, settings: Settings) -> None:
    pair = Pair(tmp_path, settings)
    for root, words in ((pair.second, "stands by for a"), (pair.first, "")):
        mine = replace(settings, deploy_dir=str(root), standby="root@b")
        if words:
            with pytest.raises(StepError, match=words):
                twins.require_first(here(), mine)
        else:
            twins.require_first(here(), mine)
        twins.require_first(here(), replace(mine, standby=""))
    standing.step_back(str(pair.first), 2)
    with pytest.raises(StepError, match="was replaced by b"):
        twins.require_first(here(), mine)
