"""One run over several servers: what each says stands together, with its name; one that fails leaves the rest."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest

from fabfile import report, running, syntax
from fabfile.errors import StepError, UsageError
from fabfile.machine import lock
from fabfile.machine.fleet import Fleet, FleetError, Results, Server
from fabfile.machine.host import Host
from fabfile.report import Outcome
from fabfile.settings import HOME, Settings
from fabfile.ways import spoken

from .far import far

ALL = ("root@a", "root@b", "root@c")


def gathered(settings: Settings, away: tuple[str, ...] = ()) -> Fleet:
    """Three servers, whose host keys have another order than their names."""
    hosts = {name: replace(far(), name=name, option=f"-H {name}", host_key=f"key {number}")
             for number, name in zip((3, 1, 2), ALL, strict=True)}  # fmt: skip
    servers = [Server(n, n[-1], h, replace(settings, fleet=ALL).of(n)) for n, h in hosts.items() if n not in away]
    return Fleet(tuple(servers), {n: StepError(f"{n}: no SSH connection") for n in away}, lambda t: spoken(t, ""))


@pytest.fixture
def three(settings: Settings) -> Fleet:
    return gathered(settings)


def test_at_the_same_time_each_with_its_own_lines(three: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """None goes on before all are there, so they are at work together; their lines are not mixed all the same."""
    together = threading.Barrier(3, timeout=30)

    def action(host: Host, settings: Settings) -> str:
        def step() -> Outcome:
            together.wait()
            print("in between")
            together.wait()
            return Outcome("done", details=["one", "two"])

        report.step("sync", step)
        return settings.fleet[0]

    assert three.each("sync", action).values == {name: name for name in ALL}
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("  ")[0] for line in sorted(lines)] == ["a"] * 4 + ["b"] * 4 + ["c"] * 4
    # Each block is whole, whichever came first.
    for place in range(0, 12, 4):
        name = lines[place][0]
        assert [line[0] for line in lines[place : place + 4]] == [name] * 4
        assert lines[place] == f"{name}  in between"
        assert lines[place + 1].startswith(f"{name}  ok ")
        assert lines[place + 1].endswith("sync              done")


def fails_on(name: str, error: Exception) -> object:
    def action(host: Host, settings: Settings) -> None:
        if host.name == name:
            raise error

    return action


def test_one_that_fails_leaves_the_rest(three: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[str] = []

    def action(host: Host, settings: Settings) -> None:
        ran.append(host.name)
        if host.name == "root@b":
            raise StepError("root@b: no room", "./fab -H … sync, then ./fab -H … up")

    with pytest.raises(FleetError, match="sync failed on b") as caught:
        three.each("sync", action)
    assert (sorted(ran), caught.value.code) == (sorted(ALL), 1)
    said = capsys.readouterr()
    # What all have alike is typed for all.
    assert said.err == "b  error: root@b: no room\nb    -> ./fab sync, then ./fab -H root@b up\n"
    assert said.out.splitlines()[1:] == ["server  sync", "a       ok", "b       failed", "c       ok"]


def test_in_turn_the_first_that_fails_is_the_last(three: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[str] = []
    three.each("sync", lambda host, settings: None)

    def action(host: Host, settings: Settings) -> None:
        ran.append(host.name)
        if host.name == "root@b":
            raise StepError("no")

    with pytest.raises(FleetError):
        three.in_turn("up", action)
    assert ran == ["root@a", "root@b"]
    assert capsys.readouterr().out.splitlines()[1:] == [
        "server  sync  up", "a       ok    ok", "b       ok    failed", "c       ok    -",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("errors", "code"), [([UsageError("x")] * 3, 2), ([UsageError("x"), StepError("x")], 1), ([StepError("x")], 1)]
)
def test_the_exit_status_says_whether_it_was_all_a_mistake_of_ours(errors: list[Exception], code: int) -> None:
    assert FleetError("x", errors=dict(zip(ALL, errors, strict=False))).code == code


def test_what_nobody_foresaw_is_told_and_leaves_the_rest(three: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    results = three.each("x", lambda host, settings: 1 // (host.name != "root@c"), gather=True)
    assert (sorted(results.values), sorted(results.errors)) == (["root@a", "root@b"], ["root@c"])
    assert capsys.readouterr().err.startswith("c  error: unexpected ZeroDivisionError: ")


def test_who_cannot_be_reached_is_named_and_nothing_is_changed(settings: Settings) -> None:
    fleet = gathered(settings, away=("root@b",))
    with pytest.raises(StepError, match="1 server of 3 cannot be reached; sync changed nothing") as caught:
        fleet.require_all("sync")
    assert "./fab forget root@b" in str(caught.value)
    # A look goes on with the others, and says so in the end.
    with pytest.raises(FleetError, match="status failed on b"):
        fleet.finish("status", fleet.each("status", lambda host, settings: None))


def test_locks_are_taken_in_one_order_for_all(three: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """By host key, however the servers are named and in which order: so two operators never wait for each other."""
    taken: list[str] = []

    class Lock:
        def __init__(self, host: Host, settings: Settings, task: str) -> None:
            self.host = host

        def __enter__(self) -> None:
            taken.append(self.host.name)
            if self.host.name == "root@a":
                raise StepError("somebody else is at work", "./fab -H … unlock")

        def __exit__(self, *_: object) -> None:
            taken.append(f"left {self.host.name}")

    monkeypatch.setattr(lock, "exclusive", Lock)
    with pytest.raises(StepError, match=r"\n  -> \./fab -H root@a unlock"), three.exclusive("up"):
        raise AssertionError
    assert taken == ["root@b", "root@c", "root@a", "left root@c", "left root@b"]


def test_ctrl_c_ends_all_of_them(three: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    closed: list[str] = []

    def close(name: str) -> None:
        closed.append(name)
        ended.set()

    servers = [replace(each, close=partial(close, each.name)) for each in three.servers]
    real = threading.Thread.join

    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        if timeout is None:
            raise KeyboardInterrupt
        real(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", join)
    with pytest.raises(KeyboardInterrupt):
        three.part(servers).each("x", lambda host, settings: ended.wait(60))
    assert closed == list(ALL)


def test_many_threads_read_sources_at_once() -> None:
    """Python 3.11 and older lose count of their depth: SystemError."""
    sources = [path.read_text() for path in (HOME / "fabfile").rglob("*.py")]

    def parse() -> int:
        return sum(len(syntax.tree(source).body) for source in sources)

    with ThreadPoolExecutor(4) as pool:
        assert len({each.result() for each in [pool.submit(parse) for _ in range(4)]}) == 1


def test_json_by_server_in_their_order(settings: Settings) -> None:
    fleet = gathered(settings, away=("root@b",))
    results: Results[object] = Results(
        texts={"root@c": '{"line": 1}\n{"line": 2}\n', "root@a": '{\n  "one": 1\n}\n'},
        errors={"root@a": StepError("red")},
    )
    assert list(running._by_server(fleet, results).items()) == [
        ("root@a", {"one": 1}),
        ("root@c", [{"line": 1}, {"line": 2}]),
        ("root@b", {"error": "root@b: no SSH connection"}),
    ]
    nothing: Results[object] = Results(texts={"root@a": "", "root@c": ""}, errors={"root@c": StepError("away")})
    assert running._by_server(fleet, nothing)["root@a"] == []
    assert running._by_server(fleet, nothing)["root@c"] == {"error": "away"}
