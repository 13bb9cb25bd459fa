"""The first minute of a server: others install things, half of what is needed is there, a person is impatient."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pexpect
import pytest

from tests.sandbox.commands import ROOT

from .test_bare import Bare, bare
from .world import wait_until

__all__ = ["bare"]  # a fixture

PROVISION = (ROOT / "fabfile/machine/onhost/provision.sh").read_text()
SLOW = """\
mkdir -p /root/slow/DEBIAN && cd /root/slow
printf 'Package: slow\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@b.c>\\nDescription: slow\\n' >DEBIAN/control
printf '#!/bin/sh\\nuntil [ -e /root/enough ]; do sleep 0.2; done\\n' >DEBIAN/postinst
chmod 755 DEBIAN/postinst && dpkg-deb --build . /root/slow.deb
"""


@contextmanager
def provisioning(bare: Bare, task: str = "provision") -> Iterator[subprocess.Popen[str]]:
    """A task at work, whose standard error can be read."""
    with subprocess.Popen(
        bare.command(task), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as running:
        yield running


def told(running: subprocess.Popen[str], words: str) -> str:
    """The line of standard error in which these words come."""
    assert running.stderr is not None
    before = ""
    for line in running.stderr:
        if words in line:
            return line
        before += line
    raise AssertionError(f"{words!r} was not told: {before}")


def check(bare: Bare) -> subprocess.CompletedProcess[str]:
    return subprocess.run(bare.command("check"), capture_output=True, text=True, check=False)


def row(shown: str, name: str) -> str:
    found = re.search(rf"(?m)^(\S+ +{name} .*)$", shown)
    assert found is not None, shown
    return re.sub("  +", "  ", found[1])


def background(bare: Bare, script: str) -> None:
    subprocess.run(["docker", "exec", "--detach", bare.name, "sh", "-c", script], check=True)


def test_somebody_elses_apt_is_waited_for_and_named(bare: Bare) -> None:
    """First boot: apt-get update holds the lists; then another apt configures a package; both are real."""
    looked = check(bare)
    assert looked.returncode == 0, looked.stdout + looked.stderr
    for name in ("docker", "compose", "python", "cron"):
        assert (
            row(looked.stdout, name)
            == f"warn  {name}  missing  bootstrap installs it; alone: ./fab -H server provision"
        )

    background(bare, "exec apt-get -o Acquire::http::Dl-Limit=5 update")
    lists = "grep -q :$(stat -c %i /var/lib/apt/lists/lock): /proc/locks && echo held"
    wait_until(lambda: "held" in bare.shell(lists, check=False) or "update" in processes(bare), "it is at work")
    time.sleep(1)
    # What it says when nobody lets it in, from the server itself.
    argv = ["docker", "exec", "-i", bare.name, "sh", "-s", "--", "os", "2", "2", "17"]
    done = subprocess.run(argv, input=PROVISION, capture_output=True, text=True, check=True)
    assert re.search(
        r"doing waiting for apt-get .*update \(process \d+\), which works with apt's packages", done.stdout
    )
    assert re.search(
        r"refused apt-get .* \(process \d+\) works with apt's packages, and has not ended for 2 s", done.stdout
    )
    assert re.search(
        r"remedy wait for it \(on the server: ps \d+ shows it\), then \./fab -H … provision again", done.stdout
    )
    with provisioning(bare) as running:
        told(running, "provision: reading the lists of packages")
        line = told(running, "waiting for")
        assert re.search(
            r"^provision: waiting for apt-get .*update \(process \d+\), which works with apt's packages$", line.strip()
        )
        bare.shell("kill $(grep -la [D]l-Limit=5 /proc/[0-9]*/cmdline | cut -d/ -f3)", check=False)
        out, err = running.communicate(timeout=300)
        assert running.returncode == 0, (out, err)
        assert "provision: installing docker.io" in err
        assert "installed docker.io" in out

    bare.shell(SLOW)
    bare.shell("service cron stop; apt-get remove -qq cron >/dev/null 2>&1; rm -f /root/enough")
    background(bare, "exec apt-get install -y /root/slow.deb")
    wait_until(lambda: bare.shell("dpkg --audit") != "", "it is being configured")
    with provisioning(bare) as running:
        line = told(running, "waiting for")
        assert re.search(r"waiting for \S.* \(process \d+\), which works with apt's packages", line), line
        bare.shell("touch /root/enough")
        out, err = running.communicate(timeout=300)
        assert running.returncode == 0, (out, err)
        assert "installed cron" in re.sub(" +", " ", out)


def processes(bare: Bare) -> str:
    return bare.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '", check=False)


@pytest.mark.long
def test_what_is_half_there_is_made_whole(bare: Bare) -> None:
    """Docker without Compose, and a Python without its library; with a shell that is not POSIX."""
    bare.shell("apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-minimal >/dev/null 2>&1")
    looked = check(bare)
    assert looked.returncode == 0
    assert re.search(
        r"^warn  python  3\.\d+, without .*shutil.*bootstrap installs the package python3", row(looked.stdout, "python")
    )
    assert "installed" in bare.fab("provision")
    assert row(check(bare).stdout, "python").startswith("ok  python  3.")

    bare.shell("dpkg --remove --force-depends docker-compose >/dev/null 2>&1; ! docker compose version 2>/dev/null")
    bare.fab("sync")
    refused = subprocess.run(bare.command("status"), capture_output=True, text=True, check=False)
    assert "Docker Compose version 2 is missing" in refused.stderr
    assert "-> ./fab -H server provision" in refused.stderr
    looked = check(bare)
    assert looked.returncode == 0
    assert row(looked.stdout, "compose").startswith("warn  compose  missing  bootstrap installs it")
    assert "installed docker-compose" in re.sub(" +", " ", bare.fab("provision"))
    assert row(check(bare).stdout, "compose").startswith("ok  compose  2.")
    assert re.search(r"^same .* Docker, Compose, cron, Python and rsync are there", bare.fab("provision"))

    bare.shell("apt-get install -qq -y --no-install-recommends tcsh fish >/dev/null 2>&1")
    for shell in ("/bin/tcsh", "/usr/bin/fish"):
        bare.shell(f"usermod --shell {shell} root")
        assert check(bare).returncode == 0
        bare.fab("sync")
        assert "equal" in bare.fab("bootstrap")


def test_one_interrupt_is_answered_at_once(bare: Bare) -> None:
    """In the middle of apt, on a terminal; then the same command again."""
    argv = bare.command("provision")

    # Whoever runs the tests in the background has it ignored, and so would this.
    def ours() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    environment = {**os.environ, "TERM": "dumb"}
    terminal = pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=120, env=environment, preexec_fn=ours)
    terminal.expect("provision: installing")
    began = time.monotonic()
    terminal.sendintr()
    terminal.expect("stopping…", timeout=2)
    terminal.expect("interrupted: run the same command again", timeout=10)
    terminal.expect(pexpect.EOF, timeout=10)
    took = time.monotonic() - began
    terminal.close()
    assert terminal.exitstatus == 130
    assert took < 5
    assert "installed" in bare.fab("provision")
    assert row(check(bare).stdout, "docker").startswith("ok")


@pytest.mark.long
def test_podman_under_the_name_of_docker_is_named(bare: Bare) -> None:
    bare.shell(
        "apt-get update -qq && apt-get install -qq -y --no-install-recommends podman podman-docker python3 "
        ">/dev/null 2>&1"
    )
    looked = check(bare)
    assert looked.returncode == 1
    assert row(looked.stdout, "docker").startswith("failed  docker  Podman under the name of docker")
    assert "apt-get remove podman-docker" in looked.stdout
    done = subprocess.run(bare.command("provision"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Podman goes by the name of docker here" in done.stderr
    assert "-> apt-get remove podman-docker" in done.stderr
    bare.shell("apt-get remove -qq -y podman-docker >/dev/null 2>&1")
    assert "installed docker.io" in bare.fab("provision")
