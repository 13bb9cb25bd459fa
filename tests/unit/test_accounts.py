"""Passwords and the accounts file (A2 to A5). The file is real; what it is on is this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from passlib.apache import HtpasswdFile

from fabfile import layout
from fabfile.accounts import passwords
from fabfile.accounts.onhost import accounts_file as onhost
from fabfile.accounts.onhost.accounts_file import Rights
from fabfile.errors import UsageError
from fabfile.machine.onhost.atomic import RefusedError
from fabfile.old_registry.onhost import takeover
from fabfile.secret import Secret
from fabfile.settings import HOME

HASH = "$2y$04$" + "a" * 53
NOW = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"
SAME: Rights = {"role": "", "repositories": None}


def put(file: Path, user: str, entry: str, rights: Rights = SAME) -> str:
    (done,) = onhost.put(str(file), {user: entry}, rights)
    return done


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "htpasswd"


@pytest.mark.parametrize("password", ["a:b", "sp ace", 'it\'s "$(reboot)" `id` \\ &|;', "пароль", "x" * 72])
def test_hash_is_bcrypt_and_verifies(password: str, file: Path) -> None:
    line = passwords.hashed("ci", passwords.checked_password(Secret(password)), cost=4)
    assert line.startswith("ci:$2y$04$")
    file.write_text(line + "\n")
    assert HtpasswdFile(str(file)).check_password("ci", password)
    (account,) = onhost.listed(str(file))
    assert (account["user"], account["cost"], account["usable"]) == ("ci", 4, True)


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("a\nb", "line break"),
        ("x" * 73, "73 bytes"),
        ("п" * 37, "74 bytes"),
    ],
)
def test_passwords_that_are_refused(password: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        passwords.checked_password(Secret(password))


def test_add_change_remove(file: Path) -> None:
    file.write_text(f"# by hand\n\nold:{HASH}\n")
    assert put(file, "ci", f"ci:{HASH}") == "added"
    assert put(file, "old", f"old:{HASH[:-1]}b") == "changed"
    facts = rf"repositories= changed={NOW}\n"
    assert re.fullmatch(
        rf"# by hand\n\n# old role=admin {facts}{re.escape(f'old:{HASH[:-1]}b')}\n"
        rf"# ci role=push {facts}{re.escape(f'ci:{HASH}')}\n",
        file.read_text(),
    )
    assert file.stat().st_mode & 0o777 == 0o600
    assert onhost.remove(str(file), "old")
    assert not onhost.remove(str(file), "old")
    assert re.fullmatch(rf"# by hand\n\n# ci role=push {facts}{re.escape(f'ci:{HASH}')}\n", file.read_text())


def test_every_change_moves_the_time_stamp_forward(file: Path) -> None:
    put(file, "ci", f"ci:{HASH}")
    future = time.time_ns() + 10**12
    os.utime(file, ns=(future, future))
    put(file, "ci", f"ci:{HASH}")
    assert file.stat().st_mtime_ns > future


@pytest.mark.parametrize("line", ["no colon", ":hash", "user:", "us\x07er:hash"])
def test_a_damaged_file_is_left_as_it_is(file: Path, line: str) -> None:
    before = f"ci:{HASH}\n{line}\n"
    file.write_text(before)
    for change in (
        lambda: put(file, "a", f"a:{HASH}"),
        lambda: onhost.remove(str(file), "ci"),
    ):
        with pytest.raises(RefusedError) as refused:
            change()
        assert f"{file}:2: not an entry" in refused.value.what
    assert file.read_text() == before


def test_an_empty_file_takes_the_first_account(file: Path) -> None:
    file.touch()
    assert onhost.listed(str(file)) == []
    assert put(file, "ci", f"ci:{HASH}") == "added"


def test_a_hash_that_the_registry_will_not_take_is_shown(file: Path) -> None:
    file.write_text("old:$apr1$abc$def\n")
    (account,) = onhost.listed(str(file))
    assert (account["user"], account["cost"], account["usable"]) == ("old", 0, False)


def test_leftovers_of_a_killed_push_test_go_with_the_next_change(file: Path) -> None:
    stale, fresh = int(time.time()) - 7200, int(time.time())
    file.write_text(f"push-test-{stale:x}-ab:{HASH}\npush-test-{fresh:x}-cd:{HASH}\n")
    put(file, "ci", f"ci:{HASH}")
    assert [account["user"] for account in onhost.listed(str(file))] == [
        f"push-test-{fresh:x}-cd",
        "ci",
    ]


def test_the_account_of_a_push_test_goes_whatever_the_clocks_say(file: Path) -> None:
    """The server's clock is ahead of the operator's, or the test took long: its own end must find the account."""
    user = f"push-test-{int(time.time()) - 7200:x}-ab"
    put(file, user, f"{user}:{HASH}")
    put(file, "meanwhile", f"meanwhile:{HASH}")
    assert [account["user"] for account in onhost.listed(str(file))] == [user, "meanwhile"]
    assert onhost.remove(str(file), user)
    assert [account["user"] for account in onhost.listed(str(file))] == ["meanwhile"]


def test_a_leftover_goes_with_the_next_push_test_whatever_the_clocks_say(file: Path) -> None:
    ahead = f"push-test-{int(time.time()) + 7200:x}-ab"
    file.write_text(f"{ahead}:{HASH}\n")
    onhost.put(str(file), {"ci": f"ci:{HASH}"}, SAME, alone=True)
    assert [account["user"] for account in onhost.listed(str(file))] == ["ci"]


def test_a_comment_is_cut_at_line_breaks_alone(file: Path) -> None:
    file.write_text(f"# a form feed\x0c and U+2028\u2028 in it\r\nci:{HASH}\r\n")
    assert [account["user"] for account in onhost.listed(str(file))] == ["ci"]
    put(file, "new", f"new:{HASH}")
    assert "# a form feed\x0c and U+2028\u2028 in it\n" in file.read_text("utf-8")


def test_fifty_changes_at_once_are_all_applied(file: Path) -> None:
    def add(number: int) -> None:
        code = (
            "import json, sys; from fabfile.accounts.onhost.accounts_file import put; "
            "put(sys.argv[1], *map(json.loads, sys.argv[2:]))"
        )
        entries = {f"u{number}": f"u{number}:{HASH}"}
        argv = [sys.executable, "-c", code, str(file), json.dumps(entries), json.dumps(SAME)]
        subprocess.run(argv, cwd=HOME, check=True)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(add, range(50)))
    assert {account["user"] for account in onhost.listed(str(file))} == {f"u{n}" for n in range(50)}


def test_kill_9_in_the_middle_never_leaves_half_a_file(file: Path) -> None:
    file.write_text("".join(f"u{n}:{HASH}\n" for n in range(2000)))
    code = (
        "import sys; from fabfile.accounts.onhost.accounts_file import put\n"
        "print('go', flush=True)\n"
        "for n in range(10**6): "
        "put(sys.argv[1], {f'new{n}': f'new{n}:' + sys.argv[2]}, {'role': '', 'repositories': None})"
    )
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(file), HASH], cwd=HOME, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            before = file.stat().st_mtime_ns
            while file.stat().st_mtime_ns == before:
                assert writer.poll() is None
            writer.send_signal(signal.SIGKILL)
        users = {str(account["user"]) for account in onhost.listed(str(file))}
        assert {f"u{n}" for n in range(2000)} <= users
    assert put(file, "last", f"last:{HASH}") == "added"


def test_adopt_gives_the_accounts_back_as_they_were(tmp_path: Path) -> None:
    """An old registry whose accounts are where ours are: what we add to them goes again."""
    file = tmp_path / layout.ACCOUNTS
    file.parent.mkdir(parents=True)
    file.write_text("anna:old\n")
    takeover.record(str(tmp_path), [], [], "registry.example.org", [])
    file.write_text("anna:old\nadmin:new\n")
    takeover._restore_files(tmp_path, takeover._record(tmp_path), [])
    assert file.read_text() == "anna:old\n"
