"""Events: what the logs say, in the registry's own form, told at least once whatever fails, and whoever is killed."""

from __future__ import annotations

import contextlib
import itertools
import json
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile import layout
from fabfile.machine.onhost import audit
from fabfile.machine.onhost.atomic import locked
from fabfile.settings import HOME
from fabfile.steps import events as step
from fabfile.watch.onhost import events, happened, notification, notify
from tests import nginx

from .test_metrics import watched as watched  # noqa: PLC0414 - a fixture

DIGEST = f"sha256:{'a' * 64}"
REQUEST = "0123456789abcdef0123456789abcdef"
DOMAIN = "registry.example.org"


def line(method: str = "PUT", name: str = "app", reference: str = "1", when: float = 1.79e9 + 0.5, **more: str) -> str:
    fields = [f"{when:.3f}", more.get("account", "ann"), method, name, reference, more.get("digest", DIGEST), "0",
              "docker/28", "192.0.2.7", more.get("request", REQUEST), more.get("endpoint", "manifests")]  # fmt: skip
    return "\t".join(fields)


def test_what_a_line_of_nginx_means() -> None:
    use = happened.use(line())
    assert use is not None
    assert use[1:6] == ("push", "ann", "app", "1", DIGEST)
    shown = happened.used(use)
    assert (shown["what"], shown["detail"]) == ("app:1", f"{DIGEST[:19]} docker/28")
    by_digest = happened.use(line(reference=DIGEST, digest="-"))
    assert by_digest is not None
    assert (by_digest.tag, by_digest.digest) == ("", DIGEST)
    assert happened.used(by_digest)["what"] == f"app@{DIGEST[:19]}"
    told = happened.use(line().replace("docker/28", r"a (b \x5C(c\x5C)) \x22d\x22 \x1B[1m"))
    assert told is not None
    assert told.client == r"""a (b \(c\)) "d" \x1B[1m"""
    for nothing in (
        line("HEAD"), line("POST"), line(endpoint="blobs", reference=DIGEST), line(endpoint="upload", reference="-"),
        line(name="push-test"), line(name="push-test/more"), "", "1790000000.5\tann\tPUT", "x\ta\tPUT\tb\tc\td\te",
    ):  # fmt: skip
        assert happened.use(nothing) is None, nothing
    # Of before: without the last three.
    old = "\t".join(line().split("\t")[:8])
    assert happened.use(old) is not None
    assert happened.use("\t".join(line(reference=DIGEST).split("\t")[:8])) is None, "it may be a layer"


def test_refused_logins_that_come_together_are_one_line() -> None:
    lines = [f"{1000 + n}.0\t{name}\t192.0.2.7\tcurl" for n, name in enumerate(["ann", "ann", "ann", "-", "ann"])]
    assert happened.refused(lines[:3])[0]["when"] == 1002, "or --since, and --follow, would not see the last"
    lines += ["1005.0\tann\t192.0.2.8\tcurl", "9000.0\tann\t192.0.2.8\tcurl", "cut", "10.0\tx"]
    found = happened.refused(lines)
    assert [(event["who"], event["what"][-1], event["detail"]) for event in found] == [
        ("ann", "7", "curl, 3 times"), ("no account", "7", "curl"), ("ann", "7", "curl"), ("ann", "8", "curl"),
        ("ann", "8", "curl"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("task", "kind", "what"),
    [
        ("renew", "renew", ""),
        ("init-letsencrypt", "renew", ""),
        ("htpasswd --remove bob", "account", "--remove bob"),
        ("images --delete app:1", "delete", "app:1"),
        ("images --undo", "undo", ""),
        ("gc", "gc", ""),
        ("upgrade", "upgrade", ""),
        ("restore", "restore", ""),
    ],
)
def test_what_the_audit_log_says(task: str, kind: str, what: str) -> None:
    found = happened.audited(audit.parsed(f"2026-11-01T00:00:00Z\tme@laptop\t{task}\tok"))
    assert found is not None
    assert (found["kind"], found["what"], found["who"], found["detail"]) == (kind, what, "me@laptop", "ok")
    assert happened.audited(audit.parsed("2026-11-01T00:00:00Z\tme@x\tpush-test\tok")) is None
    assert happened.audited(audit.parsed("nonsense")) is None


def test_all_of_it_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / layout.USES).mkdir(parents=True)
    now = time.time()
    (tmp_path / layout.USES_LOG).write_text(line(when=now - 30) + "\n" + line("GET", when=now - 10) + "\n")
    (tmp_path / layout.USES / "uses-20260101T000000.log").write_text(line("DELETE", when=now - 90) + "\n")
    (tmp_path / layout.REFUSED_LOG).write_text(f"{now - 60:.3f}\tann\t192.0.2.7\tcurl\n")
    moment = time.strftime(audit.WHEN, time.gmtime(now - 45))
    (tmp_path / layout.AUDIT_LOG).write_text(f"{moment}\tme@laptop\tgc\tok\n")
    found = events.recent(str(tmp_path), now - 3600, False)
    assert [event["kind"] for event in found] == ["delete", "refused", "gc", "push"]
    assert [event["kind"] for event in events.recent(str(tmp_path), now - 50, True)] == ["gc", "push", "pull"]
    step.show(found, as_json=True)
    assert [json.loads(each)["kind"] for each in capsys.readouterr().out.splitlines()] == [e["kind"] for e in found]
    step.show(found, as_json=False)
    assert "app:1" in capsys.readouterr().out
    step.show([], as_json=False)
    assert "--since 7d" in capsys.readouterr().out
    assert events.recent(str(tmp_path / "nowhere"), 0, True) == []


def test_the_form_is_that_of_the_registry() -> None:
    """distribution, notifications/event.go: the fields, and what is in them."""
    use = happened.use(line())
    assert use is not None
    content: notification.Content = {"media_type": "application/vnd.oci.image.manifest.v1+json", "size": 7}
    (event,) = json.loads(notification.envelope(notification.pushed(use, DOMAIN, content)))["events"]
    assert event == {
        "id": "01234567-89ab-cdef-0123-456789abcdef",
        "timestamp": "2026-09-21T14:13:20.500Z",
        "action": "push",
        "target": {
            "mediaType": content["media_type"], "size": 7, "length": 7, "digest": DIGEST, "repository": "app",
            "url": f"https://{DOMAIN}/v2/app/manifests/{DIGEST}", "tag": "1",
        },
        "request": {"id": REQUEST, "addr": "192.0.2.7", "host": DOMAIN, "method": "PUT", "useragent": "docker/28"},
        "actor": {"name": "ann"},
        "source": {"addr": DOMAIN, "instanceID": DOMAIN},
    }  # fmt: skip


def test_a_delete_by_the_task_is_one_too() -> None:
    text = "2026-11-01T00:00:00Z\tme@laptop\timages --delete {}\t{}"
    event = notification.deleted(audit.parsed(text.format("team/app:1.0", "ok")), DOMAIN)
    assert event is not None
    assert (event["action"], event["target"]) == ("delete", {"repository": "team/app", "tag": "1.0"})
    assert event == notification.deleted(audit.parsed(text.format("team/app:1.0", "ok")), DOMAIN), "the same id"
    by_digest = notification.deleted(audit.parsed(text.format(f"app@{DIGEST}", "ok")), DOMAIN)
    assert by_digest is not None
    assert by_digest["target"] == {"repository": "app", "digest": DIGEST}
    assert by_digest["id"] != event["id"]
    for other in (text.format("app:1", "failed: no"), "2026-11-01T00:00:00Z\tme\timages --undo\tok", "nonsense"):
        assert notification.deleted(audit.parsed(other), DOMAIN) is None


class Receiver:
    """A server's directory, and a command that fails where a file says so."""

    def __init__(self, root: Path) -> None:
        self.root, self.now = root, 1_790_000_100.0
        (root / layout.USES).mkdir(parents=True)
        (root / layout.DATA).mkdir(parents=True)
        (root / layout.NGINX).mkdir()
        self.bad = root / "bad"
        self.command = f"test ! -e {shlex.quote(str(self.bad))} && cat >>{shlex.quote(str(root / 'told'))}"
        self.number = 0

    def push(self, **more: str) -> None:
        self.number += 1
        request = f"{self.number:032x}"
        with (self.root / layout.USES_LOG).open("a") as log:
            log.write(line(reference=f"v{self.number}", when=self.now + self.number, request=request, **more) + "\n")

    def once(self) -> notify.Done:
        return notify.once(self.root, self.command, DOMAIN, lambda: self.now)

    @property
    def tags(self) -> list[str]:
        told = self.root / "told"
        lines = told.read_text().splitlines() if told.exists() else []
        return [json.loads(each)["events"][0]["target"]["tag"] for each in lines]


@pytest.fixture
def receiver(tmp_path: Path) -> Receiver:
    return Receiver(tmp_path)


def test_each_push_is_told_once_and_what_was_before_is_not(receiver: Receiver) -> None:
    receiver.push()
    assert receiver.once()["told"] == 0
    for _ in range(3):
        receiver.push()
    receiver.push(name="push-test")
    receiver.push(method="GET")
    assert receiver.once() == {"told": 3, "problem": ""}
    assert receiver.once()["told"] == 0
    with (receiver.root / layout.AUDIT_LOG).open("a") as log:
        log.write("2026-11-01T00:00:00Z\tme@laptop\timages --delete app:old\tok\n")
    (receiver.root / layout.USES_LOG).rename(receiver.root / layout.USES / "uses-1.log")
    receiver.push()
    assert receiver.once()["told"] == 2
    assert receiver.tags == ["v2", "v3", "v4", "v7", "old"]


def test_a_failure_is_tried_again_later_and_later(receiver: Receiver) -> None:
    receiver.once()
    for _ in range(2):
        receiver.push()
    receiver.bad.touch()
    begun, tries = receiver.now, []
    while receiver.now < begun + 4000:
        before = json.loads((receiver.root / layout.EVENTS_RECORD).read_text())["failures"]
        done = receiver.once()
        if json.loads((receiver.root / layout.EVENTS_RECORD).read_text())["failures"] > before:
            tries.append(receiver.now - begun)
        assert bool(done["problem"]) == (receiver.now - begun >= notify.LONG), "people are told of what lasts"
        receiver.now += 1
    pauses = [later - sooner for sooner, later in itertools.pairwise(tries)]
    assert [round(pause) for pause in pauses][:5] == [2, 4, 8, 16, 32]
    assert max(pauses) <= notify.LONGEST_PAUSE + 1
    assert "exit status 1" in done["problem"]
    receiver.bad.unlink()
    receiver.now += notify.LONGEST_PAUSE
    assert receiver.once() == {"told": 2, "problem": ""}
    assert receiver.tags == ["v1", "v2"], "in their order, and none is lost"


def test_killed_anywhere_none_is_lost(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the command, after it, and after each write: the next run goes on."""

    class Killed(BaseException):
        pass

    receiver.once()
    write, run = notify._write, notify._run
    for step_ in range(40):
        receiver.push()
        left: Iterator[int] = iter(range(step_ % 8))

        def dying(function: object, left: Iterator[int] = left) -> object:
            def wrapped(*args: object) -> object:
                if next(left, None) is None:
                    raise Killed
                return function(*args)  # type: ignore[operator]

            return wrapped

        monkeypatch.setattr(notify, "_write", dying(write))
        monkeypatch.setattr(notify, "_run", dying(run))
        with contextlib.suppress(Killed):
            receiver.once()
    monkeypatch.setattr(notify, "_write", write)
    monkeypatch.setattr(notify, "_run", run)
    receiver.once()
    told = receiver.tags
    assert list(dict.fromkeys(told)) == [f"v{n}" for n in range(1, 41)]
    assert len(told) < 40 * 2, "twice at most, and that is seldom"


def test_a_command_that_does_not_end_is_no_success(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "COMMAND_SECONDS", 0.2)
    assert "did not end" in notify._run("sleep 5", "{}")
    assert notify._run("grep -q '{}'", "{}") == ""
    assert notify._run("echo no >&2; exit 3", "{}") == "exit status 3: no"


def test_it_stays_for_its_time_and_two_are_never_at_it(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "WAIT_SECONDS", 0.1)
    (receiver.root / layout.SETTINGS_FILE).write_text("x")
    receiver.once()
    receiver.push()
    assert notify.stay(str(receiver.root), receiver.command, DOMAIN, 0)["told"] == 1
    with locked(receiver.root / layout.EVENTS_LOCK, 1):
        receiver.push()
        assert notify.stay(str(receiver.root), receiver.command, DOMAIN, 0)["told"] == 0
    assert notify.stay(str(receiver.root), receiver.command, DOMAIN, 0)["told"] == 1


def test_cron_begins_it_where_a_command_is_set(tmp_path: Path) -> None:
    (tmp_path / layout.DATA).mkdir(parents=True)
    shutil.copy(HOME / "deploy" / layout.MINUTE_SCRIPT, tmp_path)
    (tmp_path / "inv").write_text('#!/bin/sh\necho "$1" >>called\n')
    (tmp_path / "inv").chmod(0o755)

    def minute(settings: str) -> list[str]:
        (tmp_path / layout.SETTINGS_FILE).write_text(settings)
        (tmp_path / "called").unlink(missing_ok=True)
        subprocess.run(["sh", f"./{layout.MINUTE_SCRIPT}"], cwd=tmp_path, check=True)
        return sorted((tmp_path / "called").read_text().split())

    record = tmp_path / layout.EVENTS_RECORD
    record.parent.mkdir()
    record.touch()
    assert "notify" not in minute("EVENT_COMMAND=''\nMETRICS=''\n")
    assert not record.exists(), "when it is set again, it begins with what comes then"
    assert "metrics" in minute("EVENT_COMMAND=''\nMETRICS='on'\n")
    record.touch()
    minute("EVENT_COMMAND='mail \\'me\\''\n")
    end = time.monotonic() + 20
    # In the background: the minute goes on.
    while "notify" not in (tmp_path / "called").read_text():
        assert time.monotonic() < end
    assert record.exists()


def test_nginx_writes_what_is_read_here(watched: tuple[object, Path]) -> None:
    gate, directory = watched
    log = directory / "uses/uses.log"
    before = len(log.read_text().splitlines()) if log.exists() else 0
    for user, method, path in [
        ("boss", "DELETE", f"/v2/team-a/x/manifests/{DIGEST}"), ("puller", "GET", "/v2/team-a/x/manifests/1.0"),
        ("puller", "GET", f"/v2/team-a/x/blobs/{DIGEST}"), ("puller", "HEAD", "/v2/team-a/x/manifests/1.0"),
    ]:  # fmt: skip
        gate.ask(user, method, path)  # type: ignore[attr-defined]
    lines = nginx.written(log, before, 3)
    # This registry answers 200 to all, and only 201 and 202 are a push and a delete.
    (pull,) = [use for each in lines if (use := happened.use(each))]
    assert (pull.action, pull.account, pull.repository, pull.tag) == ("pull", "puller", "team-a/x", "1.0")
    assert len(pull.request) == 32
    assert pull.address == "127.0.0.1"
