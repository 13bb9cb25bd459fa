"""Accounts on the real registry: A2 to A6 as far as they concern one account at a time."""

from __future__ import annotations

import re
import subprocess
import sys

import pexpect
import pytest

from tests.sandbox.demo import fab

from .world import DEPLOY_DIR, PASSWORD, USER, World, first

FILE = f"{DEPLOY_DIR}/registry/auth/htpasswd"


@pytest.mark.parametrize("password", first(['it\'s "$(reboot)" `id` \\ ;|&', "a:b::c", "пароль с пробелом", "x" * 72]))
def test_any_password_works_at_once(deployed: World, password: str) -> None:
    deployed.fab("htpasswd", "--user", "odd", input=password + "\n")
    assert deployed.login("odd", password) == 200
    assert deployed.login("odd", password + "x" if len(password) < 72 else password[:-1]) == 401
    assert deployed.login(USER, PASSWORD) == 200
    deployed.fab("htpasswd", "--remove", "odd")
    assert deployed.login("odd", password) == 401
    assert "there is no account" in deployed.fab("htpasswd", "--remove", "odd").stdout


def test_a_changed_password_counts_at_once(deployed: World) -> None:
    deployed.fab("htpasswd", "--user", "ci", input="first\n")
    assert deployed.login("ci", "first") == 200
    deployed.fab("htpasswd", "--user", "ci", input="second\nignored\n")
    assert deployed.login("ci", "first") == 401
    assert deployed.login("ci", "second") == 200
    generated = deployed.fab("htpasswd", "--user", "ci", "--generate").stdout
    password = generated.rpartition("shown this once: ")[2].strip()
    assert deployed.login("ci", password) == 200
    assert re.search("ci +push +all +20.* bcrypt 12", deployed.fab("htpasswd", "--list").stdout)
    deployed.fab("htpasswd", "--remove", "ci")


@pytest.mark.parametrize(
    ("arguments", "input", "words"),
    [
        (["--user", "a b"], "secret\n", "user name 'a b'"),
        (["--user", "$(id)"], "secret\n", "user name"),
        (["--user", "a\nb"], "secret\n", "user name"),
        (["--user", "push-test-1"], "secret\n", "push-test"),
        (["--user", "ci"], "", "no password for ci on standard input"),
        (["--user", "ci"], "\n", "no password for ci on standard input"),
        (["--user", "ci"], "x" * 73 + "\n", "73 bytes"),
        (["--user", "ci"], "a\0b\n", "NUL"),
        ([], "", "expected one of"),
        (["--user", "ci", "--list"], "secret\n", "expected one of"),
    ],
)
def test_bad_input_exits_2_and_changes_nothing(deployed: World, arguments: list[str], input: str, words: str) -> None:
    before = deployed.server(f"stat -c '%i %Y' {FILE}; cat {FILE}")
    refused = deployed.fab("htpasswd", *arguments, input=input, ok=False)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert "secret" not in refused.stderr
    assert deployed.server(f"stat -c '%i %Y' {FILE}; cat {FILE}") == before


def test_a_damaged_file_is_refused_and_left(deployed: World) -> None:
    """A4: with the line; and nobody gets in who should not."""
    deployed.server(f"cp -p {FILE} /root/kept; echo nonsense >>{FILE}; cp {FILE} /root/damaged")
    try:
        refused = deployed.fab("htpasswd", "--user", "ci", input="secret\n", ok=False)
        assert refused.returncode == 1
        assert re.search(rf"{FILE}:\d+: not an entry", refused.stderr)
        deployed.server(f"cmp {FILE} /root/damaged")
        assert deployed.status("/v2/") in (400, 401)
    finally:
        deployed.server(f"cat /root/kept >{FILE}; touch {FILE}")


def test_without_an_accounts_file_up_refuses(deployed: World) -> None:
    """Without it the registry would make up an account and log its password."""
    deployed.server(f"mv {FILE} /root/kept")
    try:
        refused = deployed.fab("up", ok=False)
        assert "there is no account yet" in refused.stderr
        assert deployed.status("/v2/_catalog") != 200
    finally:
        deployed.server(f"mv /root/kept {FILE}")


def test_a_terminal_asks_twice_and_shows_nothing(deployed: World) -> None:
    argv = [*fab(deployed.sandbox, deployed.settings), "htpasswd", "--user", "typed"]
    terminal = pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=30)
    terminal.expect("New password for typed: ")
    terminal.sendline("typed-secret")
    terminal.expect("The same once more: ")
    terminal.sendline("typed-secret")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert "typed-secret" not in (terminal.before or "")
    assert deployed.login("typed", "typed-secret") == 200

    terminal = pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=30)
    terminal.expect("New password for typed: ")
    terminal.sendline("one")
    terminal.expect("The same once more: ")
    terminal.sendline("two")
    terminal.expect("the two passwords differ")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 2
    assert deployed.login("typed", "typed-secret") == 200
    deployed.fab("htpasswd", "--remove", "typed")


def test_a_password_is_in_no_process_list_on_either_machine(deployed: World) -> None:
    """Look at every command line on both machines, as fast as can be, while it is set."""
    canary = "canary-7d0f9e6c"
    watch = (
        "import glob, sys, time\n"
        "end = time.monotonic() + 60\n"
        "print('watching', flush=True)\n"
        "while time.monotonic() < end:\n"
        "    for path in glob.glob('/proc/[0-9]*/cmdline') + glob.glob('/proc/[0-9]*/environ'):\n"
        "        try: text = open(path, 'rb').read()\n"
        "        except OSError: continue\n"
        "        if sys.argv[1].encode() in text and b'import glob' not in text: print('SEEN', text, flush=True)\n"
    )
    here = [sys.executable, "-c", watch, canary]
    there = ["docker", "exec", deployed.sandbox.container("server"), "python3", "-c", watch, canary]
    watchers = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for argv in (here, there)]
    for watcher in watchers:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "watching\n"
    try:
        shown = deployed.fab("htpasswd", "--user", "canary", input=canary + "\n")
        debug = deployed.fab("--debug", "htpasswd", "--user", "canary", input=canary + "\n")
    finally:
        for watcher in watchers:
            watcher.terminate()
        deployed.server(f"pkill -f {canary}", check=False)
    seen = [watcher.communicate()[0] for watcher in watchers]
    assert seen == ["", ""]
    assert canary not in shown.stdout + shown.stderr + debug.stdout + debug.stderr
    deployed.fab("htpasswd", "--remove", "canary")
    left = deployed.server(
        f"grep -rlF {canary} / --include='*' -s --exclude-dir=proc --exclude-dir=sys --exclude-dir=overlay2",
        check=False,
    )
    assert left == ""
