"""Who we are to a server: the keys and the password, in the order in which ssh shows them (ssh_config(5)).

paramiko by itself knows one agent, that of SSH_AUTH_SOCK, shows all of its keys whatever IdentitiesOnly says,
and gives up at an IdentityFile that is not there.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paramiko import BadAuthenticationType, ECDSAKey, Ed25519Key, Message, PKey, RSAKey, Transport
from paramiko.agent import AgentSSH
from paramiko.ssh_exception import AuthenticationException, PasswordRequiredException, SSHException

if TYPE_CHECKING:
    from fabric import Connection

# What ssh looks for where no IdentityFile is named (ssh(1), -i).
DEFAULTS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
BY_PASSWORD = {"password", "keyboard-interactive"}
# How a private key in OpenSSH's own form begins; its public half stands there in the clear (PROTOCOL.key).
OPENSSH = re.compile(r"-----BEGIN OPENSSH PRIVATE KEY-----(.+?)-----END", re.S)
MAGIC = b"openssh-key-v1\0"


class NotLetInError(AuthenticationException):
    """The server took nothing of what we have. `login` knows why."""

    def __init__(self, login: Login) -> None:
        super().__init__("nothing was accepted")
        self.login = login


class NamedAgent(AgentSSH):
    """The agent behind that socket."""

    def __init__(self, path: str) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
            self._connect(connection)  # type: ignore[attr-defined]
        except (OSError, SSHException):
            connection.close()
            raise


class Login:
    """The authentication of a connection: what paramiko calls an AuthStrategy, for fabric's `strategy_class`."""

    def __init__(self, c: Connection, **_: object) -> None:
        given, self.configured = c.connect_kwargs, c.ssh_config
        self.user = str(c.user)
        self.password: str | None = given.get("password")
        # As paramiko itself: who gives one of the two means both.
        self.passphrase: str | None = given.get("passphrase") or self.password
        inherited = self.configured.get("identityfile", [])
        self.typed = [place(name) for name in given.get("key_filename", []) if name not in inherited]
        self.named = [place(name) for name in inherited if name.lower() != "none"]
        self.implied = not self.typed and not inherited
        if self.implied:
            self.named = [path for name in DEFAULTS if (path := Path("~/.ssh").expanduser() / name).exists()]
        self.tried = 0
        self.hung_up = False
        self.takes: set[str] = set()
        # Files of keys: not there or not to be read; with a passphrase; not opened by it; without a private half.
        self.missing: list[str] = []
        self.locked: list[Path] = []
        self.unopened: list[Path] = []
        self.public: list[Path] = []
        self.agent_trouble = ""

    def authenticate(self, transport: Transport) -> list[str]:
        """Show one after the other, until one is taken. Raises NotLetInError when none is."""
        if self.password and self._taken(transport, self._by_password(transport)):
            return []
        for key in self._keys():
            more = self._shown(transport, key)
            if self.hung_up or (self.takes and "publickey" not in self.takes):
                break
            if self._taken(transport, more):
                return []
        # Some servers let in whom they know by other means; and the answer says what is taken.
        if transport.is_active() and not self.takes and self._taken(transport, self._by_nothing(transport)):
            return []
        raise NotLetInError(self)

    def _taken(self, transport: Transport, more: list[str] | None) -> bool:
        """more: what the server wants besides, None when it refused."""
        if more and BY_PASSWORD & set(more):
            if self.password:
                more = self._by_password(transport)
            else:
                with self._refusals(transport):
                    more = transport.auth_interactive_dumb(self.user)
        return more is not None and not more

    def _shown(self, transport: Transport, key: PKey) -> list[str] | None:
        self.tried += 1
        with self._refusals(transport):
            return transport.auth_publickey(self.user, key)
        return None

    def _by_password(self, transport: Transport) -> list[str] | None:
        with self._refusals(transport):
            return transport.auth_password(self.user, str(self.password))
        return None

    def _by_nothing(self, transport: Transport) -> list[str] | None:
        with self._refusals(transport):
            return transport.auth_none(self.user)
        return None

    @contextlib.contextmanager
    def _refusals(self, transport: Transport) -> Iterator[None]:
        try:
            yield
        except BadAuthenticationType as error:
            self.takes = set(error.allowed_types)
        except (SSHException, OSError, EOFError):  # of the agent, too
            # After too many refusals sshd hangs up (MaxAuthTries).
            self.hung_up = not transport.is_active()

    def _keys(self) -> Iterator[PKey]:
        """In ssh's order (sshconnect2.c, pubkey_prepare), but that what `-i` names is not behind strange keys."""
        agent = self._agent()
        held = {key.blob: key for key in agent.get_keys()} if agent else {}
        listed = {path: public_half(path) for path in (*self.typed, *self.named)}
        for blob in dict.fromkeys(listed.values()):
            if blob in held:
                yield held[blob]
        yield from self._files(self.typed, listed, held)
        if str(self.configured.get("identitiesonly", "no")).lower() != "yes":
            yield from (key for blob, key in held.items() if blob not in listed.values())
        yield from self._files(self.named, listed, held)

    def _files(self, paths: list[Path], listed: dict[Path, bytes], held: dict[bytes, Any]) -> Iterator[PKey]:
        for path in dict.fromkeys(paths):
            if listed[path] not in held and (key := self._opened(path)):
                yield key

    def _opened(self, path: Path) -> PKey | None:
        """The key in a file; None, and a note why, where there is none to be had."""
        try:
            content = path.read_bytes()
        except OSError as error:
            self.missing.append(f"{path}: {error.strerror}")
            return None
        if b"PRIVATE KEY" not in content:
            self.public.append(path)
            return None
        try:
            key = self._private(path)
        except PasswordRequiredException:
            self.locked.append(path)
            return None
        if key:
            return key
        self.unopened.append(path)
        return None

    def _private(self, path: Path) -> PKey | None:
        """The private key in a file, with the certificate beside it. Raises PasswordRequiredException."""
        for kind in (RSAKey, ECDSAKey, Ed25519Key):
            try:
                key = kind.from_private_key_file(str(path), self.passphrase)
                if (certificate := Path(f"{path}-cert.pub")).is_file():
                    key.load_certificate(str(certificate))
            except PasswordRequiredException:
                raise
            except Exception:
                key = None  # ssh passes over it, too; paramiko says of it whatever its parser stumbled over
            if key:
                return key
        return None

    def _agent(self) -> NamedAgent | None:
        path = agent_socket(self.configured.get("identityagent", ""), dict(os.environ), self._tokens())
        if not path:
            return None
        try:
            return NamedAgent(path)
        except (OSError, SSHException) as error:
            self.agent_trouble = f"{path}: {getattr(error, 'strerror', None) or error}"
            return None

    def _tokens(self) -> dict[str, str]:
        name = str(self.configured.get("hostname", ""))
        port, home = str(self.configured.get("port", 22)), str(Path.home())
        return {
            "%%": "%",
            "%d": home,
            "%h": name,
            "%p": port,
            "%r": self.user,
            "%i": str(os.getuid()),
            "%u": Path.home().name,
        }

    def why(self, ssh: str, root: str) -> tuple[str, str]:
        """What to say when nothing was taken, and what to do.

        ssh: the command that does the same by ssh; root: how to name the server as root, or ''.
        """
        what, remedy = self._hurdle() or self._refused(f"does `{ssh}` work?")
        return what, remedy + (f"; or as root: ./fab -H {root} …" if root else "")

    def _hurdle(self) -> tuple[str, str] | None:
        """What stood in the way of a key that may be the right one."""
        if self.hung_up:
            return (
                f"the server hung up after {self.tried} of your keys: it takes no more tries",
                "show it the right one first: -i KEY, or in ~/.ssh/config IdentityFile KEY and IdentitiesOnly yes",
            )
        if self.unopened and self.passphrase:
            file = self.unopened[0]
            return f"your SSH key {file} does not open with this passphrase", f"type it again, or: ssh-add {file}"
        if self.locked:
            file = self.locked[0]
            return f"your SSH key {file} has a passphrase", f"ssh-add {file}, or add --prompt-for-passphrase"
        return None

    def _refused(self, ask: str) -> tuple[str, str]:
        by_password = bool(BY_PASSWORD & self.takes)
        if self.password:
            what = "takes no password" if self.takes and not by_password else "does not take this password"
            return f"the server {what}, nor a key of yours", f"{ask} If so, type the password again"
        prompt = "; or add --prompt-for-login-password" if by_password else ""
        if self.takes and "publickey" not in self.takes:
            return "the server takes no SSH key", f"{ask}{prompt}"
        if self.tried:
            return f"the server does not accept your SSH key{self._notes()}", f"{ask} ssh-copy-id sets it up{prompt}"
        what = f"you have no SSH key to show{self._notes()}"
        return what, f"{ask} ssh-keygen makes a key, ssh-copy-id brings it there{prompt}"

    def _notes(self) -> str:
        """Why a key that was named is none."""
        notes = [f"there is no SSH key {text}" for text in self.missing]
        notes += [f"{path} is a public key, and no agent has the private one" for path in self.public]
        notes += [f"{path} is no key that can be read" for path in self.unopened]
        notes += [f"the agent does not answer, {self.agent_trouble}"] if self.agent_trouble else []
        return f": {'; '.join(notes)}" if notes else ""


def agent_socket(configured: str, environment: dict[str, str], tokens: dict[str, str]) -> str:
    """The socket of the agent, '' for none: IdentityAgent, or else SSH_AUTH_SOCK (ssh_config(5)).

    tokens: what stands for `%d` and the like.
    """
    if configured.lower() == "none":
        return ""
    if configured in ("", "SSH_AUTH_SOCK"):
        return environment.get("SSH_AUTH_SOCK", "")
    if configured.startswith("$") and not configured.startswith("${"):
        return environment.get(configured[1:], "")
    text = re.sub(r"%.", lambda found: tokens.get(found[0], found[0]), configured)
    return str(place(text, environment))


def place(name: object, environment: dict[str, str] | None = None) -> Path:
    """The file that a word of ssh_config or behind -i names."""
    known = os.environ if environment is None else environment
    text = re.sub(r"\$\{(\w+)\}", lambda found: known.get(found[1], found[0]), str(name).strip('"'))
    return Path(text).expanduser()


def public_half(path: Path) -> bytes:
    """The public key of a file, public or private, or of the one beside it; b"" where it is not known."""
    for file in (path, Path(f"{path}.pub")):
        with contextlib.suppress(OSError, ValueError):
            text = file.read_bytes().decode("utf-8")
            if private := OPENSSH.search(text):
                return _public_of_private(base64.b64decode(private[1]))
            words = text.split(maxsplit=2)
            if len(words) > 1 and words[0].startswith(("ssh-", "ecdsa-", "sk-")):
                return base64.b64decode(words[1], validate=True)
    return b""


def _public_of_private(data: bytes) -> bytes:
    if not data.startswith(MAGIC):
        return b""
    message = Message(data[len(MAGIC) :])
    for _ in ("cipher", "kdf", "its options"):
        message.get_string()
    message.get_int()
    return bytes(message.get_string())
