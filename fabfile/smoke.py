"""`push-test`: the proof. A real docker client logs in, pushes, pulls, and is refused."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from . import accounts, report
from .credentials import hashed
from .errors import StepError, UsageError
from .host import Host, here, last_words, require_deployed
from .onhost import registry
from .onhost.accounts import Rights
from .settings import Settings

REPOSITORY = "push-test"
REFUSED = re.compile(r"unauthorized|no basic auth credentials|\b401\b|access denied|authentication required", re.I)
UNTRUSTED = re.compile(r"x509: .*(unknown authority|not trusted)|certificate is not trusted", re.I)
NO_ENGINE = re.compile(
    r"docker: (command )?not found|Cannot connect to the Docker daemon|failed to connect to the docker API|permission denied.*docker",
    re.I,
)

REMEDY = "./fab -H … status looks at the server; push-test --from host tries from the server itself"

# Mark, name, text, seconds.
Tell = Callable[[str, str, str, float], None]


class UnusableEngineError(Exception):
    """The docker client of this machine cannot do the test; the text says why."""


@dataclass
class Receipt:
    """What was proven. Times in seconds; `digest` is the manifest's."""

    registry: str
    client: str = ""
    digest: str = ""
    ok: bool = False
    lines: list[dict[str, Any]] = field(default_factory=list)

    def json(self) -> str:
        """The receipt for a machine."""
        return json.dumps(asdict(self), indent=2)


class Test:
    """One push-test: the docker client of `machine` against the registry on `host`."""

    __test__ = False  # not a pytest class

    def __init__(self, host: Host, machine: Host, settings: Settings, tell: Tell, receipt: Receipt) -> None:
        self.host = host
        self.machine = machine
        self.settings = settings
        self.tell = tell
        self.receipt = receipt
        self.user = f"push-test-{int(time.time()):x}-{secrets.token_hex(4)}"
        self.password = secrets.token_urlsafe(24)
        self.reference = f"{settings.registry_domain}/{REPOSITORY}:{self.user}"
        self.undo = contextlib.ExitStack()
        self.docker: list[str] = []
        self.directory = ""

    def run(self) -> None:
        """Do it all, and leave nothing behind whatever happens."""
        with self.undo:
            self.prepare()
            self.no_credentials()
            self.account()
            self.wrong_password()
            self.login()
            digest = self.push()
            self.pull(digest)
            self.delete()
        self.receipt.digest = digest
        self.receipt.ok = True

    def prepare(self) -> None:
        """A directory for the client's configuration: the operator's own is never touched."""
        with self.line("client") as done:
            engine = self.machine.run(
                ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"],
                check=False,
            )
            if not engine.ok:
                raise UnusableEngineError("there is no docker client")
            endpoint = engine.stdout.strip()
            self.directory = self.machine.run(["mktemp", "-d"]).stdout.strip()
            self.undo.callback(self.machine.run, ["rm", "-rf", "--", self.directory], check=False)
            self.docker = ["docker", "--config", f"{self.directory}/config", "--host", endpoint]
            self.receipt.client = f"{self.machine.name} {endpoint}"
            try:
                self.sweep()
            except StepError as error:
                if NO_ENGINE.search(error.what):
                    raise UnusableEngineError("there is no Docker engine") from None
                raise
            done(f"{self.machine.name}, engine {endpoint}")

    def no_credentials(self) -> None:
        """Without credentials the registry says 401."""
        with self.line("no credentials") as done:
            try:
                done(self.refused("pull", self.reference))
            except UnusableEngineError:
                if self.machine is not self.host:
                    raise
                self.trust()
                done(self.refused("pull", self.reference) + "; Docker trusts the issuer for this test alone")

    def trust(self) -> None:
        """Make the server's own Docker trust the certificate until the test is over."""
        made = self.host.call(registry.trust, self.settings.registry_domain, self.certificate)
        self.undo.callback(self.host.call, registry.distrust, made)

    def account(self) -> None:
        """A temporary account; it goes when the test ends."""
        with self.line("account") as done:
            # Its password is random and lives for seconds: the cheapest hash will do.
            entry = hashed(self.user, self.password, cost=4)
            self.undo.callback(accounts.remove, self.host, self.settings, self.user)
            rights: Rights = {"role": "admin", "repositories": [REPOSITORY]}
            accounts.enter(self.host, self.settings, {self.user: entry}, rights, alone=True)
            done(f"{self.user}, until the end of this test")

    def wrong_password(self) -> None:
        """A wrong password is refused."""
        with self.line("wrong password") as done:
            done(self.refused(*self.login_command, password="not-" + self.password))

    def login(self) -> None:
        """The right one is taken."""
        with self.line("login") as done:
            self.client(*self.login_command, input=self.password)
            done("accepted")

    def push(self) -> str:
        """Push a layer that nobody has: about 1 KB of random bytes beside a file SUCCESS."""
        with self.line("push") as done:
            layer = f"{self.directory}/layer.tar"
            script = (
                'umask 077; mkdir "$1/layer"; head -c 1024 /dev/urandom >"$1/layer/random"; '
                'printf "%s\\n" "$2" >"$1/layer/SUCCESS"; tar -C "$1/layer" -cf "$1/layer.tar" SUCCESS random'
            )
            self.machine.run(["sh", "-c", script, "sh", self.directory, self.user])
            self.undo.callback(self.client, "image", "rm", self.reference, check=False)
            self.client("import", layer, self.reference)
            self.undo.callback(self.forget)
            digest = self.digest(self.client("push", self.reference))
            done(digest)
        return digest

    def pull(self, pushed: str) -> None:
        """Remove the image here, pull it back, and compare."""
        with self.line("pull") as done:
            self.client("image", "rm", self.reference)
            pulled = self.digest(self.client("pull", self.reference))
            if pulled != pushed:
                raise StepError(f"pushed {pushed}, but pulled {pulled}", "check the server's disk and its logs")
            done(f"{pulled}, equal")
        with self.line("SUCCESS") as done:
            self.undo.callback(self.client, "rm", self.user, check=False)
            self.client("create", "--name", self.user, self.reference, "/SUCCESS")
            self.client("cp", f"{self.user}:/SUCCESS", f"{self.directory}/back")
            if self.machine.run(["cat", f"{self.directory}/back"]).stdout.strip() != self.user:
                raise StepError("the file SUCCESS came back with another content", "check the server's disk")
            done("the file is in the pulled image")

    def delete(self) -> None:
        """Delete the manifest; the few bytes of the layer wait for garbage collection."""
        with self.line("delete") as done:
            status = self.forget()
            if status != 202:
                raise StepError(f"the manifest was not deleted: HTTP {status}", "./fab -H … logs")
            done("the manifest is gone from the registry")

    def forget(self) -> int:
        """Delete the manifest of our tag, if it is there. Returns the HTTP status."""
        return self.host.call(
            registry.delete_tag, self.settings.registry_domain, self.certificate, REPOSITORY,
            self.user, f"{self.user}:{self.password}",
        )  # fmt: skip

    def sweep(self) -> None:
        """Remove what an earlier test left when it was killed: trust, and images."""
        self.host.call(registry.sweep, self.settings.registry_domain)
        images = f"reference={self.settings.registry_domain}/{REPOSITORY}"
        for image in self.client("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", images).split():
            self.client("image", "rm", "--force", image, check=False)

    @property
    def certificate(self) -> str:
        """The chain that nginx runs, on the server."""
        return f"{self.settings.deploy_dir}/nginx/live/tls/fullchain.pem"

    @property
    def login_command(self) -> tuple[str, ...]:
        """`docker login`, with the password from standard input."""
        return ("login", "--username", self.user, "--password-stdin", self.settings.registry_domain)

    def client(self, *args: str, input: str = "", check: bool = True) -> str:
        """Run the docker client of the machine; return what it prints."""
        remedy = "" if self.machine is self.host else REMEDY
        return str(self.machine.run([*self.docker, *args], input=input, check=check, remedy=remedy).stdout)

    def refused(self, *args: str, password: str = "") -> str:
        """Run a docker command that the registry must refuse; return the client's words."""
        result = self.machine.run([*self.docker, *args], input=password, check=False)
        words = last_words(result)
        if result.ok:
            raise StepError(
                f"docker {args[0]} was allowed, but must be refused",
                "is the accounts file in use? ./fab -H … up",
            )
        if REFUSED.search(result.stderr):
            return "refused: " + words.rpartition(": ")[2].partition(" (exit")[0]
        if re.search(r"name unknown|manifest unknown", result.stderr):
            raise StepError("the registry answers without asking who we are", "./fab -H … up")
        if UNTRUSTED.search(result.stderr):
            raise UnusableEngineError("its Docker engine does not trust the certificate's issuer")
        if NO_ENGINE.search(result.stderr):
            raise UnusableEngineError("there is no Docker engine")
        raise StepError(
            f"docker {args[0]}: {words}",
            REMEDY,
        )

    def digest(self, output: str) -> str:
        """The manifest's digest in what push or pull printed."""
        found = re.search(r"[Dd]igest: (sha256:[0-9a-f]{64})", output)
        if not found:
            raise StepError("docker printed no digest", "run it again with --debug as the first option")
        return found[1]

    @contextlib.contextmanager
    def line(self, name: str) -> Iterator[Callable[[str], None]]:
        """Time a part of the test and tell it."""
        start = time.monotonic()
        texts: list[str] = []
        yield texts.append
        seconds = time.monotonic() - start
        self.receipt.lines.append({"name": name, "text": texts[-1], "seconds": round(seconds, 3)})
        self.tell("ok", name, texts[-1], seconds)


def push_test(host: Host, machine: Host, settings: Settings, tell: Tell, receipt: Receipt) -> None:
    """Prove with a docker client that the registry works, and leave nothing behind.

    machine: whose docker client to use. Where it has none, or its engine does not trust the issuer
    of the certificate, the server's own is used, and `tell` is told. Nobody else may be at work on
    the host. Raises StepError when a part of the proof fails; `receipt` then has what was proven.
    """
    require_deployed(host, settings.deploy_dir)
    try:
        Test(host, machine, settings, tell, receipt).run()
    except UnusableEngineError as reason:
        if machine is host:
            raise StepError(f"{host.name}: {reason}", "./fab -H … check") from None
        tell("warn", "client", f"{machine.name}: {reason}; going on from the server", 0.0)
        receipt.lines.clear()
        push_test(host, host, settings, tell, receipt)


def prove(host: Host, settings: Settings, *, source: str = "here", as_json: bool = False) -> None:
    """Run `push_test` and print its lines, or its receipt, on failure too.

    source: `here`, the docker client of the operator's machine, or `host`, the server's.
    """
    if source not in ("here", "host"):
        raise UsageError(f"--from {source}: expected here or host")

    def tell(mark: str, name: str, text: str, seconds: float) -> None:
        if not as_json:
            report.line(mark, "push-test", f"{name}: {text}", seconds)

    receipt = Receipt(settings.registry_domain)
    try:
        push_test(host, host if source == "host" else here(), settings, tell, receipt)
    finally:
        if as_json:
            print(receipt.json())
