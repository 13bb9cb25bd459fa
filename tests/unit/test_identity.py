"""Which agent and which keys a line of ssh_config means (ssh_config(5))."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from fabfile.machine.identity import agent_socket, place, public_half

ENVIRONMENT = {"SSH_AUTH_SOCK": "/run/inherited", "MINE": "/run/mine"}


@pytest.mark.parametrize(
    ("configured", "path"),
    [
        ("", "/run/inherited"),
        ("SSH_AUTH_SOCK", "/run/inherited"),
        ("none", ""),
        ("None", ""),
        ("$MINE", "/run/mine"),
        ("$NOBODYS", ""),
        ("${MINE}.2", "/run/mine.2"),
        ("/run/%r@%h-100%%", "/run/root@name-100%"),
        ("~/.agent.sock", str(Path.home() / ".agent.sock")),
    ],
)
def test_the_socket_of_the_agent(configured: str, path: str) -> None:
    assert agent_socket(configured, ENVIRONMENT, {"%%": "%", "%r": "root", "%h": "name"}) == path


def test_no_agent_at_all() -> None:
    assert agent_socket("", {}, {}) == ""


def test_the_file_that_a_word_names() -> None:
    assert place('"/a b/${MINE}"', ENVIRONMENT) == Path("/a b//run/mine")
    assert place("~/x") == Path.home() / "x"


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
@pytest.mark.parametrize("phrase", ["", "a passphrase"])
def test_the_public_half_of_a_key(tmp_path: Path, kind: str, phrase: str) -> None:
    """Of the private file too, which may need a passphrase, and when there is no other file beside it."""
    file = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", phrase, "-f", file], check=True)
    public = tmp_path / "key.pub"
    blob = base64.b64decode(public.read_text().split()[1])
    assert public_half(public) == blob
    public.rename(tmp_path / "elsewhere")
    assert public_half(file) == blob
    file.write_text("-----BEGIN RSA PRIVATE KEY-----\nMIIB\n")
    assert public_half(file) == b""
    (tmp_path / "elsewhere").rename(public)
    assert public_half(file) == blob


@pytest.mark.parametrize(
    "content", ["", "no key", "ssh-rsa ???", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END"]
)
def test_what_is_no_key(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    assert public_half(tmp_path / "key") == b""
    assert public_half(tmp_path / "none") == b""
