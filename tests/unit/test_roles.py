"""Roles and repositories: what is kept of them, and what nginx is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fabfile.accounts import htpasswd_file, passwords
from fabfile.accounts.onhost import accounts_file, roles
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
    for use in (lambda: accounts_file.listed(str(file)), lambda: roles.maps(file)):
        with pytest.raises(RefusedError) as refused:
            use()
        assert words in refused.value.what


def test_other_comments_stay(file: Path) -> None:
    text = f"# anna of the other team\nanna:{HASH}\n"
    file.write_text(text)
    put(file, "bert", f"bert:{HASH}")
    assert file.read_text().startswith(text)


def matching(maps: str, target: str, text: str) -> str:
    """What the map gives for a text, as nginx reads it: the first expression that matches."""
    body = maps.partition(f" {target} {{\n")[2].partition("\n}")[0]
    for row in body.splitlines():
        expression, _, value = row.strip().rstrip(";").rpartition(" ")
        if expression == "default" or re.search(_python(expression), text):
            return value
    raise AssertionError(f"no default in {target}")


def _python(expression: str) -> str:
    """PCRE's end of the text has another letter in Python before 3.14."""
    return expression.strip('"').removeprefix("~").replace("\\z", "\\Z")


def test_maps(file: Path) -> None:
    put(file, "a.b", f"a.b:{HASH}", {"role": "pull", "repositories": ["team-a/*", "base"]})
    put(file, "root", f"root:{HASH}", {"role": "admin", "repositories": []})
    with file.open("a") as more:
        more.write(f'by hand";{{:{HASH}\nold:$apr1$no$hash\n')
    maps = roles.maps(file).decode()
    assert matching(maps, "$role", "a.b") == "pull"
    assert matching(maps, "$role", "axb") == '""'
    assert matching(maps, "$role", "A.b") == '""'
    assert matching(maps, "$role", "root") == "admin"
    assert matching(maps, "$role", "old") == '""'
    assert "hand" not in maps.partition("\n\n")[2]
    assert (matching(maps, "$limited", "a.b"), matching(maps, "$limited", "root")) == ("1", "0")
    for path, within in {
        "/v2/": "1",
        "/v2/team-a/x/manifests/latest": "1",
        "/v2/team-a/x/y/blobs/uploads/": "1",
        "/v2/base/tags/list": "1",
        "/v2/base/x/tags/list": "0",
        "/v2/base/blobs/evil/blobs/uploads/": "0",
        "/v2/base/blobs/evil/manifests/1": "0",
        f"/v2/team-a/{'x' * 500}/tags/list": "0",
        "/v2/base/referrers/sha256:0": "1",
        "/v2/team-b/x/manifests/latest": "0",
        "/v2/team-a/manifests/latest": "0",
        "/v2/xteam-a/x/manifests/latest": "0",
        "/v2/_catalog": "0",
        "/v2/team-b/team-a/x/blobs/uploads/": "0",
    }.items():
        assert matching(maps, "$within", f"a.b {path}") == within, path
        assert matching(maps, "$within", f"root {path}") == "1"
        assert matching(maps, "$within", f"stranger {path}") == "0"


def test_every_change_is_another_generation(file: Path) -> None:
    seen = set()
    for rights in ("pull", "push", "admin"):
        put(file, "ci", f"ci:{HASH}", {"role": rights, "repositories": None})
        seen.add(matching(roles.maps(file).decode(), "$generation", ""))
    assert len(seen) == 3


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
