"""One sandbox: its containers, and the files by which the operator's machine reaches them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .commands import SandboxError, Say, output, succeeds
from .engine import engine_answers, ensure_engine
from .images import PREFIX, STACK, ensure_images, source_image, stack_image
from .keys import make_key_pair

PUBLISHED = {22: "SANDBOX_SSH_PORT", 80: "SANDBOX_HTTP_PORT", 443: "SANDBOX_HTTPS_PORT"}
ROOTS = {"ca.pem": 15000, "root-b.pem": 15001, "root-c.pem": 15002}
SERVICES = ("ca", "server", "client")
START_SECONDS = 60
LONGEST_SOCKET = 107  # sun_path has 108 bytes with its final NUL: unix(7)

SSH_CONFIG = """\
Host server
    HostName 127.0.0.1
    Port {port}
    User root
    IdentityFile "{directory}/id_ed25519"
    IdentitiesOnly yes
    UserKnownHostsFile "{directory}/known_hosts"
    StrictHostKeyChecking yes
"""


class Sandbox:
    """A server, a client and three test authorities in containers on this machine."""

    compose_file = Path(__file__).parent / "compose.yml"

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.directory = root.resolve() / ".sandbox" / name
        digest = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:8]
        self.project = f"registry-{name}-{digest}"

    @property
    def client_socket(self) -> Path:
        """Where this machine finds the client's Docker: `DOCKER_HOST=unix://<this>`."""
        here = self.directory / "client" / "docker.sock"
        if len(os.fsencode(here)) <= LONGEST_SOCKET:
            return here
        return Path(tempfile.gettempdir()) / f"{self.project}-{os.getuid()}" / "docker.sock"

    @property
    def environment(self) -> dict[str, str]:
        """What compose.yml wants to know; complete after `begin`."""
        key = self.directory / "id_ed25519.pub"
        variables = {
            "COMPOSE_PROJECT_NAME": self.project,
            "SANDBOX_SOCKET_DIR": str(self.client_socket.parent),
            "SANDBOX_PUBLIC_KEY": key.read_text().strip() if key.exists() else "",
        }
        for port, variable in PUBLISHED.items():
            variables[variable] = str(self._ports().get(port, 0))
        return variables

    def begin(self) -> None:
        """Make the files that must be there before the containers: keys, ports, directories."""
        self.directory.mkdir(parents=True, exist_ok=True)
        _private_directory(self.client_socket.parent)
        if not (self.directory / "id_ed25519").exists():
            make_key_pair(self.directory / "id_ed25519", f"{PREFIX}/machine")
        if not self._ports():
            (self.directory / "ports.json").write_text(json.dumps(free_ports(len(PUBLISHED))))

    def up(self, say: Say) -> None:
        """Start it, from nothing if need be; for one that is up already, see that it is whole."""
        ensure_engine(say)
        ensure_images(say)
        self.begin()
        say(f"starting the sandbox {self.name}: a server, a client, test authorities and DNS")
        try:
            self.compose("up", "--detach", "--quiet-pull")
            self.wait()
        except SandboxError as error:
            log = self.directory / "compose.log"
            log.write_text(self.compose("logs", "--no-color", check=False))
            raise SandboxError(f"{error}\nThe containers' output is in {log}") from None
        self.prepare(say)

    def ready(self) -> bool:
        """Whether everything in the containers answers."""
        return all(succeeds("docker", "exec", self.container(name), "healthy", name) for name in SERVICES)

    def wait(self) -> None:
        """Until it is ready."""
        end = time.monotonic() + START_SECONDS
        while not self.ready():
            if time.monotonic() > end:
                raise SandboxError(f"The sandbox is not ready after {START_SECONDS} seconds.")
            time.sleep(0.1)

    def prepare(self, say: Say) -> None:
        """With the containers ready: give the server the stack's images, write how to reach it."""
        for name, port in ROOTS.items():
            url = f"https://localhost:{port}/roots/0"
            self._write(name, self.exec("ca", "curl", "-fsSk", url))
        self._write("acme-ca.pem", self.exec("ca", "cat", "/pebble/acme-ca.pem"))
        # Asked of the container itself, not of the network: this one can be trusted.
        host_key = self.exec("server", "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
        kind, key = host_key.split()[:2]
        self._write("known_hosts", f"[127.0.0.1]:{self.port(22)} {kind} {key}\n")
        config = SSH_CONFIG.format(port=self.port(22), directory=self.directory)
        self._write("ssh_config", config)
        self._load_images(say)

    def down(self) -> None:
        """Remove every trace of it from this machine; no error when there is none."""
        if engine_answers():
            self.compose("--profile", "store", "down", "--volumes", "--remove-orphans")
        elif self.directory.exists():
            raise SandboxError(
                "No Docker engine answers, so the sandbox's containers cannot be removed: start "
                "Docker and run the same command again."
            )
        shutil.rmtree(self.client_socket.parent, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def exec(self, service: str, *argv: str, input: str | None = None, check: bool = True) -> str:
        """Run a program as root in the container of `ca`, `server` or `client`."""
        return output("docker", "exec", "-i", self.container(service), *argv, stdin=input, check=check)

    def dns(self, name: str, *addresses: str) -> None:
        """Let `name` have these addresses, IPv4 or IPv6, and no others; with none it is gone."""
        for kind, colon in (("a", False), ("aaaa", True)):
            chosen = [address for address in addresses if (":" in address) == colon]
            self._record(kind, name, {"addresses": chosen} if chosen else {})

    def caa(self, name: str, *values: str) -> None:
        """Let only these authorities issue for `name`, as its CAA records say; with none, anyone.

        Pebble itself does not look.
        """
        policies = [{"tag": "issue", "value": value} for value in values]
        self._record("caa", name, {"policies": policies} if policies else {})

    def authority(self, seconds: int) -> str:
        """Start another authority, at port 14003 and behind the proxy at 14007, whose certificates are
        valid for so many seconds; one that was started before ends. Returns its root, as PEM.
        """
        script = 'test ! -f d.pid || kill "$(cat d.pid)"; while curl -so /dev/null 127.0.0.1:14003; do sleep 0.1; done'
        self.exec("ca", "sh", "-c", f"cd /pebble; {script}", check=False)
        output("docker", "exec", "--detach", self.container("ca"), "authority", "d", "3", str(seconds))
        retry = ("--retry", "50", "--retry-delay", "1", "--retry-all-errors")
        return self.exec("ca", "curl", "-fsSk", *retry, "https://localhost:15003/roots/0")

    def bound_authority(self, kid: str, key: str) -> str:
        """Start an authority that makes an account only for whoever has this key (EAB). Returns its directory URL."""
        return self._pebble(4, {"externalAccountBindingRequired": True, "externalAccountMACKeys": {kid: key}})

    def authority_of_two_chains(self) -> tuple[str, list[str]]:
        """Start an authority whose certificates end at one root or at another. Returns its directory URL, and the
        common names of the roots, that of the chain which it offers first before the other.
        """
        url = self._pebble(5, {}, "PEBBLE_ALTERNATE_ROOTS=1")
        name = "curl -fsSk https://localhost:15005/roots/{} | openssl x509 -noout -subject -nameopt multiline"
        shown = [self.exec("ca", "sh", "-c", name.format(number)) for number in (0, 1)]
        return url, [text.partition("commonName")[2].partition("= ")[2].strip() for text in shown]

    def _pebble(self, number: int, more: dict[str, object], environment: str = "") -> str:
        """Start one more authority, on ports that end in that number. Returns its directory URL."""
        config = {
            "listenAddress": f"0.0.0.0:1400{number}", "managementListenAddress": f"0.0.0.0:1500{number}",
            "certificate": "acme.pem", "privateKey": "acme.key", "httpPort": 80, "tlsPort": 443, **more,
        }  # fmt: skip
        script = (
            f"cd /pebble; cat >{number}.json; export PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 {environment}; "
            f"setsid pebble -config {number}.json -dnsserver 127.0.0.1:53 >/dev/null 2>&1 & "
            f"curl -fsSk --retry 50 --retry-delay 1 --retry-all-errors -o /dev/null https://localhost:1400{number}/dir"
        )
        self.exec("ca", "sh", "-c", script, input=json.dumps({"pebble": config}))
        return f"https://acme.test:1400{number}/dir"

    def fault(self, name: str | None, *, port: int = 14009, **options: object) -> None:
        """Let the proxy on `port` do that to what it is asked, until it is told None.

        14009 leads to the authority at 14000, 14008 to the one at 14002, 14007 to `authority`. Names and their options
        are in images/ca/proxy; with each, `count` is for so many requests only, and `path` for
        those whose path starts so.
        """
        told = json.dumps({"port": port, "fault": name, **options})
        self._proxy("/fault", "-d", "@-", input=told)

    def acme_log(self) -> list[dict[str, Any]]:
        """What the proxy was asked: port, method, path, time, status (None: not yet, 0: hung up)."""
        log: list[dict[str, Any]] = json.loads(self._proxy("/log"))
        return log

    def clear_acme_log(self) -> None:
        """Count orders and certificates from now on."""
        self._proxy("/log", "-X", "DELETE")

    def orders(self, port: int = 14009) -> int:
        """How often the proxy was asked for a new order, whatever it answered, or not yet."""
        return len(self._posts(port, "/order-plz"))

    def issued(self, port: int = 14009) -> int:
        """How many orders of certificates went through."""
        return self._posts(port, "/finalize-order/").count(200)

    def address(self, service: str) -> str:
        """The IPv4 address of a container on the sandbox's network."""
        return self.exec(service, "hostname", "-i").split()[0]

    def container(self, service: str) -> str:
        """Name of the container, for `docker restart` and the like."""
        return f"{self.project}-{service}-1"

    def port(self, container_port: int) -> int:
        """The port of 127.0.0.1 that leads to the server's port 22, 80 or 443."""
        return self._ports()[container_port]

    def _record(self, kind: str, name: str, value: dict[str, object]) -> None:
        """Replace the records of that kind in the DNS; with no value there are none."""
        url = f"http://127.0.0.1:8055/%s-{kind}"  # pebble-challtestsrv: its README
        curl = ("curl", "-fsS", "-d", "@-")
        host = {"host": f"{name}."}
        self.exec("ca", *curl, url % "clear", input=json.dumps(host))
        if value:
            self.exec("ca", *curl, url % "add", input=json.dumps(host | value))

    def _proxy(self, path: str, *options: str, input: str | None = None) -> str:
        # All on one stream: what it says of a mistake is in its answer.
        curl = ("curl", "-sS", "--fail-with-body", "--stderr", "-", *options)
        return self.exec("ca", *curl, f"http://127.0.0.1:8056{path}", input=input)

    def _posts(self, port: int, path: str) -> list[int | None]:
        """What was answered to the POSTs to `port` whose path starts so."""
        return [
            entry["status"]
            for entry in self.acme_log()
            if (entry["port"], entry["method"]) == (port, "POST") and entry["path"].startswith(path)
        ]

    def compose(self, *argv: str, check: bool = True) -> str:
        """Run `docker compose` for these containers."""
        file = str(self.compose_file)
        return output(
            "docker",
            "compose",
            "--progress=quiet",
            "-f",
            file,
            *argv,
            env=self.environment,
            check=check,
        )

    def _ports(self) -> dict[int, int]:
        try:
            chosen = json.loads((self.directory / "ports.json").read_text())
        except FileNotFoundError:
            return {}
        return dict(zip(PUBLISHED, chosen, strict=True))

    def _write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def _load_images(self, say: Say) -> None:
        """Carry the stack's images into the server's own engine, as no registry has them."""
        ask = ("docker", "image", "inspect", "--format", "{{.Id}}")
        there = self.exec("server", *ask, *map(stack_image, STACK), check=False)
        if output(*ask, *map(source_image, STACK)) == there:
            return
        say("carrying the stack's images to the server")
        self.carry_stack()

    def carry_stack(self, *engine: str) -> None:
        """Give the server's own engine, or another one, the stack's images. engine: the command that asks it."""
        asked = engine or ("docker", "exec", "-i", self.container("server"), "docker")
        self.carry(*map(source_image, STACK), engine=asked)
        for name in STACK:
            output(*asked, "tag", source_image(name), stack_image(name))

    def carry(self, *images: str, engine: tuple[str, ...] = ()) -> None:
        """Give the server's own engine, or another one, images of this machine's."""
        asked = engine or ("docker", "exec", "-i", self.container("server"), "docker")
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as save:
            load = [*asked, "load", "--quiet"]
            done = subprocess.run(load, stdin=save.stdout, capture_output=True, text=True, check=False)
        if save.returncode or done.returncode:
            raise SandboxError(f"It did not take {' '.join(images)}: {done.stderr.strip()}")


def free_ports(count: int) -> list[int]:
    """Ask the kernel for ports that nobody has, all at once so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _private_directory(path: Path) -> None:
    """Make it for this user alone; whoever can open the socket in it rules that engine."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise SandboxError(f"{path} belongs to somebody else: remove it and try again.")
    path.chmod(0o700)
