"""The proof: a real docker client logs in, pushes, pulls, and is refused."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, TypedDict

from .. import layout
from ..accounts.onhost.accounts_file import Rights
from ..accounts.passwords import hashed
from ..errors import StepError
from ..machine.conversation import last_line
from ..machine.host import Host, last_words
from ..secret import Secret
from ..settings import Settings
from ..stack import logins
from ..stack.onhost.images import unwarned
from .onhost import api

if TYPE_CHECKING:
    from invoke import Result

REPOSITORY = "push-test"
REFUSED = re.compile(r"unauthorized|no basic auth credentials|\b401\b|access denied|authentication required", re.I)
UNTRUSTED = re.compile(r"x509: .*(unknown authority|not trusted)|certificate is not trusted", re.I)
NO_ENGINE = re.compile(
    r"docker: (command )?not found|Cannot connect to the Docker daemon|failed to connect to the docker API", re.I
)
NO_PERMISSION = re.compile(r"permission denied.*(docker|\.sock)", re.I)

REMEDY = "./fab -H … status looks at the server; push-test --from host tries from the server itself"

# Mark, name, text, seconds.
Tell = Callable[[str, str, str, float], None]


def short(text: str) -> str:
    """The text with twelve digits of each digest, as docker shows them."""
    return re.sub(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}", r"\1", text)


class UnusableEngineError(Exception):
    """The docker client of this machine cannot do the test; the text says why."""


class Line(TypedDict):
    """A part of the proof."""

    name: str
    text: str
    seconds: float


@dataclass
class Receipt:
    """What was proven. Times in seconds; `digest` is the manifest's."""

    registry: str
    client: str = ""
    digest: str = ""
    ok: bool = False
    lines: list[Line] = field(default_factory=list)

    def json(self) -> str:
        """The receipt for a machine."""
        return json.dumps(asdict(self), indent=2)


def _first(error: StepError) -> BaseException:
    """What went wrong first: taking things back afterwards may go wrong too, and is not the news."""
    first: BaseException = error
    while isinstance(first.__context__, (StepError, UnusableEngineError, KeyboardInterrupt)):
        first = first.__context__
    if first is not error and isinstance(first, StepError):
        first.add(f"not all could be taken back: {error.what}")
    return first


class Proof:
    """The docker client of `machine` against the registry on `host`."""

    def __init__(self, host: Host, machine: Host, settings: Settings, tell: Tell, receipt: Receipt) -> None:
        self.host = host
        self.machine = machine
        self.settings = settings
        self.tell = tell
        self.receipt = receipt
        self.user = f"push-test-{int(time.time()):x}-{secrets.token_hex(4)}"
        self.password = Secret(secrets.token_urlsafe(24))
        self.reference = f"{settings.registry_domain}/{REPOSITORY}:{self.user}"
        self.undo = contextlib.ExitStack()
        self.docker: list[str] = []
        self.directory = ""
        self.pushed = ""

    def run(self) -> None:
        """Do it all, and leave nothing behind whatever happens."""
        parts: tuple[tuple[str, Callable[[], str]], ...] = (
            ("client", self.prepare),
            ("no credentials", self.no_credentials),
            ("account", self.account),
            ("wrong password", self.wrong_password),
            ("login", self.login),
            ("push", self.push),
            ("pull", self.pull),
            ("SUCCESS", self.compare),
            ("delete", self.delete),
        )
        try:
            with self.undo:
                for name, part in parts:
                    self.do(name, part)
        except StepError as error:
            raise _first(error) from None
        self.receipt.digest = self.pushed
        self.receipt.ok = True

    def do(self, name: str, part: Callable[[], str]) -> None:
        """Time a part of the proof and tell what it found."""
        start = time.monotonic()
        text = part()
        seconds = time.monotonic() - start
        self.receipt.lines.append({"name": name, "text": text, "seconds": round(seconds, 3)})
        self.tell("ok", name, short(text), seconds)

    def prepare(self) -> str:
        """A directory for the client's configuration: the operator's own is never touched."""
        script = 'docker --version || exit; docker context inspect --format "{{.Endpoints.docker.Host}}"'
        client = self.machine.run(["sh", "-c", script], check=False)
        version, _, endpoint = client.stdout.strip().partition("\n")
        if "podman" in version.lower():
            raise UnusableEngineError(f"docker is Podman there ({version})")
        if not client.ok or not endpoint:
            raise UnusableEngineError("there is no docker client")
        self.directory = self.machine.run(["mktemp", "-d"]).stdout.strip()
        self.undo.callback(self.machine.run, ["rm", "-rf", "--", self.directory], check=False)
        self.docker = ["docker", "--config", f"{self.directory}/config", "--host", endpoint]
        self.receipt.client = f"{self.machine.name} {endpoint}"
        self.sweep()
        return f"{self.machine.name}, engine {endpoint}"

    def no_credentials(self) -> str:
        """Without credentials the registry says 401."""
        try:
            return self.refused("pull", self.reference)
        except UnusableEngineError:
            if self.machine is not self.host:
                raise
        self.trust()
        return self.refused("pull", self.reference) + "; Docker trusts the issuer for this test alone"

    def trust(self) -> None:
        """Make the server's own Docker trust the certificate until the test is over."""
        made = self.host.call(api.trust, self.settings.registry_domain, self.certificate)
        self.undo.callback(self.host.call, api.distrust, made)

    def account(self) -> str:
        """A temporary account; it goes when the test ends."""
        # Its password is random and lives for seconds: the cheapest hash will do.
        entry = hashed(self.user, self.password, cost=4)
        self.undo.callback(logins.remove, self.host, self.settings, self.user)
        rights: Rights = {"role": "admin", "repositories": [REPOSITORY]}
        logins.enter(self.host, self.settings, {self.user: entry}, rights, alone=True)
        return f"{self.user}, until the end of this test"

    def wrong_password(self) -> str:
        """A wrong password is refused."""
        return self.refused(*self.login_command, password="not-" + self.password.reveal())

    def login(self) -> str:
        """The right one is taken."""
        self.client(*self.login_command, input=self.password.reveal())
        return "accepted"

    def push(self) -> str:
        """Push a layer that nobody has: about 1 KB of random bytes beside a file SUCCESS."""
        layer = f"{self.directory}/layer.tar"
        script = (
            'umask 077; mkdir "$1/layer"; head -c 1024 /dev/urandom >"$1/layer/random"; '
            'printf "%s\\n" "$2" >"$1/layer/SUCCESS"; tar -C "$1/layer" -cf "$1/layer.tar" SUCCESS random'
        )
        self.machine.run(["sh", "-c", script, "sh", self.directory, self.user])
        self.undo.callback(self.client, "image", "rm", self.reference, check=False)
        self.client("import", layer, self.reference)
        self.undo.callback(self.forget)
        self.pushed = self.digest(self.client("push", self.reference))
        return self.pushed

    def pull(self) -> str:
        """Remove the image here and pull it back: its digest is the same."""
        self.client("image", "rm", self.reference)
        pulled = self.digest(self.client("pull", self.reference))
        if pulled != self.pushed:
            raise StepError(
                f"pushed {short(self.pushed)}, but pulled {short(pulled)}", "check the server's disk and its logs"
            )
        return f"{pulled}, equal"

    def compare(self) -> str:
        """The file is in the image that came back, as it was."""
        self.undo.callback(self.client, "rm", self.user, check=False)
        self.client("create", "--name", self.user, self.reference, "/SUCCESS")
        self.client("cp", f"{self.user}:/SUCCESS", f"{self.directory}/back")
        if self.machine.run(["cat", f"{self.directory}/back"]).stdout.strip() != self.user:
            raise StepError("the file SUCCESS came back with another content", "check the server's disk")
        return "the file is in the pulled image"

    def delete(self) -> str:
        """Delete the manifest; the few bytes of the layer wait for garbage collection."""
        status = self.forget()
        if status != 202:
            raise StepError(f"the manifest was not deleted: HTTP {status}", "./fab -H … logs")
        return "the manifest is gone from the registry"

    def forget(self) -> int:
        """Delete the manifest of our tag, if it is there. Returns the HTTP status."""
        return self.host.call(
            api.delete_tag, self.settings.registry_domain, self.certificate, REPOSITORY,
            self.user, f"{self.user}:{self.password.reveal()}",
        )  # fmt: skip

    def sweep(self) -> None:
        """Remove what an earlier test left when it was killed: trust, and images."""
        self.host.call(api.sweep, self.settings.registry_domain)
        images = f"reference={self.settings.registry_domain}/{REPOSITORY}"
        asked = ("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", images)
        left = self.machine.run([*self.docker, *asked], check=False)
        if not left.ok:
            self.require_engine(left)
            raise StepError(f"{self.machine.name}: docker: {last_words(left)}", self.remedy)
        for image in left.stdout.split():
            self.client("image", "rm", "--force", image, check=False)

    @property
    def certificate(self) -> str:
        """The chain that nginx runs, on the server."""
        return f"{self.settings.deploy_dir}/{layout.LIVE}/{layout.TLS}/{layout.FULLCHAIN}"

    @property
    def login_command(self) -> tuple[str, ...]:
        """`docker login`, with the password from standard input."""
        return ("login", "--username", self.user, "--password-stdin", self.settings.registry_domain)

    def client(self, *args: str, input: str = "", check: bool = True) -> str:
        """Run the docker client of the machine; return what it prints."""
        return str(self.machine.run([*self.docker, *args], input=input, check=check, remedy=self.remedy).stdout)

    @property
    def remedy(self) -> str:
        """What to try when a command of the client fails: from the server, unless it was the server's."""
        return "" if self.machine is self.host else REMEDY

    def refused(self, *args: str, password: str = "") -> str:
        """Run a docker command that the registry must refuse; return the client's words."""
        result = self.machine.run([*self.docker, *args], input=password, check=False)
        if result.ok:
            raise StepError(
                f"docker {args[0]} was allowed, but must be refused",
                "is the accounts file in use? ./fab -H … up",
            )
        said = unwarned(result.stderr)
        if REFUSED.search(said):
            return "refused: " + last_line(said, result.stdout).rpartition(": ")[2]
        if re.search(r"name unknown|manifest unknown", said):
            raise StepError("the registry answers without asking who we are", "./fab -H … up")
        if UNTRUSTED.search(said):
            raise UnusableEngineError("its Docker engine does not trust the certificate's issuer")
        self.require_engine(result)
        raise StepError(
            f"docker {args[0]}: {last_words(result)}",
            REMEDY,
        )

    def require_engine(self, failed: Result) -> None:
        """Raise UnusableEngineError where a command failed because this machine's engine is not to be had."""
        said = unwarned(failed.stderr)
        if NO_PERMISSION.search(said):
            raise UnusableEngineError(
                "you may not use Docker there: sudo usermod --append --groups docker $USER, then log in again"
            )
        if NO_ENGINE.search(said):
            raise UnusableEngineError("there is no Docker engine")

    def digest(self, output: str) -> str:
        """The manifest's digest in what push or pull printed."""
        found = re.search(r"[Dd]igest: (sha256:[0-9a-f]{64})", output)
        if not found:
            raise StepError("docker printed no digest", "run it again with --debug as the first option")
        return found[1]
