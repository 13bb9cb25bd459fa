"""`init`: the questions, on a real terminal; the host key; and that a second time changes nothing."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from fabfile.entries import raw
from fabfile.settings import SCHEMA
from tests.sandbox.commands import ROOT
from tests.sandbox.demo import DOMAIN

from .world import World

EMAIL = "operator@registry.test"


@dataclass
class Laptop:
    """A machine that has never seen the server: no settings, no host key."""

    world: World
    directory: Path

    @property
    def settings(self) -> Path:
        return self.directory / ".env"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "ssh" / "known_hosts"

    @property
    def command(self) -> list[str]:
        config = self.directory / "ssh_config"
        text = (self.world.sandbox.directory / "ssh_config").read_text()
        config.write_text(re.sub(r"(?m)^(\s+UserKnownHostsFile) .*$", rf"\1 {self.known_hosts}", text))
        return [str(ROOT / "fab"), "--ssh-config", str(config)]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "ENV_FILE": str(self.settings), "TERM": "dumb", "COLUMNS": "80"}

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Without a terminal."""
        return subprocess.run(
            [*self.command, *args], env=self.environment, input="", capture_output=True, text=True, check=False
        )

    def typed(self, *args: str) -> pexpect.spawn[str]:
        """On a terminal of 80 columns."""
        program, *options = [*self.command, *args]
        return pexpect.spawn(
            program, options, env=self.environment, encoding="utf-8", dimensions=(24, 80), timeout=60, echo=False
        )

    def fingerprint(self) -> str:
        shown = self.world.server("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
        return shown.split()[1]


@pytest.fixture
def laptop(deployed: World, tmp_path: Path) -> Laptop:
    return Laptop(deployed, tmp_path)


def finished(terminal: pexpect.spawn[str]) -> int:
    terminal.expect(pexpect.EOF)
    terminal.close()
    return int(terminal.exitstatus if terminal.exitstatus is not None else -1)


def test_the_questions_the_host_key_and_the_check(laptop: Laptop) -> None:
    terminal = laptop.typed("init")
    terminal.expect(r"The name of the registry, as in registry\.example\.com: ")
    terminal.sendline("https://registry.test")
    terminal.expect("expected a full domain name such as")
    terminal.expect("The name of the registry")
    terminal.sendline("Registry.TEST")
    terminal.expect(r"registry\.test has no address yet\. At your DNS provider: registry\.test A")
    terminal.expect("Your mail address, for the certificate authority: ")
    terminal.sendline(EMAIL)
    terminal.expect(r"The server, as in root@203\.0\.113\.5: ")
    terminal.sendline("server")
    terminal.expect("A test certificate first")
    terminal.sendline("perhaps")
    terminal.expect("A test certificate first")
    terminal.sendline("yes")
    terminal.expect("init +wrote")
    terminal.expect(r"server has the host key\s+ssh-ed25519")
    terminal.expect(re.escape(laptop.fingerprint()))
    terminal.expect("Is it the same")
    assert not laptop.known_hosts.exists()
    terminal.sendline("yes")
    terminal.expect("accepted, and written to")
    terminal.expect("what +found")
    terminal.expect(r"Next: \./fab bootstrap\r\n")
    assert finished(terminal) == 0

    assert stat.S_IMODE(laptop.settings.stat().st_mode) == 0o600
    text, schema = laptop.settings.read_text().splitlines(), SCHEMA.read_text().splitlines()
    assert [line for line in text if line not in schema] == [
        f"REGISTRY_DOMAIN={DOMAIN}", f"ACME_EMAIL={EMAIL}", "HOSTS=server", "ACME_SERVER=staging",
    ]  # fmt: skip
    assert [line for line in text if line.startswith("# ")] == [line for line in schema if line.startswith("# ")]
    assert len(text) == len(schema)

    # HOSTS is the server of every task that names none; what is proposed names none either.
    status = laptop.run("status", "--json")
    assert (status.returncode, status.stderr) == (0, "")
    failed = laptop.run("push-test", "--from", "nowhere")
    assert failed.returncode == 2
    missing = laptop.run("htpasswd", "--import", os.devnull)
    assert "-H" not in missing.stdout + missing.stderr

    before = (laptop.settings.read_bytes(), laptop.settings.stat(), laptop.known_hosts.read_bytes())
    again = laptop.run("init")
    assert again.returncode == 0, again.stderr
    assert f"{laptop.settings} is there already; nothing was changed" in again.stdout
    assert again.stdout.startswith("same ")
    assert (laptop.settings.read_bytes(), laptop.settings.stat(), laptop.known_hosts.read_bytes()) == before


def test_a_host_key_that_is_not_accepted_is_not_kept(laptop: Laptop) -> None:
    options = ("init", "--domain", DOMAIN, "--email", EMAIL, "--server", "server")
    terminal = laptop.typed(*options)
    terminal.expect("A test certificate first")
    terminal.sendline("")
    terminal.expect("Is it the same")
    terminal.sendline("")
    terminal.expect(r"it\s+was\s+not\s+accepted")
    assert finished(terminal) == 1
    assert not laptop.known_hosts.exists()
    # The answers are not lost.
    assert raw(laptop.settings)["HOSTS"] == "server"

    refused = laptop.run(*options)
    assert refused.returncode == 1
    assert f"then add --fingerprint {laptop.fingerprint()}" in refused.stderr
    other = laptop.run(*options, "--fingerprint", "SHA256:" + "A" * 43)
    assert other.returncode == 1
    assert not laptop.known_hosts.exists()
    done = laptop.run(*options, "--fingerprint", laptop.fingerprint())
    assert done.returncode == 0, done.stderr
    assert "accepted, and written to" in done.stdout


def test_a_line_that_somebody_left_open_in_known_hosts_is_closed(laptop: Laptop) -> None:
    laptop.known_hosts.parent.mkdir()
    laptop.known_hosts.write_text("other.example ssh-ed25519 AAAA")
    options = ("init", "--domain", DOMAIN, "--email", EMAIL, "--server", "server")
    assert laptop.run(*options, "--fingerprint", laptop.fingerprint()).returncode == 0
    lines = laptop.known_hosts.read_text().splitlines()
    assert len(lines) == 2
    assert lines[0] == "other.example ssh-ed25519 AAAA"


def test_without_a_terminal_nobody_is_asked(laptop: Laptop) -> None:
    refused = laptop.run("init", "--email", EMAIL)
    assert refused.returncode == 2
    assert "error: this is no terminal, so nobody can be asked; expected --domain, --server\n" in refused.stderr
    bad = laptop.run("init", "--domain", "192.0.2.1", "--email", EMAIL, "--server", "server")
    assert bad.returncode == 2
    assert "error: --domain: '192.0.2.1': expected a full domain name" in bad.stderr
    assert not laptop.settings.exists()


def test_the_end_of_the_input_writes_nothing(laptop: Laptop) -> None:
    terminal = laptop.typed("init")
    terminal.expect("The name of the registry")
    terminal.sendeof()
    terminal.expect("no answer; nothing was written")
    assert finished(terminal) == 2
    assert not laptop.settings.exists()


def test_an_untouched_copy_is_filled_in_and_other_settings_are_kept(laptop: Laptop) -> None:
    options = ("init", "--domain", DOMAIN, "--email", EMAIL, "--server", "server")
    laptop.settings.write_bytes(SCHEMA.read_bytes())
    assert "wrote" in laptop.run(*options).stdout
    mine = laptop.settings.read_text() + "# mine\n"
    laptop.settings.write_text(mine)
    other = laptop.run("init", "--domain", "other.test")
    assert other.returncode == 2
    assert f"{laptop.settings} is there and says something else of REGISTRY_DOMAIN" in other.stderr
    assert laptop.settings.read_text() == mine
