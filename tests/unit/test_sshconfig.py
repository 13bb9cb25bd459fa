"""What an Include line of ~/.ssh/config brings, as ssh itself understands it."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import paramiko
import pytest

from fabfile.machine.sshconfig import whole

FILES = {
    "config": "User first\nInclude TOP/one.conf\nPort 1022\nHost a\n  Include=TOP/of-a\n  User never\nHost *\n"
    "  Include \"TOP/d/*.conf\" TOP/none\n  ConnectTimeout 7\nHost b\n HostName b.example.org\n",
    "one.conf": "# global\nHost a\n  HostName a.example.org\n  IdentityFile /a\n",
    "of-a": "IdentityAgent /of-a\n",
    "d/1.conf": "Host c\n  HostName c.example.org\n",
    "d/2.conf": "Host b\n  IdentityAgent /of-b\nHost c\n  HostName never.example.org\nInclude TOP/config\n",
}  # fmt: skip
KEYS = ("hostname", "user", "port", "identityagent", "connecttimeout")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text.replace("TOP", str(tmp_path)))
    (tmp_path / "config").chmod(0o600)
    return tmp_path / "config"


def test_what_is_included_counts(config: Path) -> None:
    """One includes the file that includes it: that ends, too."""
    text = FILES["d/2.conf"].replace("Include TOP/config\n", "")
    (config.parent / "d/2.conf").write_text(text)
    found = paramiko.SSHConfig.from_text(whole(config))
    assert {key: found.lookup("a").get(key) for key in KEYS} == {
        "hostname": "a.example.org", "user": "first", "port": "1022", "identityagent": "/of-a", "connecttimeout": "7",
    }  # fmt: skip
    assert found.lookup("b")["hostname"] == "b.example.org"
    assert found.lookup("b")["identityagent"] == "/of-b"
    assert "identityagent" not in found.lookup("c")
    assert found.lookup("c")["hostname"] == "c.example.org"


def test_a_circle_ends(config: Path) -> None:
    (config.parent / "d/2.conf").unlink()
    (config.parent / "one.conf").write_text(f"Include {config}\nHost a\n  HostName a.example.org\n")
    (config.parent / "d/1.conf").unlink()
    assert paramiko.SSHConfig.from_text(whole(config)).lookup("a")["hostname"] == "a.example.org"


def test_what_is_included_for_one_host_says_nothing_of_others(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(f"Host a\n  Include {tmp_path}/more\n  Port 3\nHost z\n  Port 4\n")
    (tmp_path / "more").write_text("User of-a\nHost z\n  User never\n")
    found = paramiko.SSHConfig.from_text(whole(tmp_path / "config"))
    assert (found.lookup("a")["user"], found.lookup("a")["port"]) == ("of-a", "3")
    assert "user" not in found.lookup("z")
    assert found.lookup("z")["port"] == "4"


@pytest.mark.skipif(not shutil.which("ssh"), reason="there is no ssh")
@pytest.mark.parametrize("host", ["a", "b", "c", "d"])
def test_it_is_as_ssh_has_it(config: Path, host: str) -> None:
    text = FILES["d/2.conf"].replace("Include TOP/config\n", "")
    (config.parent / "d/2.conf").write_text(text)
    told = subprocess.run(["ssh", "-G", "-F", config, host], capture_output=True, text=True, check=True).stdout
    ssh = dict(line.split(" ", 1) for line in told.splitlines() if " " in line)
    parsed = paramiko.SSHConfig()
    parsed.parse(io.StringIO(whole(config)))
    ours = parsed.lookup(host)
    for key in KEYS:
        if key in ours:
            assert ours[key] == ssh[key], key
        else:
            # What nobody set is ssh's default.
            assert ssh.get(key, "") in ("", "none", "SSH_AUTH_SOCK")
