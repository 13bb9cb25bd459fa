"""Metrics: lines that are counted once, whatever is put aside and whoever is killed; the text; who reads it."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile import layout
from fabfile.accounts import passwords
from fabfile.accounts.onhost.roles import ROLES
from fabfile.errors import UsageError
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.settings import load
from fabfile.stack import templates
from fabfile.watch.onhost import ask, counted, exposition, metrics, storage, tails
from tests import nginx
from tests.routes import METHODS

from .test_access import Gate, entry, payload

LINE = "1\tGET\t200\tpull\tmanifests\t100\t20\n"


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server's directory, in which nothing runs."""
    for name in (layout.DATA, layout.USES, layout.FULL, layout.GENERATIONS):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(metrics, "replace", lambda path, content, mode, owner=None: path.write_bytes(content))
    monkeypatch.setattr(ask, "status", lambda: {"active": 3, "accepted": 9, "handled": 9, "requests": 12})
    return tmp_path


def numbers(root: Path) -> dict[str, float]:
    shown = (root / layout.METRICS / layout.METRICS_TEXT).read_text()
    return {name: float(number) for name, number in re.findall(r"^([^#]\S*(?:\{.*\})?) (\S+)$", shown, re.M)}


def test_every_line_is_known_once_through_every_order_of_what_can_happen(tmp_path: Path) -> None:
    """nginx writes half a line, or the rest of it; cron puts the log aside; an old process goes on with that one."""
    log = tmp_path / "uses.log"
    for order in itertools.product("wha o", repeat=6):
        for path in tmp_path.iterdir():
            path.unlink()
        written, seen = 0, []
        known: tails.Known = {}
        open_half = False
        for number, what in enumerate(order):
            if what == "w":
                with log.open("a") as file:
                    file.write(f"{written}\n" if not open_half else "\n")
                written += not open_half
                open_half = False
            elif what == "h" and not open_half:
                with log.open("a") as file:
                    file.write(f"{written}")
                written += 1
                open_half = True
            elif what == "a" and log.exists() and not open_half:
                log.rename(tmp_path / f"uses-{number}.log")
            elif what == "o" and (old := sorted(tmp_path.glob("uses-*.log"))):
                with old[-1].open("a") as file:
                    file.write(f"{written}\n")
                written += 1
            else:
                lines, known = tails.new(log, known)
                seen += lines
        if open_half:
            with log.open("a") as file:
                file.write("\n")
        lines, known = tails.new(log, known)
        assert sorted(seen + lines, key=int) == [str(n) for n in range(written)], order


def test_what_is_there_already_can_count_as_known(tmp_path: Path) -> None:
    log = tmp_path / "uses.log"
    assert tails.ends(log) == {}
    log.write_text("old\n")
    known = tails.ends(log)
    assert tails.new(log, known)[0] == []
    with log.open("a") as file:
        file.write("new\n")
    assert tails.new(log, known)[0] == ["new"]
    log.unlink()
    log.write_text("a\n")
    assert tails.new(log, {str(log.stat().st_ino): 100})[0] == ["a"], "another file that got the same inode"


def test_a_large_log_comes_in_parts(tmp_path: Path) -> None:
    log = tmp_path / "uses.log"
    log.write_text("".join(f"{n:09}\n" for n in range(100)))
    known: tails.Known = {}
    parts = []
    for _ in range(4):
        lines, known = tails.new(log, known, 301)
        parts.append(len(lines))
    assert parts == [30, 30, 30, 10]
    log.write_text("x" * 1000 + "\nafter\n")
    found = []
    for _ in range(5):
        lines, known = tails.new(log, known, 300)
        found += lines
    assert "after" in found, "a line that is longer than that stops nothing"


def test_lines_become_sums() -> None:
    counts = counted.add({}, [LINE.strip()] * 2)
    assert counts == {"requests GET 2xx pull": 2, "sent pull": 200, "received pull": 40, "images pull": 2}
    counts = counted.add(counts, [
        "50\tGET\t401\t\t\t10\t1", "1\tPUT\t201\tpush\tmanifests\t0\t5", "1\tPUT\t400\tpush\tmanifests\t0\t5",
        "1\tHEAD\t200\tpull\tmanifests\t0\t0", "1\tDELETE\t202\tadmin\tmanifests\t0\t0", "1\tMKCOL\t403\troot\t\t0\t0",
    ])  # fmt: skip
    assert counted.of(counts, "images") == {("delete",): 1, ("pull",): 2, ("push",): 1}
    assert counts["requests GET 4xx none"] == 50
    assert counts["sent none"] == 500
    assert counts["requests other 4xx none"] == 1, "no series for whatever a client makes up"
    for broken in ("", "1\tGET", "x\tGET\t200\tpull\t\t1\t1", "1\tGET\t200\tpull\t\t-1\t1", "1\tGET\t\tpull\t\t\t"):
        assert counted.add({}, [broken]) == {}, broken


def test_the_text() -> None:
    shown = exposition.text([
        exposition.Metric("a_bytes", "gauge", 'Of "it"\n\\', [({"name": 'x"\\\n'}, 1.5), ({}, 1_790_000_000)]),
        exposition.one("b", "gauge", "Unknown.", None),
        exposition.one("c", "gauge", "Yes.", True),
    ])  # fmt: skip
    assert shown == (
        '# HELP a_bytes Of "it"\\n\\\\\n# TYPE a_bytes gauge\na_bytes{name="x\\"\\\\\\n"} 1.5\na_bytes 1790000000\n'
        "# HELP c Yes.\n# TYPE c gauge\nc 1\n"
    )


def test_a_run_counts_what_is_new_and_says_all_of_it(deployed: Path) -> None:
    log = deployed / layout.REQUESTS_LOG
    log.write_text(LINE * 3)
    assert metrics.write(str(deployed))["lines"] == 3
    found = numbers(deployed)
    assert found['registry_http_requests_total{method="GET",code="2xx",role="pull"}'] == 3
    assert found['registry_image_actions_total{action="push"}'] == 0, "a counter begins at 0, or its first step is lost"
    assert found["nginx_connections_active"] == 3
    assert found["registry_up"] == 0
    assert found["registry_storage_trash_bytes"] == 0
    assert found['registry_filesystem_avail_bytes{disk="images"}'] > 0
    log.rename(log.with_name("requests-1.log"))
    log.write_text(LINE)
    metrics.write(str(deployed))
    metrics.write(str(deployed))
    assert numbers(deployed)['registry_http_response_bytes_total{role="pull"}'] == 400


def test_a_run_that_is_killed_counts_nothing_twice(deployed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    log = deployed / layout.REQUESTS_LOG
    log.write_text(LINE * 5)
    written = vars(metrics)["replace"]
    for allowed in range(3):
        left = iter(range(allowed))

        def until(*args: object, left: Iterator[int] = left, **more: object) -> None:
            if next(left, None) is None:
                raise Killed
            written(*args, **more)

        monkeypatch.setattr(metrics, "replace", until)
        with contextlib.suppress(Killed):
            metrics.write(str(deployed))
    monkeypatch.setattr(metrics, "replace", written)
    metrics.write(str(deployed))
    assert numbers(deployed)['registry_http_requests_total{method="GET",code="2xx",role="pull"}'] == 5


def test_the_log_of_requests_takes_no_room_once_it_is_counted(deployed: Path) -> None:
    log = deployed / layout.REQUESTS_LOG
    log.write_text(LINE * 100_000)
    metrics.write(str(deployed))
    assert log.stat().st_blocks * 512 < 100_000 < log.stat().st_size
    with log.open("a") as file:
        file.write(LINE)
    assert metrics.write(str(deployed))["lines"] == 1
    assert numbers(deployed)['registry_http_request_bytes_total{role="pull"}'] == 20 * 100_001


def test_when_tasks_ended(deployed: Path) -> None:
    (deployed / layout.AUDIT_LOG).write_text(
        "2026-11-01T00:00:00Z\troot@x\trenew\tok\n2026-11-02T00:00:00Z\troot@x\trenew\tfailed: no\n"
        "2026-11-03T00:00:00Z\tme@x\tgc\tok\nnonsense\n"
    )
    (deployed / layout.BACKUP_RECORD).write_text(json.dumps({"when": 5.5, "good": 4.5}))
    metrics.write(str(deployed))
    found = numbers(deployed)
    run, good = "registry_task_last_run_timestamp_seconds", "registry_task_last_success_timestamp_seconds"
    assert found[f'{run}{{task="renew"}}'] - found[f'{good}{{task="renew"}}'] == 86400
    assert found[f'{good}{{task="gc"}}'] == found[f'{run}{{task="gc"}}'] > 0
    assert (found[f'{run}{{task="backup"}}'], found[f'{good}{{task="backup"}}']) == (5, 4)


def test_where_nothing_is_deployed_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="nothing is deployed"):
        metrics.write(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_storage_is_measured_when_something_changed_and_it_costs_little() -> None:
    last: storage.Storage = {"when": 1000.0, "took": 2.0, "count": 0, "repositories": {}, "blobs": 0, "trash": 0}
    assert storage.due(None, 0, changed=False)
    assert not storage.due(last, 1100, changed=True), "it took 2 s, so 200 s are left to others"
    assert storage.due(last, 1201, changed=True)
    assert not storage.due(last, 80_000, changed=False)
    assert storage.due(last, 1000 + 86_401, changed=False)
    assert storage.due(last, 900, changed=False), "the clock was put back"


def test_not_more_repositories_than_prometheus_shall_know() -> None:
    sizes = {f"app-{n:03}": n for n in range(300)}
    found = storage.bounded(sizes)
    assert len(found) == storage.MOST + 1
    assert sum(found.values()) == sum(sizes.values())
    assert found[storage.REST] == sum(range(100))
    assert storage.bounded({"a": 1}) == {"a": 1}


def test_off_means_nothing_of_it_in_the_configuration(settings: object, tmp_path: Path) -> None:
    def text(more: str) -> dict[str, str]:
        env = tmp_path / ".env"
        env.write_text(nginx.MANDATORY + more)
        return {name: file.content.decode() for name, file in templates.tree(load(env), nginx.SERVER).items()
                if name.startswith(("nginx/", "compose", "registry/"))}  # fmt: skip

    off, on = text(""), text("METRICS=on\n")
    assert not [name for name, content in off.items() if re.search("metrics|stub_status|requests.log", content, re.I)]
    assert {"nginx/metrics.conf"} == on.keys() - off.keys()
    assert {name for name in off if off[name] != on[name]} == {"nginx/https.conf", "nginx/access.conf"}


def test_the_role_has_no_repositories() -> None:
    assert "metrics" in ROLES
    with pytest.raises(UsageError, match="no part in any repository"):
        passwords.rights("metrics", ["team-a/*"])


@pytest.fixture(scope="module")
def watched() -> Iterator[tuple[Gate, Path]]:
    """A real nginx with METRICS=on and ANONYMOUS_PULL, so that everyone may pull something."""
    from .test_access import OVERRIDE  # as the gate of that module has it

    accounts = {"prom": ("metrics", ()), "boss": ("admin", ()), "ladmin": ("admin", ("team-a/*",)),
                "pusher": ("push", ()), "puller": ("pull", ())}  # fmt: skip
    with nginx.place() as directory:
        env, file = directory / ".env", directory / "accounts"
        env.write_text(f"{nginx.MANDATORY}METRICS=on\nANONYMOUS_PULL='public/*'\n")
        file.write_text("".join(entry(user, role, places) for user, (role, places) in accounts.items()))
        known = "|".join(payload(user).replace("+", r"\+") for user in accounts)
        ports = nginx.write(directory, load(env), file, override=OVERRIDE.replace("KNOWN", known))
        with nginx.running(directory, ports["443"]):
            yield Gate(ports["443"], directory / "full"), directory


def test_who_reads_the_metrics(watched: tuple[Gate, Path]) -> None:
    gate, directory = watched
    assert gate.ask("prom", "GET", "/metrics").status == 503, "not counted yet"
    (directory / "metrics/metrics").write_text("up 1\n")
    (directory / "metrics/metrics").chmod(0o644)
    for user in ("prom", "boss"):
        answer = gate.ask(user, "GET", "/metrics")
        assert (answer.status, answer.body) == (200, "up 1\n"), (user, answer)
        assert gate.ask(user, "HEAD", "/metrics").status == 200
        assert gate.ask(user, "POST", "/metrics", b"x").status == 405
    for user in ("ladmin", "pusher", "puller"):
        answer = gate.ask(user, "GET", "/metrics")
        assert answer.status == 403
        assert answer.message == f"the account {user} may not read this: that takes the role metrics, or admin of all"
    for user in ("", "anonymous", "unknown"):
        assert gate.ask(user, "GET", "/metrics").status == 401, user
        assert "up" not in gate.ask(user, "GET", "/metrics").body
    for path in ("/metrics/", "/metrics/metrics", "/status", "/nginx_status"):
        assert gate.ask("prom", "GET", path).status in (403, 404), path


def test_the_role_metrics_may_do_nothing_else(watched: tuple[Gate, Path]) -> None:
    gate, _ = watched
    for path in ("/v2", "/v2/", "/v2/public/x/manifests/1", "/v2/team-a/x/tags/list", "/v2/_catalog", "/v2//",
                 "/v2/public/x/blobs/uploads/", f"/v2/public/x/blobs/sha256:{'0' * 64}"):  # fmt: skip
        for method in METHODS:
            answer = gate.ask("prom", method, path)
            assert answer.status == 403, (method, path, answer)
            if method != "HEAD" and path not in ("/v2", "/v2//"):
                assert answer.message == "the account prom may only read /metrics", (method, path)
    # Others are as they were.
    assert gate.ask("puller", "GET", "/v2").status == 200
    assert gate.ask("anonymous", "GET", "/v2/public/x/tags/list").status == 200


def test_what_nginx_writes_is_what_is_counted(watched: tuple[Gate, Path]) -> None:
    gate, directory = watched
    log, refused = directory / "uses/requests.log", directory / "uses/refused.log"
    before, told = len(log.read_text().splitlines()), len(refused.read_text().splitlines())
    gate.ask("pusher", "PUT", "/v2/team-a/x/manifests/1")
    gate.ask("puller", "PUT", "/v2/team-a/x/manifests/1")
    gate.ask("unknown", "GET", "/v2/team-a/x/manifests/1")
    lines = nginx.written(log, before, 3)
    counts = counted.add({}, lines)
    assert counted.of(counts, "requests") == {
        ("GET", "4xx", "none"): 1, ("PUT", "2xx", "push"): 1, ("PUT", "4xx", "pull"): 1
    }  # fmt: skip
    assert counts["received push"] > 2
    (line,) = nginx.written(refused, told, 1)
    assert line.split("\t")[1] == "", "a name that is no account may be a password"
    # Strangers alone are sampled: they could come by the million.
    for _ in range(40):
        gate.ask("", "GET", "/v2/")
    more = log.read_text().splitlines()[before + 3 :]
    assert len(more) < 40
    assert all(line.startswith("50\tGET\t401\t\t") for line in more)
    assert len(refused.read_text().splitlines()) == told + 1, "no credentials, no login"
