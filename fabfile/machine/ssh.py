"""Whom we talk to: the SSH host key is checked before a password or a key is offered."""

from __future__ import annotations

import contextlib
import logging
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from fabric.runners import Remote
from invoke.exceptions import ThreadException
from paramiko.ssh_exception import (
    BadHostKeyException,
    NoValidConnectionsError,
    SSHException,
)

from .. import launcher
from ..errors import StepError, UsageError, address, option
from ..text import one_line
from .elevation import elevation
from .host import Host
from .hostkeys import Refuse, UnknownHostKeyError, learn, not_trusted
from .identity import Login, NotLetInError
from .sshconversation import SshConversation

if TYPE_CHECKING:
    from fabric import Connection
    from invoke import Context

CONNECT_SECONDS = 15
LOST = (OSError, EOFError, SSHException, ThreadException)
SILENCE_SECONDS = 60
KEEPALIVE_SECONDS = 15


def connect(c: Connection) -> None:
    """Open the SSH connection of `c`, honouring known_hosts as ssh does.

    Fabric itself accepts any key (fabric#2071). Raises StepError in one line, with the remedy.
    """
    if c.is_connected:
        return
    if hasattr(c.gateway, "original_host"):
        # A jump host is a machine too: it sees our authentication before the server does.
        connect(c.gateway)
    where, ssh = _where(c), _ssh(c)
    # Its thread writes the trace of a failed handshake to standard error.
    logging.getLogger("paramiko.transport").addHandler(logging.NullHandler())
    revoked = learn(c)
    c.client.set_missing_host_key_policy(Refuse())
    # fabric's own --connect-timeout comes among these arguments.
    own = "timeout" in c.connect_kwargs
    if hasattr(c.config, "authentication"):  # a fabric before 3.2, of a distribution, has but paramiko's own way
        c.config.authentication.strategy_class = partial(Login, c)
    c.connect_timeout = None if own else c.connect_timeout or CONNECT_SECONDS
    try:
        c.open()
    except (UnknownHostKeyError, BadHostKeyException) as error:
        raise not_trusted(c, error, revoked, where, ssh) from None
    except NotLetInError as error:
        what, remedy = error.login.why(ssh, _as_root(c))
        raise StepError(f"{where}: {what}", remedy) from None
    except socket.gaierror as error:
        raise StepError(
            f"{where}: this name has no address ({error.strerror})",
            f"is {c.host} spelt right? If its DNS record is new: ./fab -H {c.user}@ADDRESS check looks by its address",
        ) from None
    except (NoValidConnectionsError, TimeoutError, OSError, SSHException, EOFError) as error:
        # It may be in the words of whoever listens there.
        reason = one_line(str(error)) or type(error).__name__
        # sshd 9.8 and later turns a source away for a while (sshd_config(5), PerSourcePenalties).
        wait = " After refused logins some servers let nobody in for a minute: wait" if "banner" in reason else ""
        raise StepError(f"{where}: no SSH connection: {reason}", f"does `{ssh}` work?{wait}") from None
    transport = c.transport
    if transport is not None:
        transport.set_keepalive(KEEPALIVE_SECONDS)
        _give_up_on_silence(transport.sock)


def _where(c: Connection) -> str:
    return f"{c.user}@{c.host}:{c.port}"


def _as_root(c: Connection) -> str:
    """How to name the server as root, where nobody said who logs in; '' where somebody did."""
    unnamed = c.user == c.config.user and "user" not in c.ssh_config
    return f"root@{c.original_host}" if unnamed and c.user != "root" else ""


def _ssh(c: Connection) -> str:
    config = getattr(c.config, "_runtime_ssh_path", None)
    target = [
        "ssh",
        *(["-F", config] if config else []),
        *(["-p", str(c.port)] if c.port != 22 else []),
        f"{c.user}@{c.original_host}",
    ]
    return " ".join(target)


def _give_up_on_silence(connection: object) -> None:
    """Let a connection whose other end has vanished count as lost, soon after the next keepalive.

    By itself the kernel repeats for a quarter of an hour (tcp(7), TCP_USER_TIMEOUT). Through a jump
    host there is no socket of ours: there ssh's own rules hold.
    """
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and isinstance(connection, socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, option, SILENCE_SECONDS * 1000)


def require_host(c: Context) -> None:
    """Raise UsageError unless `-H`, or HOSTS, named a server."""
    if not hasattr(c, "original_host"):
        launcher.go_on("no -H names a server; HOSTS of the settings may")
        raise UsageError(
            "this task works on a server and none was named",
            "./fab -H root@registry.example.com TASK, or HOSTS=root@registry.example.com in .env\n"
            "  -> you are on the server? This works from another machine, over SSH; from the server itself it would "
            "take an SSH key of root's for root@localhost",
        )
    if "[" in c.original_host or "]" in c.original_host:
        raise UsageError(
            f"-H {c.original_host}: write an IPv6 address without brackets",
            "./fab -H root@2001:db8::1 TASK; a port goes into ~/.ssh/config",
        )


class Listening(Remote):  # type: ignore[misc]
    """Fabric's runner, but for a command that ends before it has read what we give it.

    Fabric then raises what writing to it raised, and the command's own words and exit status are lost.
    """

    def _write_proc_stdin(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            super()._write_proc_stdin(data)


def remote(c: Context) -> Host:
    """The machine that `-H` names. Opens the connection, its host key checked.

    Raises StepError where the machine cannot be reached, or runs nothing of ours.
    """
    connect(c)
    c.config.runners.remote = Listening
    key = c.transport.get_remote_server_key()
    run = partial(_run_there, c)
    return Host(
        run,
        address(c),
        local=False,
        elevation=elevation(c, lambda how: Host(run, address(c), local=False, elevation=how, lost=LOST)),
        begin=lambda command: SshConversation(c, command),
        lost=LOST,
        forced=bool(c.config.get("force", False)),
        option=option(c),
        host_key=f"{key.get_name()} {key.get_base64()}",
        reached=(str(c.host), int(c.port)),
    )


def _run_there(c: Any, command: str, **options: object) -> Any:
    """A command on the server, over the connection that we have.

    Fabric would open another one in silence; but with the old one our lock on the server went.
    """
    if not c.is_connected:
        raise EOFError("it was closed in between")
    return c.run(command, **options)
