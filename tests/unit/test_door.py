"""Who looks after nginx, and after those who connect, while there is none."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fabfile.layout import PROJECT
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.stack.onhost import door, stand_in
from fabfile.stack.onhost.beside import Found
from fabfile.stack.onhost.stand_in import StandIn

OLD: Found = {
    "id": "0123456789ab", "service": "nginx", "name": "old", "image": "", "named": "", "hash": "", "running": True,
    "number": 1,
}  # fmt: skip
INSTEAD = StandIn("172.18.0.4/16")
Said = Callable[[], list[str]]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """What the programs of the host were told, and nothing comes of it: the rules that are in are in the file `in`."""
    file = tmp_path / "said"
    file.touch()
    for name in ("docker", "iptables", "ip6tables"):
        script = f'#!/bin/sh\necho "{name} $*" >>{file}\ncase "$*" in *"-t nat"*) test ! -e {tmp_path}/none;; esac\n'
        if name == "iptables":
            script = script.replace("\ncase", f'\ncase "$*" in *" -S "*) cat {tmp_path}/in 2>/dev/null;; esac\ncase')
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(door, "_drain", lambda _: None)
    monkeypatch.setattr(door, "published", lambda _: ("80", "443"))
    return lambda: file.read_text().splitlines()


def until(said: Said, line: str) -> None:
    """Wait until it was told."""
    end = time.monotonic() + 20
    while not any(each.startswith(line) for each in said()) and time.monotonic() < end:
        time.sleep(0.02)
    assert any(each.startswith(line) for each in said()), said()


def rules(said: Said) -> set[str]:
    """Those that are in, by what was told: table and what follows the ports."""
    there: set[str] = set()
    for line in said():
        if line.startswith("ip") and (" -I " in line or " -D " in line):
            program, _, _, _, table, option, _, *rest = line.split()
            rule = f"{program} {table} {' '.join(rest).rpartition(f'--comment {PROJECT} ')[2]}"
            (there.add if option == "-I" else there.discard)(rule)
    return there


def test_a_slow_start_is_not_taken_for_a_death(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the engine needs longer than the door is held, the old one must not come back and take the ports."""
    monkeypatch.setattr(door, "SECONDS", 0)
    with door.held(OLD):
        until(said, "iptables -w 1 -t raw -D")
        assert not any("docker start" in line for line in said())
    until(said, f"docker start {OLD['id']}")


def test_people_are_led_to_the_one_that_stands_in(said: Said) -> None:
    """Over IPv4; who cannot be led there waits, and nobody else does."""
    with door.held(OLD, INSTEAD):
        assert rules(said) == {
            "iptables nat ! -s 172.18.0.4/16 -j DNAT --to-destination 172.18.0.4",
            "iptables raw -i lo -j DROP",
            "iptables raw -s 172.18.0.4/16 -j DROP",
            "ip6tables raw -j DROP",
        }
        # Before anybody has to wait.
        assert "DNAT" in said()[0]
    assert rules(said) == set()
    assert "DNAT" in [line for line in said() if " -D " in line][3]


def test_who_comes_by_a_load_balancer_waits(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a port of its own, which the one that stands in does not have."""
    bound = {f"{port}/tcp": [{"HostIp": "", "HostPort": str(port)}] for port in (443, 80, 8443)}
    monkeypatch.undo()
    monkeypatch.setattr(door, "inspected", lambda _: [{"HostConfig": {"PortBindings": bound}}])
    assert door.published(OLD) == ("80", "443", "8443")
    commands = [" ".join(rule.command("-I")) for rule in door._not_led(INSTEAD, door.published(OLD))]
    assert "--dports 8443 --syn" in commands[-1]
    assert all("--dports 80,443 --syn" in command for command in commands[:-1])


def test_where_nobody_can_be_led_there_all_wait(said: Said, tmp_path: Path) -> None:
    (tmp_path / "none").touch()
    with door.held(OLD, INSTEAD):
        assert rules(said) - {"iptables nat ! -s 172.18.0.4/16 -j DNAT --to-destination 172.18.0.4"} == {
            "iptables raw -j DROP",
            "ip6tables raw -j DROP",
        }
    assert {each for each in rules(said) if " nat " not in each} == set()


def test_killed_while_they_are_led_there(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go on to be, until the old one is there again; then nothing is left."""
    monkeypatch.setattr(door, "SECONDS", 0)
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException), door.held(OLD, INSTEAD):
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(1)
    os.waitpid(child, 0)
    until(said, "iptables -w 1 -t nat -D")
    lines = said()
    assert rules(said) == set()
    started = next(n for n, line in enumerate(lines) if line == f"docker start {OLD['id']}")
    assert started < next(n for n, line in enumerate(lines) if line.startswith("iptables -w 1 -t nat -D"))


def test_the_one_that_stands_in_ends_once_nobody_is_led_to_it(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"NetworkSettings": {"Networks": {"outside": {"IPAddress": "172.18.0.4", "IPPrefixLen": 16}}}}
    for name in ("run", "await_listening", "await_healthy"):
        monkeypatch.setattr(stand_in, name, lambda *_: None)
    monkeypatch.setattr(stand_in, "inspected", lambda _: [found])
    (tmp_path / "in").write_text(f"-A PREROUTING -m comment --comment {PROJECT} -j DNAT\n")
    with stand_in.standing_in(tmp_path) as instead:
        assert instead == INSTEAD
        assert said() == []
    until(said, "iptables -w 1 -t nat -S PREROUTING")
    assert not any("docker" in line for line in said())
    (tmp_path / "in").write_text("")
    until(said, "docker rm --force --volumes private-docker-registry-nginx-run-")
    ended = [line.split()[1] for line in said() if line.startswith("docker")]
    assert ended == ["kill", "wait", "rm"]


def test_one_that_does_not_start_is_gone_at_once(said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RefusedError("it does not start", "look")

    monkeypatch.setattr(stand_in, "run", fails)
    with pytest.raises(RefusedError), stand_in.standing_in(tmp_path):
        pass
    assert said()[0].startswith("docker rm --force")


def test_who_knocked_before_is_seen() -> None:
    """Before nginx is told to end: a connection that the kernel made, and that nobody has taken."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fabfile.stack.onhost.beside.PORTS", (f"{port:04X}",))
            assert door.arriving(os.getpid()) == 0
            with socket.create_connection(("127.0.0.1", port)):
                assert door.arriving(os.getpid()) == 1
                with server.accept()[0]:
                    assert door.arriving(os.getpid()) == 0


def test_what_the_kernel_has_to_send_still_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """nginx would be done, and its network would go with it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr("fabfile.stack.onhost.beside.PORTS", (f"{server.getsockname()[1]:04X}",))
        with socket.create_connection(server.getsockname()) as client:
            there = server.accept()[0]
            there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            # More than the other side has room for before it reads.
            there.sendall(bytes(400_000))
            assert door.tails(os.getpid()) == set()
            there.close()
            assert len(door.tails(os.getpid())) == 1
            while client.recv(65536):
                pass
            end = time.monotonic() + 20
            while door.tails(os.getpid()) and time.monotonic() < end:
                time.sleep(0.01)
            assert door.tails(os.getpid()) == set()
