"""A real nginx with our configuration, for tests and for `./inv lint`: the one on PATH, or the sandbox's image.

It runs as whoever calls it, so three things are other than on a server: the user, the ports, and the directory of
the sockets.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fabfile import layout
from fabfile.accounts.onhost import accounts_conf, sessions
from fabfile.settings import Settings
from fabfile.stack import templates
from fabfile.stack.capacity import Capacity, derived
from tests.sandbox.commands import output, succeeds
from tests.sandbox.images import source_image

SERVER = derived({"cores": 2, "memory": 1 << 30})
START_SECONDS = 20
# Of the page's sessions.
SECRET, DAY = "of-the-tests", 20_000
MANDATORY = "REGISTRY_DOMAIN=registry.example.org\nACME_EMAIL=you@example.org\nREGISTRY_USER=admin\n"


@cache
def where() -> str:
    """What runs nginx here: a program, the sandbox's image in Docker, or "" for nothing."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program:
        return program
    image = source_image("nginx")
    return image if succeeds("docker", "image", "inspect", image) else ""


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A directory for configurations: with a short name, as names of sockets have 107 characters at most."""
    directory = Path(tempfile.mkdtemp(prefix="nginx-", dir="/tmp"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def write(
    directory: Path,
    settings: Settings,
    accounts: Path,
    *,
    capacity: Capacity = SERVER,
    override: str = "",
    sections: templates.Sections = (),
) -> dict[str, int]:
    """The configuration as `up` puts it together, with a certificate; returns the port for each of a server's.

    accounts: the accounts file. override: an override.conf; that of the operator has no part in it.
    """
    tree = templates.tree(settings, capacity, sections=sections)
    files = {
        name.removeprefix("nginx/"): file.content.decode()
        for name, file in tree.items()
        if name.startswith("nginx/") and name.endswith(".conf")
    }
    files |= {"accounts.conf": accounts_conf.maps(accounts).decode(), "override.conf": override}
    if page := files.get("page.conf"):
        files["sessions.conf"] = sessions.maps(accounts, page.encode(), SECRET, DAY).decode()
    certificate, key = pair()
    files |= {"tls/fullchain.pem": certificate, "tls/privkey.pem": key}
    for below in ("tls", "run", "uses", "full", "metrics", "page/data", "sockets/registry", "sockets/auth"):
        (directory / below).mkdir(parents=True, exist_ok=True)
    if layout.PAGE_SHELL in tree:
        (directory / layout.PAGE_SHELL).write_bytes(tree[layout.PAGE_SHELL].content)
    ports = free_ports("80", "443", "8080")
    for name, text in files.items():
        (directory / name).write_text(_adapted(text, directory, ports))
    return ports


def _adapted(text: str, directory: Path, ports: Mapping[str, int]) -> str:
    # Of root's children too, or they could not enter the directory.
    text = re.sub(r"^user .*;$", "" if os.geteuid() else "user root;", text, flags=re.M)
    text = re.sub(r"(?<=[ :])/(run|sockets|uses)/", rf"{directory}/\1/", text)
    text = text.replace(layout.Inside.FULL, f"{directory}/full").replace(layout.Inside.METRICS, f"{directory}/metrics")
    text = re.sub(rf"(?<= ){layout.Inside.CACHE}(?= )", f"{directory}/cache", text)
    for trusted in (layout.Inside.TRUSTED, layout.Inside.STORE_TRUST):
        text = text.replace(f" {trusted};", f" {directory}/tls/fullchain.pem;")
    text = re.sub(rf"(?<= ){layout.Inside.PAGE}(?=[/;])", f"{directory}/page", text)
    text = re.sub(rf"(?<=[ =]){layout.Inside.BLOBS}(?=;)", f"{directory}/blobs", text)
    return re.sub(r"\blisten (127\.0\.0\.1:)?(\d+)", lambda port: f"listen {ports[port[2]]}", text)


def refused(directory: Path) -> dict[str, str]:
    """What nginx says against each configuration below a directory that it does not take: {name: error}."""
    script = 'for d in "$0"/*/; do nginx -e stderr -t -q -c "$d/nginx.conf" 2>"$d/told" || echo "$d"; done'
    argv = ["sh", "-c", script, str(directory)]
    if Path(where()).is_absolute():
        found = output(*argv, env={"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin"})
    else:
        found = output("docker", "run", "--rm", *_as_caller(directory), "--entrypoint", "sh", where(), *argv[1:])
    return {Path(name).name: (Path(name) / "told").read_text().strip() for name in found.split()}


@contextlib.contextmanager
def running(directory: Path, port: int) -> Iterator[None]:
    """nginx with the configuration in a directory, as long as the block lasts; it listens on that port."""
    nginx = ["-e", "stderr", "-c", f"{directory}/nginx.conf", "-g", "daemon off;"]
    argv = [where(), *nginx]
    if not Path(where()).is_absolute():
        options = ["--publish", f"127.0.0.1:{port}:{port}", *_as_caller(directory), "--entrypoint", "nginx"]
        argv = ["docker", "run", "--rm", *options, where(), *nginx]
    log, pid = directory / "log", directory / "run/nginx.pid"
    pid.unlink(missing_ok=True)
    with log.open("w") as told, subprocess.Popen(argv, stdout=told, stderr=told) as process:
        try:
            _wait(process, pid, log)
            yield
        finally:
            # Docker's client passes it on, and removes the container.
            process.terminate()
            process.wait(START_SECONDS)


def _as_caller(directory: Path) -> list[str]:
    return ["--user", f"{os.geteuid()}:{os.getegid()}", "--volume", f"{directory}:{directory}"]


def _wait(process: subprocess.Popen[bytes], pid: Path, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    # It is there once nginx has taken the configuration and has its sockets.
    while not pid.exists():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"nginx did not start:\n{log.read_text()}")
        time.sleep(0.02)


def written(log: Path, before: int, count: int) -> list[str]:
    """The lines of a log behind the first ones, once there are so many: nginx writes each after its answer has gone."""
    end = time.monotonic() + 10
    while len(lines := log.read_text().splitlines()[before:]) < count and time.monotonic() < end:
        time.sleep(0.02)
    return lines


def free_ports(*names: str) -> dict[str, int]:
    """A port of this machine that nobody has, for each name."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}


@cache
def pair() -> tuple[str, str]:
    """A certificate that nobody signed, and its key."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return self_signed("registry.example.org", now + datetime.timedelta(days=1))


def self_signed(domain: str, end: datetime.datetime) -> tuple[str, str]:
    """A certificate that nobody signed, valid for 90 days until then, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, domain)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(days=90))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem).decode(), secret.decode()
