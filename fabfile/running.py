"""How a task of the command line does its step: on the server that -H names, one at a time, with a line at the end.

Imports as late as the tasks, so that `--list` stays fast.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from invoke import Context

from .errors import UsageError

if TYPE_CHECKING:
    from .machine.host import Host
    from .report import Outcome
    from .settings import Settings

    Server = tuple[Host, Settings]

# Tasks about the certificate: a standby has that of the first one.
CERTIFICATE = ("renew", "init-letsencrypt")


def server(c: Context) -> Server:
    """The server that -H names, with its host key checked; before any SSH, the settings."""
    from . import settings
    from .machine import ssh

    ssh.require_host(c)
    if c.config.run.dry:
        raise UsageError("--dry does not know what would happen", "./fab -H … sync --diff shows it")
    checked = settings.load()
    return ssh.remote(c), checked


def second(c: Context, settings: Settings) -> Host:
    """The server of STANDBY, reached as the one of -H is. Raises UsageError where none is set."""
    if not settings.standby:
        raise UsageError("no second server is set", "STANDBY=root@standby.example.com in .env: docs/standby.md")
    # Its own name: HOSTS is the first one's.
    return another(c, settings.standby)


def another(c: Context, name: str) -> Host:
    """A second server, of which the name is written as behind -H; with the options of the first one's connection."""
    from dataclasses import replace

    from fabric import Connection

    from .machine import ssh

    other: Any = Connection(name, config=c.config)
    ssh.require_host(other)
    return replace(ssh.remote(other), option=f"-H {name}")


def run(c: Context, name: str, action: Callable[..., Outcome], *, alone: bool = True, **options: Any) -> None:
    """Do one step on the server and print its line; alone: while nobody else does one."""
    from .machine import lock

    host, settings = server(c)
    with lock.exclusive(host, settings, name) if alone else nullcontext():
        if name.startswith(CERTIFICATE):
            _require_first(host, settings)
        _step(host, settings, name, action, options)


def change(c: Context, name: str, action: Callable[..., Outcome], **options: Any) -> None:
    """Do one change on the server that may happen beside others, and print its line."""
    from .machine import lock

    host, settings = server(c)
    with lock.audited(host, settings, name):
        _require_first(host, settings)
        _step(host, settings, name, action, options)


def _require_first(host: Host, settings: Settings) -> None:
    from .copies import twins

    twins.require_first(host, settings)


def _step(host: Host, settings: Settings, name: str, action: Callable[..., Outcome], options: dict[str, Any]) -> None:
    from . import report

    report.step(name.split(maxsplit=1)[0], lambda: action(host, settings, **options), host.option)
