"""What a server does instead of running our command: it is told in its own words, and nobody is said to be at work."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pexpect
import pytest

from .test_operators import SUDO_PASSWORD, anna, as_anna, may
from .test_refusals import run
from .world import DEPLOY_DIR, World, first

__all__ = ["anna"]  # a fixture

LOCK = "/run/private-docker-registry.lock"
KEY = ".ssh/authorized_keys"
# As cloud-init writes it into root's keys.
CLOUD = (
    'command="echo \'Please login as the user \\"ubuntu\\" rather than the user \\"root\\".\';echo;sleep 1;exit 142"'
)
FLOCK = "$(command -v flock)"
# What is done to root's login: how, how it is undone, words of the server's, words of the remedy.
ODD = {
    "only prints": (
        f"cp ~/{KEY} ~/keys; printf '%s ' \"$1\" | cat - ~/keys >~/{KEY}", f"mv ~/keys ~/{KEY}", CLOUD,
        'Please login as the user "ubuntu" rather than the user "root". (exit status 142)',
        "-> ./fab -H ubuntu@server TASK",
    ),
    "password expired": (
        "chage -d 0 root", "chage -d 2026-01-01 root", "", "assword",
        "-> log in once and change the password: ssh server",
    ),
    "nologin": (
        "usermod -s /usr/sbin/nologin root", "usermod -s /bin/bash root", "",
        "This account is currently not available. (exit status 1)",
        "-> log in as somebody who has a shell: ./fab -H USER@server",
    ),
    "false": (
        "usermod -s /bin/false root", "usermod -s /bin/bash root", "",
        "the server ran nothing of ours and said nothing (exit status 1)", "-> what does `ssh server true` print?",
    ),
    "sftp alone": (
        f"cp ~/{KEY} ~/keys; printf 'command=\"internal-sftp\" ' | cat - ~/keys >~/{KEY}", f"mv ~/keys ~/{KEY}", "",
        "This service allows sftp connections only.", "-> this user may only copy files",
    ),
    "a start file that ends": (
        "cp ~/.bashrc ~/rc; sed -i '1i echo be gone >\\&2; exit 0' ~/.bashrc", "mv ~/rc ~/.bashrc", "",
        "be gone (exit status 0)", "-> what does `ssh server true` print?",
    ),
    "a start file that begins another shell": (
        "cp ~/.bashrc ~/rc; sed -i '1i exec sh' ~/.bashrc", "mv ~/rc ~/.bashrc", "",
        "the server ran nothing of ours", "-> what does `ssh server true` print?",
    ),
}  # fmt: skip
# What is in the way of the lock alone.
LOCKLESS = {
    "no flock": ("mv /usr/bin/flock /root/", "mv /root/flock /usr/bin/", "not found (exit status 127)", "util-linux"),
    "a directory in its place": (
        f"rm -f {LOCK}; mkdir {LOCK}", f"rmdir {LOCK}", "Is a directory (exit status 2)", f"ls -ld {LOCK}",
    ),
}  # fmt: skip


@contextmanager
def odd(world: World, script: str, undo: str, *args: str) -> Iterator[None]:
    """Do something to root's login, past it."""
    world.server(f"export HOME=/root; {script}", *args)
    try:
        yield
    finally:
        world.server(f"export HOME=/root; {undo}")


def refused(world: World, words: str, remedy: str, *tasks: str) -> None:
    """Each of these tasks is refused with these words, and there is no talk of anybody else."""
    for task in tasks:
        done = world.fab(*task.split(), ok=False)
        assert done.returncode == 1, (task, done)
        assert words in done.stderr, (task, done.stderr)
        assert remedy in done.stderr, (task, done.stderr)
        said = done.stdout + done.stderr
        assert "at work" not in said
        assert "held by" not in said
        assert "unexpected" not in said
        assert "nobody holds" not in said


@pytest.mark.parametrize("kind", first(ODD))
def test_a_login_that_runs_something_else(clean: World, kind: str) -> None:
    script, undo, arg, words, remedy = ODD[kind]
    with odd(clean, script, undo, *([arg] if arg else [])):
        refused(clean, words, remedy, "bootstrap", "check", "status", "unlock --yes", "sync --diff")
    clean.fab("check")
    assert clean.server(f"test -e {DEPLOY_DIR} || echo absent") == "absent\n"


@pytest.mark.parametrize("kind", LOCKLESS)
def test_a_lock_that_cannot_be_taken(clean: World, kind: str) -> None:
    script, undo, words, remedy = LOCKLESS[kind]
    with odd(clean, script, undo):
        refused(clean, words, remedy, "sync", "bootstrap", "unlock --yes")
    clean.fab("check")


def test_a_greeting_in_another_encoding_changes_nothing(clean: World) -> None:
    greeting = r"printf 'Caf\351\n'; set -e"
    script = "cp ~/.bashrc ~/rc; printf '%s\\n' \"$1\" | cat - ~/rc >~/.bashrc"
    with odd(clean, script, "mv ~/rc ~/.bashrc", greeting):
        assert (
            b"Caf\xe9"
            in subprocess.run(
                ["ssh", "-F", str(clean.sandbox.directory / "ssh_config"), "server", "true"],
                capture_output=True,
                check=True,
            ).stdout
        )
        clean.fab("check")
        assert "new files" in clean.fab("sync").stdout
        assert "nobody holds the lock" in clean.fab("unlock").stdout


def test_a_lock_without_a_name_is_still_one(clean: World) -> None:
    clean.server(f"rm -f {LOCK}.holder; flock {LOCK} sleep 600 >/dev/null 2>&1 & echo $! >/run/sleeper")
    try:
        found = clean.fab("unlock", "--yes", ok=False)
        assert "held by somebody who left no name" in found.stdout
        assert f"fuser {LOCK}" in found.stderr
        assert "somebody else is at work: they left no name" in clean.fab("sync", ok=False).stderr
    finally:
        clean.server("pkill -P $(cat /run/sleeper); true")


def answered(anna: World, rule: str, *options: str, prepare: str = "true", undo: str = "true") -> str:
    """What `check` says to anna, whom sudo treats by that rule."""
    may(anna, rule)
    anna.server(prepare)
    try:
        return run(*as_anna(anna, *options), "check").stderr
    finally:
        anna.server(undo)


def test_sudo_is_quoted(anna: World) -> None:
    """Whatever it has against her, its last line is there, and what to do about it."""
    password = "anna ALL=(ALL) ALL"
    free = "anna ALL=(ALL) NOPASSWD: ALL"
    said = answered(anna, f"Defaults:anna requiretty\n{free}")
    assert "sudo: sorry, you must have a tty to run sudo" in said
    assert "Defaults:anna !requiretty" in said
    assert "anna@server: anna needs a password for sudo: sudo: a password is required" in answered(anna, password)
    said = answered(anna, free, prepare="mv /usr/bin/sudo /root/", undo="mv /root/sudo /usr/bin/")
    assert "sudo: command not found" in said
    assert "apt-get install sudo" in said
    # Who may nothing is asked for a password first: only with one sudo says so.
    assert "a password is required" in answered(anna, "nobody ALL=(ALL) ALL")


@pytest.mark.parametrize(
    ("rule", "words", "remedy"),
    [
        ("nobody ALL=(ALL) ALL", "anna is not in the sudoers file", "usermod -aG sudo anna"),
        ("Defaults:anna requiretty\nanna ALL=(ALL) ALL", "must have a tty", "!requiretty"),
        ("anna ALL=(ALL) /bin/ls", "not allowed to execute", "usermod -aG sudo anna"),
    ],
)
def test_sudo_is_quoted_when_it_has_the_password(anna: World, rule: str, words: str, remedy: str) -> None:
    may(anna, rule)
    argv = [*as_anna(anna, "--prompt-for-sudo-password"), "check"]
    terminal = pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=60, dimensions=(24, 400))
    terminal.expect_exact("anna's password for sudo: ", timeout=20)
    terminal.sendline(SUDO_PASSWORD)
    terminal.expect(pexpect.EOF)
    terminal.close()
    said = terminal.before or ""
    assert terminal.exitstatus == 1
    assert words in said
    assert remedy in said


@pytest.mark.long
def test_a_command_that_ends_before_it_has_read_all(clean: World) -> None:
    """The race of `Saw 1 exceptions within threads (OSError)`: 20 times, against an expired password."""
    with odd(clean, "chage -d 0 root", "chage -d 2026-01-01 root"):
        for _ in range(20):
            done = subprocess.run(
                [*as_anna(clean)[:-1], "server", "check"], capture_output=True, text=True, check=False
            )
            assert "assword" in done.stderr, done.stderr
            assert "unexpected" not in done.stderr
