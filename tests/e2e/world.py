"""What the end-to-end tests do to the sandbox: run the real commands, look at the real machines."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox import Sandbox
from tests.sandbox.commands import ROOT
from tests.sandbox.demo import DOMAIN, fab, settings_text

DEPLOY_DIR = "/docker-registry"
USER = "demo"
PASSWORD = "correct: horse 'battery' $(staple)"
PROJECT = "private-docker-registry"


EXPIRE = f"""
cd {DEPLOY_DIR}/certbot/conf/live/{DOMAIN}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={DOMAIN} \\
    -addext subjectAltName=DNS:{DOMAIN} -not_before 20250101000000Z -not_after 20250401000000Z \\
    -keyout /tmp/key.pem -out /tmp/cert.pem 2>/dev/null
cat /tmp/cert.pem >"$(readlink -f cert.pem)"
cat /tmp/cert.pem >"$(readlink -f fullchain.pem)"
cat /tmp/key.pem >"$(readlink -f privkey.pem)"
"""


class World:
    """A sandbox, the settings of its server, and ways to use and to look at it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.settings = sandbox.directory / "settings.env"
        # Whose `./fab` is run.
        self.root = ROOT
        self._standard = ""

    @property
    def command(self) -> list[str]:
        """`./fab -H server`, for these settings."""
        words = fab(self.sandbox, self.settings)
        return [str(self.root / "fab") if word == str(ROOT / "fab") else word for word in words]

    def configure(self, **changes: str) -> None:
        """Write the operator's `.env`."""
        self.settings.write_text(settings_text(self.sandbox, **changes))

    def fab(
        self, *args: str, input: str = "", ok: bool | None = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `./fab -H server …` as a user would. ok: what the exit status must say, None for any."""
        done = subprocess.run(
            [*self.command, *args],
            input=input, capture_output=True, text=True, check=False, timeout=900, env={**os.environ, **(env or {})},
        )  # fmt: skip
        if ok is not None:
            assert (done.returncode == 0) == ok, f"{args} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def bootstrap(self, **changes: str) -> str:
        """The whole of it, with the standard settings but for these; then the account's password
        is PASSWORD.
        """
        self.configure(**changes)
        output = self.fab("bootstrap").stdout
        if self.login(USER, PASSWORD) != 200:
            self.fab("htpasswd", "--user", USER, input=PASSWORD + "\n")
        return output

    def standard(self, **changes: str) -> None:
        """Bootstrapped with the standard settings but for these; no more than a look where it is so
        already. Nothing of what went wrong before is remembered.
        """
        self.configure(**changes)
        self.server(f"rm -f {DEPLOY_DIR}/certbot/attempts.json")
        wanted = self.settings.read_text() + self._fingerprint()
        if wanted != self._standard:
            if self.server(f"test -f {DEPLOY_DIR}/.sync/manifest || echo foreign", check=False):
                self.clean()
            self.bootstrap(**changes)
            self._standard = self.settings.read_text() + self._fingerprint()

    def _fingerprint(self) -> str:
        """Of all that a bootstrap makes, but for the certificate: which one it is makes no difference."""
        found = self.server(
            f"cd {DEPLOY_DIR} && find . /etc/cron.d /etc/docker -type f ! -path './registry/data/*' "
            "! -path './certbot/*' ! -path './nginx/run/*' ! -path ./nginx/loaded ! -path './log/*' ! -name '.lock' "
            "! -path './page/data/*' ! -path './page/cache/*' ! -path ./page/state.json ! -path ./page/day "
            "! -name lock -exec sha256sum {} + | sort; docker ps --all --format '{{.ID}} {{.Names}} {{.State}}' | sort",
            check=False,
        )
        return f"{found}{self.status('/v2/')}"

    def server(self, script: str, *args: str, check: bool = True) -> str:
        """Run a shell script as root on the server, past our own tool."""
        return self.sandbox.exec("server", "sh", "-c", script, "sh", *args, check=check)

    def curl(self, path: str, *options: str, port: int = 443, name: str = DOMAIN) -> str:
        """What curl on this machine prints for a path of the registry."""
        published = self.sandbox.port(port)
        scheme = "https" if port == 443 else "http"
        argv = [
            "curl", "-sS", "--max-time", "30", "--cacert", str(self.sandbox.directory / "ca.pem"),
            "--resolve", f"{name}:{published}:127.0.0.1", *options, f"{scheme}://{name}:{published}{path}",
        ]  # fmt: skip
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    def status(self, path: str, *options: str, port: int = 443) -> int:
        """The HTTP status of a path; 0 when there was no answer."""
        try:
            return int(self.curl(path, "-o", "/dev/null", "-w", "%{http_code}", *options, port=port))
        except subprocess.CalledProcessError:
            return 0

    def login(self, user: str, password: str) -> int:
        """The HTTP status of `/v2/` for that account."""
        return self.status("/v2/", "-u", f"{user}:{password}")

    def begin_upload(self, repository: str, *login: str) -> str:
        """Begin to push a blob; returns the path, with its query, where it goes on."""
        place = self.curl(
            f"/v2/{repository}/blobs/uploads/", "-X", "POST", "-o", "/dev/null", "-w", "%header{location}", *login,
        )  # fmt: skip
        return "/" + place.split("/", 3)[3]

    def pushing(self, repository: str, file: Path, *options: str) -> subprocess.Popen[str]:
        """Begin to send a file as a blob; the process prints the answer and, in a last line, its status."""
        login = ("-u", f"{USER}:{PASSWORD}")
        port = self.sandbox.port(443)
        url = f"https://{DOMAIN}:{port}{self.begin_upload(repository, *login)}"
        return subprocess.Popen(
            ["curl", "-sS", "--cacert", str(self.sandbox.directory / "ca.pem"), "--resolve",
             f"{DOMAIN}:{port}:127.0.0.1", *options, "-X", "PATCH", "-T", str(file),
             "-H", "Content-Type: application/octet-stream", "-w", "\n%{http_code}", *login, url],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def arrived(self, repository: str) -> int:
        """Bytes of unfinished pushes to a repository that are on the registry's disk."""
        uploads = f"{DEPLOY_DIR}/registry/data/docker/registry/v2/repositories/{repository}/_uploads"
        return int(self.server(f"find {uploads} -name data -exec cat {{}} + | wc -c"))

    def push_blob(self, repository: str, content: bytes, *login: str) -> str:
        """Push a blob; returns its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        file = self.sandbox.directory / "blob"
        file.write_bytes(content)
        put = (
            "-X",
            "PUT",
            "-H",
            "Content-Type: application/octet-stream",
            "--data-binary",
            f"@{file}",
        )
        path = self.begin_upload(repository, *login)
        assert self.status(f"{path}&digest={digest}", *put, *login) == 201
        return digest

    def nginx_pid(self) -> str:
        """The process of nginx's master, as the server counts."""
        return self.server(f"docker inspect --format '{{{{.State.Pid}}}}' {PROJECT}-nginx-1").strip()

    def serial(self) -> str:
        """The serial of the certificate that clients get, as OpenSSL prints it."""
        port = self.sandbox.port(443)
        shown = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", DOMAIN],
            input="", capture_output=True, text=True, check=False,
        )  # fmt: skip
        printed = subprocess.run(
            ["openssl", "x509", "-noout", "-serial"],
            input=shown.stdout,
            capture_output=True,
            text=True,
            check=True,
        )
        return printed.stdout.strip().partition("=")[2]

    def expire(self) -> None:
        """Put a certificate that has expired in the place of the newest one on disk."""
        self.server(EXPIRE)

    def certificates(self) -> int:
        """How many certificates certbot ever got on this server: it numbers them, and keeps the last six."""
        names = self.server(f"ls {DEPLOY_DIR}/certbot/conf/archive/{DOMAIN}", check=False)
        return max(map(int, re.findall(r"^cert(\d+)\.pem$", names, re.M)), default=0)

    def containers(self) -> dict[str, str]:
        """Name -> ID of every container on the server."""
        rows = self.server("docker ps --all --no-trunc --format '{{.Names}} {{.ID}}'").splitlines()
        return dict(row.split(" ") for row in rows)

    def files(self) -> dict[str, str]:
        """Path -> inode, time and digest of every file of ours but data, logs and locks."""
        found = self.server(
            f"cd {DEPLOY_DIR} && find . /etc/cron.d /etc/docker -type f ! -path './registry/data/*' "
            "! -path './certbot/log/*' ! -path './log/*' ! -name '.lock' ! -name lock "
            "-exec stat -c '%n|%i %Y %a' {} + -exec sha256sum {} +"
        )
        facts: dict[str, str] = {}
        for line in found.splitlines():
            name, value = line.split("|") if "|" in line else line.split("  ")[::-1]
            facts[name] = facts.get(name, "") + value
        return facts

    def cut(self, running: subprocess.Popen[str]) -> str:
        """Cut the connection of a command that is at work, and see it end; what it said of that."""
        # Held still, so that no more is done while we are on our way.
        running.send_signal(signal.SIGSTOP)
        # The sessions, not the daemon that listens.
        self.server("pkill -KILL -f '[s]shd-session: root|[s]shd: root'", check=False)
        running.send_signal(signal.SIGCONT)
        _, errors = running.communicate(timeout=60)
        assert running.returncode == 1
        assert "the connection was lost" in errors
        return errors

    def clean(self) -> None:
        """A server on which nothing was ever deployed."""
        # What cron began writes there until it is done.
        running = f"{DEPLOY_DIR}/log/quota.running"
        self.server(
            f"rm -f /etc/cron.d/{PROJECT}; [ ! -e {running} ] || flock -w 60 {running} true; "
            "docker ps --all --quiet | xargs -r docker rm --force --volumes >/dev/null; "
            "docker network prune --force >/dev/null; "
            f"rm -rf {DEPLOY_DIR} /etc/{PROJECT} /etc/docker/certs.d"
        )
        self.sandbox.dns(DOMAIN, self.sandbox.address("server"))
        self.configure()


def own_copy(directory: Path) -> Path:
    """A copy of the tool, for what a person writes into its deploy/: other tests, beside this one, use the original."""
    copy = directory / "copy"
    left = shutil.ignore_patterns(".git", ".venv", ".sandbox", ".mypy_cache")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=left)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    return copy


def first(kinds: Iterable[Any], count: int = 1) -> list[Any]:
    """For `parametrize`: the others are much like the first ones, so they come with --long."""
    every = list(kinds)
    return [*every[:count], *(pytest.param(kind, marks=pytest.mark.long) for kind in every[count:])]


def with_mirror(world: World) -> None:
    """Let the server reach the packages of its distribution."""
    world.sandbox.dns("deb.debian.org", socket.gethostbyname("deb.debian.org"))


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Look again and again until it is so. Fails, and says what was waited for, when time is up."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(0.2)
