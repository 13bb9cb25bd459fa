"""The host keys that are known on this machine, and those that were revoked, as ssh reads them (sshd(8)); and what is
said of one that is neither known nor right.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import paramiko
from paramiko.hostkeys import HostKeyEntry
from paramiko.ssh_exception import BadHostKeyException, SSHException

from ..errors import StepError

if TYPE_CHECKING:
    from fabric import Connection

KNOWN = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
KNOWN_TO_ALL = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
# How a binary list of revoked keys begins (PROTOCOL.krl).
KRL = b"SSHKRL\n\0"

# Key as bytes -> the file that revokes it.
Revoked = dict[bytes, Path]


class Refuse(paramiko.MissingHostKeyPolicy):
    """Refuse a host whose key nobody vouches for, and show the key's fingerprint."""

    def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> NoReturn:
        """Called by paramiko after the key exchange and before authentication."""
        raise UnknownHostKeyError(hostname, key)


class UnknownHostKeyError(SSHException):
    """The host's key is in no known_hosts file."""

    def __init__(self, hostname: str, key: paramiko.PKey) -> None:
        super().__init__(hostname)
        self.key = key


class UnknownServerError(StepError):
    """The same for a person; key and connection: for whoever may accept it."""

    def __init__(self, what: str, remedy: str, connection: Connection, key: paramiko.PKey) -> None:
        super().__init__(what, remedy)
        self.connection = connection
        self.key = key


def learn(c: Connection) -> Revoked:
    """Give the client of `c` the known keys of its host; return the keys that no host may have any more.

    A revoked key is not given to the client, whatever other line has it, so that paramiko refuses it before
    authentication. Certificates of hosts are unknown to paramiko: @cert-authority says nothing here.
    Raises StepError where a file cannot be read.
    """
    revoked = _listed(c.ssh_config.get("revokedhostkeys", "none"))
    found: list[paramiko.PKey] = []
    for path in known_hosts(c):
        if path.is_file():
            lines = _lines(_bytes(path))
            revoked |= dict.fromkeys(_revoked(lines), path)
            found += _known(lines, known_name(c))
    keys = c.client.get_host_keys()
    for key in found:
        kind, there = key.get_name(), keys.lookup(known_name(c)) or {}
        # Of two of a kind paramiko takes the first.
        if key.asbytes() not in revoked and kind not in there:
            keys.add(known_name(c), kind, key)
    return revoked


def remember(c: Connection, key: paramiko.PKey) -> Path:
    """Add the key of its host to the first known_hosts file of this user; returns the file.

    Raises StepError where that cannot be written.
    """
    path = known_hosts(c)[0]
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = path.read_bytes() if path.is_file() else b""
        # Somebody's editor may have left the last line without its end.
        start = "" if before.endswith(b"\n") or not before else "\n"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as file:
            file.write(f"{start}{known_name(c)} {key.get_name()} {key.get_base64()}\n")
    except OSError as error:
        raise StepError(f"{path}: {error.strerror}, so the host key was not kept", "correct that") from None
    return path


def known_hosts(c: Connection) -> list[Path]:
    """The known_hosts files that ssh would read for this host (ssh_config(5))."""
    names = c.ssh_config.get("userknownhostsfile", KNOWN).split()
    names += c.ssh_config.get("globalknownhostsfile", KNOWN_TO_ALL).split()
    return [Path(name.strip('"')).expanduser() for name in names]


def known_name(c: Connection) -> str:
    """What the host is called in known_hosts."""
    return str(c.host) if c.port == 22 else f"[{c.host}]:{c.port}"


def not_trusted(
    c: Connection, error: UnknownHostKeyError | BadHostKeyException, revoked: Revoked, where: str, ssh: str
) -> StepError:
    """What is said of a host key that we do not trust. where: who, and which host; ssh: the command that reaches it."""
    key = f"{error.key.get_name()} {fingerprint(error.key)}"
    if file := revoked.get(error.key.asbytes()):
        return StepError(
            f"{where}: the host key {key} was REVOKED in {file}; nothing was run",
            f"whoever has stolen it can pose as your server: give the server a new one, then accept that with: {ssh}",
        )
    if isinstance(error, UnknownHostKeyError):
        return UnknownServerError(
            f"{where}: unknown host key {key}; nothing was run",
            f"compare the fingerprint with your provider's console, then accept it once with: {ssh}",
            c,
            error.key,
        )
    return StepError(
        f"{where}: the host key has CHANGED to {key}, known is {fingerprint(error.expected_key)}; nothing was run",
        f"if you reinstalled the server: ssh-keygen -R '{known_name(c)}', then accept the new key with: {ssh}",
    )


def fingerprint(key: paramiko.PKey) -> str:
    """The key's fingerprint as ssh prints it: SHA256 in unpadded base64."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _listed(name: str) -> Revoked:
    """The keys in the file of RevokedHostKeys. Without a file that says it, ssh trusts no host, nor do we."""
    if name == "none":
        return {}
    path = Path(name.strip('"')).expanduser()
    data = _bytes(path)
    if data.startswith(KRL):
        raise StepError(
            f"{path} (RevokedHostKeys) is a KRL, which only ssh itself can read; nothing was run",
            "list the revoked public keys in a text file, one a line, and name that in ~/.ssh/config",
        )
    revoked: Revoked = {}
    for number, fields in enumerate(_lines(data), 1):
        if not fields or fields[0].startswith("#"):
            continue
        key = _decoded(fields[1]) if len(fields) > 1 else b""
        if not key:
            raise StepError(
                f"{path}:{number}: no public key (RevokedHostKeys); nothing was run",
                "correct that line: TYPE KEY, as in a file *.pub",
            )
        revoked[key] = path
    return revoked


def _lines(data: bytes) -> list[list[str]]:
    return [line.split() for line in data.decode("utf-8", "replace").split("\n")]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StepError(
            f"{path}: {error.strerror}, so no host key can be checked; nothing was run",
            "correct that, or ~/.ssh/config: there may be revoked keys in it",
        ) from None


def _revoked(lines: list[list[str]]) -> Iterator[bytes]:
    for fields in lines:
        if len(fields) > 3 and fields[0] == "@revoked" and (key := _decoded(fields[3])):
            yield key


def _decoded(text: str) -> bytes:
    """The bytes of a public key, b"" where the text is none."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _known(lines: list[list[str]], name: str) -> Iterator[paramiko.PKey]:
    for fields in lines:
        if len(fields) > 2 and fields[0][0] not in "#@" and (key := _key(fields, name)):
            yield key


def _key(fields: list[str], name: str) -> paramiko.PKey | None:
    try:
        if not any(_means(pattern, name) for pattern in fields[0].split(",")):
            return None
        entry = HostKeyEntry.from_line(" ".join(fields[:3]))
    except Exception:
        return None  # ssh passes over garbage; paramiko says of it whatever its parser stumbled over
    return entry.key if entry else None


def _means(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        return paramiko.HostKeys.hash_host(name, pattern) == pattern
    return pattern == name
