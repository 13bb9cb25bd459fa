"""The base image without an image registry: Debian 13 from a Debian mirror, by debootstrap."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .commands import SandboxError, Say, apt_install, apt_update, logged

SUITE = "trixie"
MIRROR = os.environ.get("SANDBOX_DEBIAN_MIRROR", "http://deb.debian.org/debian")
# Debian's keys; on Ubuntu debootstrap does not bring them, and then it would check nothing by itself.
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# What the official slim image leaves out as well (debuerreotype: .slimify-excludes).
USELESS = ("var/lib/apt/lists", "var/cache/apt", "usr/share/doc", "usr/share/man",
           "usr/share/locale", "usr/share/info", "var/log")  # fmt: skip
DPKG_EXCLUDES = """\
path-exclude /usr/share/doc/*
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/info/*
"""


def import_base(tag: str, say: Say) -> None:
    """Make the image `tag` on this machine's engine; everything on the way is removed."""
    _need_debootstrap(say)
    with tempfile.TemporaryDirectory(prefix="registry-sandbox-") as name:
        root = Path(name) / "root"
        checked = ["--force-check-gpg", f"--keyring={KEYRING}"]
        logged(["debootstrap", *checked, "--variant=minbase", SUITE, str(root), MIRROR])
        _slim(root)
        _import(root, tag)


def _need_debootstrap(say: Say) -> None:
    if os.geteuid() != 0:
        raise SandboxError(
            "No image registry answers, and only root can make the images from Debian's "
            "packages: run the same command with sudo."
        )
    if shutil.which("debootstrap") and KEYRING.is_file():
        return
    if not shutil.which("apt-get"):
        raise SandboxError(
            f"No image registry answers: install debootstrap and Debian's keys ({KEYRING}), and try again."
        )
    apt_update()
    # gpgv: Debian 13 has another program for apt, and an older debootstrap does not know that one.
    apt_install(say, "debootstrap", "debian-archive-keyring", "gpgv")


def _slim(root: Path) -> None:
    for path in USELESS:
        shutil.rmtree(root / path, ignore_errors=True)
        (root / path).mkdir(parents=True)
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(DPKG_EXCLUDES)
    # Packages must not start their daemons while an image is built, and dpkg need not fsync.
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    (root / "etc/dpkg/dpkg.cfg.d/quick").write_text("force-unsafe-io\n")
    (root / "etc/apt/sources.list").write_text(
        f"deb {MIRROR} {SUITE} main\n"
        f"deb {MIRROR} {SUITE}-updates main\n"
        f"deb {MIRROR.rstrip('/')}-security {SUITE}-security main\n"
    )


def _import(root: Path, tag: str) -> None:
    command = ["docker", "import", "--change", 'CMD ["bash"]', "-", tag]
    tar = subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE)
    done = subprocess.run(command, stdin=tar.stdout, capture_output=True, text=True, check=False)
    if tar.wait() != 0 or done.returncode != 0:
        raise SandboxError(f"docker import failed: {done.stderr.strip()}")
