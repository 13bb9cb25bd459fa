"""known_hosts as ssh reads it: marked lines, hashed names, garbage, revoked keys."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest
from paramiko.ssh_exception import BadHostKeyException

from fabfile.errors import StepError
from fabfile.machine import hostkeys, ssh

NAME = "[192.0.2.1]:2222"


def ed25519(number: int) -> tuple[str, bytes]:
    """A public key: in text, and in bytes. Nobody has the private one."""
    raw = bytes([number]) * 32
    kind = b"ssh-ed25519"
    data = b"".join(len(part).to_bytes(4, "big") + part for part in (kind, raw))
    return f"ssh-ed25519 {base64.b64encode(data).decode()}", data


OLD, OLD_KEY = ed25519(1)
NEW, NEW_KEY = ed25519(2)


class Connection:
    """As much of a fabric connection as the look at host keys uses."""

    user, host, port, original_host, gateway = "root", "192.0.2.1", 2222, "server", None
    is_connected, connect_timeout = False, None

    def __init__(self, **ssh_config: str) -> None:
        self.config = SimpleNamespace(authentication=SimpleNamespace())
        self.ssh_config = {"globalknownhostsfile": "/nonexistent", **ssh_config}
        self.client = paramiko.SSHClient()
        self.connect_kwargs: dict[str, str] = {}
        self.shown = b""

    def open(self) -> None:
        """What paramiko does once the server has shown its key."""
        key = paramiko.PKey.from_type_string("ssh-ed25519", self.shown)
        known = self.client.get_host_keys().lookup(NAME)
        if known is None:
            hostkeys.Refuse().missing_host_key(None, NAME, key)
        if known["ssh-ed25519"] != key:
            raise BadHostKeyException(NAME, key, known["ssh-ed25519"])
        raise EOFError("accepted")


def learned(tmp_path: Path, text: str) -> tuple[list[bytes], hostkeys.Revoked]:
    """The keys of our host that are known, and the revoked ones."""
    file = tmp_path / "known_hosts"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    c: Any = Connection(userknownhostsfile=str(file))
    revoked = hostkeys.learn(c)
    known = c.client.get_host_keys().lookup(NAME)
    return [key.asbytes() for key in known.values()] if known else [], revoked


GARBAGE = """\

# a comment
@revoked
@revoked *
@revoked * ssh-ed25519
@revoked * ssh-ed25519 AAA
@REVOKED * ssh-ed25519
@unknown * ssh-ed25519 AAAA
one
two words
{NAME} ssh-ed25519 AAA
{NAME} ssh-ed25519 AAAA
{NAME} ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB
{NAME} ssh-unknown AAAA
{NAME} ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=
|1|x|y ssh-ed25519 AAAA
|1| {OLD}
|1|AAAA|BBBB {OLD}
\udcff\udcfe {OLD}
{NAME} ssh-ed25519 \udcff
""".replace("{NAME}", NAME).replace("{OLD}", OLD)


@pytest.mark.parametrize(
    ("text", "known", "revoked"),
    [
        (f"{NAME} {OLD}\n", [OLD_KEY], []),
        (f"other,{NAME}  {OLD} a comment\n", [OLD_KEY], []),
        (f"{paramiko.HostKeys.hash_host(NAME)} {OLD}\n", [OLD_KEY], []),
        (f"{paramiko.HostKeys.hash_host('other')} {OLD}\n", [], []),
        (f"192.0.2.1 {OLD}\n", [], []),
        (f"{NAME} {OLD}\n{NAME} {NEW}\n", [OLD_KEY], []),
        (f"@cert-authority * {OLD}\n", [], []),
        (f"@cert-authority * {OLD}\n{NAME} {NEW}\n", [NEW_KEY], []),
        (f"@revoked * {OLD}\n", [], [OLD_KEY]),
        (f"@revoked * {OLD}\n{NAME} {OLD}\n", [], [OLD_KEY]),
        (f"{NAME} {OLD}\n{NAME} {NEW}\n@revoked\tother\t{OLD}\r\n", [NEW_KEY], [OLD_KEY]),
        (f"{GARBAGE}{NAME} {OLD}\n", [OLD_KEY], []),
    ],
)
def test_lines_of_known_hosts(tmp_path: Path, text: str, known: list[bytes], revoked: list[bytes]) -> None:
    found, gone = learned(tmp_path, text)
    assert found == known
    assert list(gone) == revoked


@pytest.mark.parametrize(
    ("line", "shown", "words"),
    [
        (f"{NAME} {OLD}", OLD_KEY, "no SSH connection: accepted"),
        (f"{NAME} {OLD}", NEW_KEY, "has CHANGED"),
        ("", NEW_KEY, "unknown host key"),
        (f"@cert-authority * {OLD}", OLD_KEY, "unknown host key"),
        (f"{NAME} {OLD}\n@revoked * {OLD}", OLD_KEY, "was REVOKED in {file}; nothing was run"),
        (f"{NAME} {OLD}\n@revoked * {NEW}", NEW_KEY, "was REVOKED in {file}; nothing was run"),
        (f"{NAME} {OLD}\n@revoked * {NEW}", OLD_KEY, "no SSH connection: accepted"),
    ],
)
def test_whom_we_talk_to(tmp_path: Path, line: str, shown: bytes, words: str) -> None:
    """The line with a mark is in another file than the plain one."""
    plain, marked = tmp_path / "plain", tmp_path / "marked"
    lines = line.splitlines()
    plain.write_text("\n".join(each for each in lines if not each.startswith("@")))
    marked.write_text("\n".join(each for each in lines if each.startswith("@")))
    c: Any = Connection(userknownhostsfile=str(plain), globalknownhostsfile=str(marked))
    c.shown = shown
    with pytest.raises(StepError) as refused:
        ssh.connect(c)
    assert words.format(file=marked) in refused.value.what
    assert "\n" not in refused.value.what


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "known_hosts"
    file.touch()

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # to root nothing is forbidden
    c: Any = Connection(userknownhostsfile=str(file))
    with pytest.raises(StepError, match=f"{file}: Permission denied, so no host key"):
        hostkeys.learn(c)


def with_revoked(tmp_path: Path, content: bytes | None) -> Any:
    """A connection to a host whose key is known, with such a file for RevokedHostKeys; None: it is missing."""
    plain, listed = tmp_path / "plain", tmp_path / "revoked keys"
    plain.write_text(f"{NAME} {OLD}\n")
    if content is not None:
        listed.write_bytes(content)
    c = Connection(userknownhostsfile=str(plain), revokedhostkeys=str(listed))
    c.shown = OLD_KEY
    return c


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no SSH connection: accepted"),
        (f"# gone\n\n{NEW} somebody\n".encode(), "no SSH connection: accepted"),
        (f"{NEW}\r\n  {OLD} somebody@somewhere".encode(), "was REVOKED in {file}; nothing was run"),
        (None, "{file}: No such file or directory, so no host key can be checked"),
        (b"SSHKRL\n\0\0\0\0\1", "{file} (RevokedHostKeys) is a KRL"),
        (f"{NEW}\nnonsense\n".encode(), "{file}:2: no public key"),
        (b"\0\xff", "{file}:1: no public key"),
        (b"ssh-ed25519 AAA", "{file}:1: no public key"),
    ],
)
def test_revoked_host_keys(tmp_path: Path, content: bytes | None, words: str) -> None:
    with pytest.raises(StepError) as refused:
        ssh.connect(with_revoked(tmp_path, content))
    assert words.format(file=tmp_path / "revoked keys") in refused.value.what


def test_revoked_host_keys_none(tmp_path: Path) -> None:
    c = with_revoked(tmp_path, None)
    c.ssh_config["revokedhostkeys"] = "none"
    assert hostkeys.learn(c) == {}
