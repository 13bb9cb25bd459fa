"""The servers of a fleet, reached: a connection each, opened at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fabric import Connection
from invoke import Context

from .. import names
from ..errors import ExpectedError, UsageError
from ..settings import Settings
from . import ssh
from .fleet import Fleet, Server
from .host import Host


def gathered(c: Context, settings: Settings, named: Sequence[str], spoken: Callable[[str], str]) -> Fleet:
    """Those servers, each with its host key checked; why one was not reached is in `away`.

    c: a connection with the options of all. spoken: see Fleet. Raises UsageError where two of the names are one
    machine.
    """
    found: dict[str, Host] = {}
    away: dict[str, ExpectedError] = {}
    strange: dict[str, Exception] = {}
    # A configuration each: what is set in one is about its own login.
    connections: dict[str, Any] = {name: Connection(name, config=c.config.clone()) for name in named}

    def reach(name: str) -> None:
        try:
            ssh.require_host(connections[name])
            found[name] = replace(ssh.remote(connections[name]), option=f"-H {name}")
        except ExpectedError as error:
            away[name] = error
        except Exception as error:
            strange[name] = error

    threads = [threading.Thread(target=reach, args=(name,), daemon=True) for name in named]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in strange.values():
        raise error
    _require_apart(found)
    servers = [
        Server(name, names.short(name, named), found[name], settings.of(name), connections[name].close)
        for name in named
        if name in found
    ]
    return Fleet(tuple(servers), {name: away[name] for name in named if name in away}, spoken)


def _require_apart(found: dict[str, Host]) -> None:
    keys: dict[str, str] = {}
    for name, host in found.items():
        if other := keys.get(host.host_key):
            raise UsageError(
                f"{other} and {name} are one machine: both have the same host key",
                "name it once; a clone of it needs host keys of its own: ssh-keygen -A",
            )
        keys[host.host_key] = name
