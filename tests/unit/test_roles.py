"""Roles and repositories: what is kept of them, and what nginx is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabfile.accounts import htpasswd_file, passwords
from fabfile.accounts.onhost import accounts_conf, accounts_file
from fabfile.errors import UsageError
from fabfile.machine.onhost.atomic import RefusedError

from .test_accounts import HASH, file, put

__all__ = ["file"]


def test_rights_are_kept_until_they_are_changed(file: Path) -> None:
    put(file, "ci", f"ci:{HASH}", {"role": "pull", "repositories": ["team-a/*", "base"]})
    put(file, "ci", f"ci:{HASH[:-1]}b")
    (account,) = accounts_file.listed(str(file))
    assert (account["role"], account["repositories"]) == ("pull", ["team-a/*", "base"])
    put(file, "ci", "", {"role": "admin", "repositories": []})
    (account,) = accounts_file.listed(str(file))
    assert (account["role"], account["repositories"]) == ("admin", [])
    assert f"ci:{HASH[:-1]}b\n" in file.read_text()


def test_keeping_the_password_of_nobody_is_refused(file: Path) -> None:
    with pytest.raises(RefusedError, match="there is no account ci"):
        put(file, "ci", "")
    assert not file.exists()


@pytest.mark.parametrize(
    ("comment", "words"),
    [
        ("# ci role=pull repositories= changed=x\n", ":2: the line of the account ci belongs here"),
        ("# anna role=pull repositories= changed=x\n# more\n", ":2: the line of the account anna"),
        ("# anna role=pull repositories=Team/* changed=x\n", ":1: these rights cannot be read"),
        ("#anna role=none\n", ":1: these rights cannot be read"),
    ],
)
def test_rights_that_are_damaged_make_nobody_an_admin(file: Path, comment: str, words: str) -> None:
    file.write_text(f"{comment}anna:{HASH}\n")
    for use in (lambda: accounts_file.listed(str(file)), lambda: accounts_conf.maps(file)):
        with pytest.raises(RefusedError) as refused:
            use()
        assert words in refused.value.what


def test_other_comments_stay(file: Path) -> None:
    text = f"# anna of the other team\nanna:{HASH}\n"
    file.write_text(text)
    put(file, "bert", f"bert:{HASH}")
    assert file.read_text().startswith(text)


def test_no_name_means_anything_to_nginx(file: Path) -> None:
    put(file, "root", f"root:{HASH}", {"role": "admin", "repositories": []})
    with file.open("a") as more:
        more.write(f'by hand";{{:{HASH}\nold:$apr1$no$hash\n')
    maps = accounts_conf.maps(file).decode().partition("\n\n")[2]
    assert "root" in maps
    assert "hand" not in maps
    assert "old" not in maps


def test_what_the_accounts_tell_the_rest_of_the_configuration(file: Path) -> None:
    put(file, "ci", f"ci:{HASH}", {"role": "push", "repositories": ["team-a/*"]})
    assert accounts_conf.variables(accounts_conf.maps(file)) == {
        b"$role",
        b"$scope",
        b"$limits",
        b"$checkable",
        b"$generation",
    }


def test_every_change_is_another_generation(file: Path) -> None:
    seen = set()
    for rights in ("pull", "push", "admin"):
        put(file, "ci", f"ci:{HASH}", {"role": rights, "repositories": None})
        seen.add(accounts_conf.maps(file).decode().partition("$generation {\n")[2])
    assert len(seen) == 3


def test_a_push_test_disturbs_nobody(file: Path) -> None:
    """Another generation is, for a moment, a 503 to whom an old worker of nginx answers."""
    put(file, "ci", f"ci:{HASH}", {"role": "push", "repositories": []})
    before = accounts_conf.maps(file).decode()
    put(
        file,
        "push-test-6b099d8a-37f67908",
        f"push-test-6b099d8a-37f67908:{HASH}",
        {"role": "admin", "repositories": []},
    )
    during = accounts_conf.maps(file).decode()
    assert "push-test-6b099d8a-37f67908" in during
    assert during.partition("$generation {\n")[2] == before.partition("$generation {\n")[2]


@pytest.mark.parametrize(
    ("role", "repositories", "words"),
    [
        ("root", None, "--role: expected one of: pull, push, admin"),
        ("pull", ["Team"], "--repository: 'Team'"),
        ("pull", ["/x"], "--repository"),
        ("pull", ["a//b"], "--repository"),
        ("pull", ["a b"], "--repository"),
        ("pull", ["a,b"], "--repository"),
        ("pull", ['a";'], "--repository"),
        ("pull", ["a\n"], "--repository"),
    ],
)
def test_rights_that_are_refused(role: str, repositories: list[str] | None, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        passwords.rights(role, repositories)
    assert words in refused.value.what


def test_rights_of_options() -> None:
    assert passwords.rights("", []) == {"role": "", "repositories": None}
    assert passwords.rights("pull", ["a/*", "a/*"]) == {"role": "pull", "repositories": ["a/*"]}
    assert passwords.rights("", ["*"]) == {"role": "", "repositories": []}


def test_a_file_to_import(tmp_path: Path) -> None:
    good, slow = HASH, HASH.replace("$04$", "$15$")
    theirs = tmp_path / "theirs"
    theirs.write_text(f"# old\n\nanna:{good}\nbert:$apr1$x$y\ncarl:{slow}\nanna:{good}\nno colon\na b:{good}\n")
    entries, refused = htpasswd_file.read(str(theirs))
    assert entries == {"anna": f"anna:{good}"}
    assert [line.partition(":")[2].partition(":")[0] for line in refused] == [
        "4",
        "5",
        "6",
        "7",
        "8",
    ]
    assert "MD5" in refused[0]
    assert "cost 15" in refused[1]
    with pytest.raises(UsageError, match="No such file"):
        htpasswd_file.read(str(tmp_path / "missing"))
