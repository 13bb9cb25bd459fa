"""Who works on the server: root or not, alone or not, with a connection that lasts or not."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.sandbox.demo import fab

from .test_refusals import FAB, run
from .world import DEPLOY_DIR, USER, World, wait_until

SUDO_PASSWORD = "sudo-canary 'x' $1"
AUDIT = f"{DEPLOY_DIR}/log/audit.log"


@pytest.fixture
def anna(clean: World) -> Iterator[World]:
    """A server with a user `anna` who may log in with our key; what sudo lets her do is a test's."""
    clean.server(
        "useradd --create-home --shell /bin/bash anna && mkdir -m 700 ~anna/.ssh && "
        "cp ~root/.ssh/authorized_keys ~anna/.ssh/ && chown -R anna ~anna/.ssh && printf '%s' \"$1\" | chpasswd",
        f"anna:{SUDO_PASSWORD}\n",
    )
    yield clean
    clean.server("pkill -u anna; rm -f /etc/sudoers.d/anna; userdel --remove anna 2>/dev/null; true")


def as_anna(world: World, *options: str) -> list[str]:
    """The command of `World.fab`, as anna."""
    command = fab(world.sandbox, world.settings)
    return [*command[:-2], *options, "--hosts", "anna@server"]


def may(world: World, rule: str) -> None:
    """Write a line of sudoers."""
    world.server(f"echo '{rule}' >/etc/sudoers.d/anna; chmod 440 /etc/sudoers.d/anna")


@pytest.mark.long
def test_a_user_with_passwordless_sudo(anna: World) -> None:
    may(anna, "anna ALL=(ALL) NOPASSWD: ALL")
    done = subprocess.run(
        [*as_anna(anna), "bootstrap"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert anna.status("/v2/") == 401
    foreign = anna.server(f"find {DEPLOY_DIR} /etc/cron.d/private-docker-registry ! -user root -o -perm /022 ! -type l")
    # All but what the registry's containers use, below a directory that root alone can enter.
    assert [path for path in foreign.split() if "/registry/" not in path] == []
    assert anna.server(f"stat -c '%U %a' {DEPLOY_DIR}/registry").strip() == "root 700"


def test_a_user_with_a_sudo_password(anna: World) -> None:
    """One question, not echoed; nothing of it in a process list is tested with the other secrets."""
    may(anna, "anna ALL=(ALL) ALL")
    argv = [*as_anna(anna, "--prompt-for-sudo-password"), "bootstrap"]
    terminal = pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=120)
    terminal.expect_exact("anna's password for sudo: ", timeout=20)
    terminal.sendline(SUDO_PASSWORD)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0, terminal.before
    output = re.sub(r"\x1b\[[0-9;]*m", "", terminal.before or "")
    assert SUDO_PASSWORD not in output
    generated = re.search(r"password \(shown this once\): (\S+)", output)
    assert generated is not None
    assert anna.login(USER, generated[1]) == 200


def test_a_wrong_sudo_password_is_tried_once(anna: World) -> None:
    """S2: one attempt, not echoed, nothing changed."""
    may(anna, "Defaults logfile=/root/sudo.log\nanna ALL=(ALL) ALL")
    argv = [*as_anna(anna, "--prompt-for-sudo-password"), "bootstrap"]
    terminal = pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=60)
    terminal.expect_exact("anna's password for sudo: ", timeout=20)
    terminal.sendline("wrong-canary")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 1
    assert "sudo does not take this password for anna; nothing was run" in (terminal.before or "")
    assert "wrong-canary" not in (terminal.before or "")
    log = anna.server("cat /root/sudo.log")
    assert log.count("incorrect password attempt") + log.count("a password is required") <= 2
    assert "3 incorrect" not in log
    assert "1 incorrect password attempt" in re.sub(r"\s+", " ", log)
    assert anna.server(f"test -e {DEPLOY_DIR} || echo absent") == "absent\n"


def test_a_sudo_password_that_nobody_gave(anna: World) -> None:
    may(anna, "anna ALL=(ALL) ALL")
    refused = run(*as_anna(anna), "check")
    assert refused.returncode == 2
    assert "--prompt-for-sudo-password" in refused.stderr


@contextmanager
def at_work(world: World) -> Iterator[subprocess.Popen[str]]:
    """A bootstrap by somebody else that has the lock."""
    argv = [*fab(world.sandbox, world.settings), "bootstrap"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as other:
        wait_until(
            lambda: "task bootstrap" in world.server("cat /run/*.lock.holder", check=False),
            "the lock is held",
        )
        try:
            yield other
        finally:
            if other.poll() is None:
                other.kill()


def test_the_second_of_two_is_told_who_is_at_work(clean: World) -> None:
    """S3."""
    with at_work(clean) as first:
        second = clean.fab("bootstrap", ok=False)
        assert second.returncode == 1
        who = f"{os.environ.get('USER', 'root')}@{socket.gethostname()}"
        assert re.search(
            rf"somebody else is at work: {re.escape(who)} since \d{{4}}-\S+Z, task bootstrap",
            second.stderr,
        )
        output, _ = first.communicate(timeout=120)
        assert first.returncode == 0, output
    assert clean.status("/v2/") == 401
    assert "nobody holds the lock" in clean.fab("unlock").stdout


@pytest.mark.long
def test_a_dead_holder_is_recognised(deployed: World) -> None:
    with at_work(deployed) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
    deployed.bootstrap()
    assert re.search(r"\tbootstrap\tcut off\n(.*\n)*.*\tbootstrap\tok\n", deployed.server(f"cat {AUDIT}"))


@pytest.mark.long
def test_a_holder_that_hangs_is_cleared_by_unlock(deployed: World) -> None:
    """Its connection is still there as far as the server knows, so only a person can tell."""
    with at_work(deployed) as first:
        first.send_signal(signal.SIGSTOP)
        assert deployed.fab("up", ok=False).returncode == 1
        assert deployed.fab("unlock", ok=False).returncode == 2
        cleared = deployed.fab("unlock", "--yes").stdout
        assert "task bootstrap" in cleared
        assert "cleared" in cleared
        deployed.fab("up")
        first.send_signal(signal.SIGKILL)
        first.send_signal(signal.SIGCONT)


def test_every_change_is_logged(deployed: World) -> None:
    deployed.server(f": >{AUDIT}")
    deployed.fab("htpasswd", "--user", "ci", input="secret-canary\n")
    deployed.fab("htpasswd", "--remove", "ci")
    deployed.fab("sync", "up")
    deployed.server(f"cd {DEPLOY_DIR} && ./inv renew")
    deployed.fab("check")
    deployed.fab("sync", "--diff")
    lines = [line.split("\t") for line in deployed.server(f"cat {AUDIT}").splitlines()]
    assert [(task, outcome) for _, _, task, outcome in lines] == [
        ("htpasswd ci", "ok"), ("htpasswd --remove ci", "ok"), ("sync", "ok"), ("up", "ok"), ("renew", "ok"),
    ]  # fmt: skip
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", when) for when, *_ in lines)
    assert lines[4][1] == "root@server"
    assert "canary" not in str(lines)


@contextmanager
def forwarded(port: int, delay: float = 0) -> Iterator[int]:
    """A port of ::1 that leads to one of 127.0.0.1. delay: of each packet, in seconds."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):  # either side may hang up at any time
            while data := source.recv(65536):
                time.sleep(delay)
                sink.sendall(data)
        sink.close()

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def by_ipv6(world: World, directory: Path, port: int, task: str) -> subprocess.CompletedProcess[str]:
    """Run a task on the sandbox's server through that port of ::1."""
    known = (world.sandbox.directory / "known_hosts").read_text().split(maxsplit=1)[1]
    (directory / "known_hosts").write_text(f"[::1]:{port} {known}")
    text = (world.sandbox.directory / "ssh_config").read_text()
    text = re.sub(r"Host server\n.*HostName.*\n", "Host ::1\n", text)
    text = re.sub(r"(?m)^(\s+Port) .*$", rf"\1 {port}", text)
    text = re.sub(r"(?m)^(\s+UserKnownHostsFile) .*$", rf"\1 {directory}/known_hosts", text)
    (directory / "ssh_config").write_text(text)
    config = ("--ssh-config", str(directory / "ssh_config"))
    return run(FAB, *config, "-H", "root@::1", task, ENV_FILE=str(world.settings))


@pytest.mark.long
def test_a_server_that_answers_slowly(deployed: World, tmp_path: Path) -> None:
    """A third of a second each way; and one that takes the connection and then says nothing."""
    with forwarded(deployed.sandbox.port(22), delay=0.33) as port:
        done = by_ipv6(deployed, tmp_path, port, "sync")
        assert done.returncode == 0, done.stderr
        assert "up to date" in done.stdout
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as silent:
        done = by_ipv6(deployed, tmp_path, silent.getsockname()[1], "sync")
        assert done.returncode == 1
        assert "no SSH connection" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_server_by_its_ipv6_address(clean: World, tmp_path: Path) -> None:
    world = clean
    with forwarded(world.sandbox.port(22)) as port:
        done = by_ipv6(world, tmp_path, port, "check")
        assert done.returncode == 0, done.stderr
        for host in ("root@[::1]", f"root@[::1]:{port}"):
            refused = run(FAB, "-H", host, "check", ENV_FILE=str(world.settings))
            assert refused.returncode == 2
            assert "without brackets" in refused.stderr
