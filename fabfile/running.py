"""How a task of the command line does its step: on the server that -H names, or on several of them, one line a step.

Imports as late as the tasks, so that `--list` stays fast.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

from invoke import Context

from .errors import UsageError, option

if TYPE_CHECKING:
    from .machine.fleet import Fleet, Results
    from .machine.host import Host
    from .report import Outcome
    from .settings import Settings

    Server = tuple[Host, Settings]

# Tasks about the certificate: a standby has that of the first one.
CERTIFICATE = ("renew", "init-letsencrypt")
# What an action does with a server; it prints what there is to say.
Body = Callable[["Host", "Settings"], object]
# How it is kept apart from what others do there, with the host, the settings and the task.
Guard = Callable[["Host", "Settings", str], AbstractContextManager[None]]


def server(c: Context, task: str = "") -> Server:
    """The server that -H names, or the first of several, with its host key checked; before any SSH, the settings.

    task: what it is for, where it may change something.
    """
    from .machine import ssh

    checked = _checked(c, task)
    return ssh.remote(c), checked.of(_named(c)[0])


def several(c: Context) -> bool:
    """Whether more than one server is named."""
    return len(_named(c)) > 1


def fleet(c: Context, task: str, named: Sequence[str] = (), changed: Settings | None = None) -> Fleet:
    """All servers that -H, or HOSTS, names, each with its host key checked. Those that are not reached are in `away`.

    named: other ones than these; changed: other settings. Raises UsageError where the task is not for these.
    """
    from . import ways
    from .machine import gather

    settings = changed or _checked(c, task)
    return gather.gathered(c, settings, named or _named(c), lambda text: ways.spoken(text, option(c) or ""))


def require_one(c: Context, task: str) -> None:
    """Raise UsageError where several servers are named, for a task that does not want the settings."""
    from . import ways

    ways.require_one(task, _named(c))


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

    def body(host: Host, settings: Settings) -> None:
        if name.startswith(CERTIFICATE):
            _require_first(host, settings)
        _step(host, settings, name, action, options)

    over(c, name, body, guard=lock.exclusive if alone else None)


def change(c: Context, name: str, action: Callable[..., Outcome], **options: Any) -> None:
    """Do one change on the server that may happen beside others, and print its line."""
    from .machine import lock

    def body(host: Host, settings: Settings) -> None:
        _require_first(host, settings)
        _step(host, settings, name, action, options)

    over(c, name, body, guard=lock.audited)


def agree(
    c: Context, name: str, action: Callable[..., Outcome], on_all: Callable[..., Outcome], **options: Any
) -> None:
    """`change`; where several servers are one registry, `on_all` does it. Those not reached are no hindrance."""
    from . import report
    from .machine import lock

    if not several(c):
        change(c, name, action, **options)
        return
    servers = fleet(c, name)
    with ExitStack() as stack:
        for each in servers.servers:
            stack.enter_context(lock.audited(each.host, each.settings, name))
        report.step(name.partition(" ")[0], lambda: on_all(servers, **options))


def over(c: Context, task: str, body: Body, *, guard: Guard | None = None, as_json: bool = False) -> None:
    """Do something on the server that is named, or on several as ways.py says.

    task: for the audit log, with what follows its name. guard: lock.exclusive, lock.audited, or None for what only
    looks. as_json: the body prints JSON, which is printed by server then.
    """
    from .ways import Way, way

    if not several(c) or way(task) is Way.FIRST:
        host, settings = server(c, task)
        with guard(host, settings, task) if guard else nullcontext():
            body(host, settings)
        return
    _over(fleet(c, task), task, body, guard, as_json=as_json)


def _over(servers: Fleet, task: str, body: Body, guard: Guard | None, *, as_json: bool) -> None:
    from .machine import lock
    from .ways import Way, way

    if guard or way(task) is Way.IN_TURN:
        servers.require_all(task)
    inside: Body = body
    if guard is lock.audited:

        def inside(host: Host, settings: Settings) -> object:
            with lock.audited(host, settings, task):
                return body(host, settings)

    word = task.partition(" ")[0]
    with servers.exclusive(task) if guard is lock.exclusive else nullcontext():
        if way(task) is Way.IN_TURN:
            servers.in_turn(word, inside)
            return
        results = servers.each(word, inside, keep=as_json, gather=True)
    if as_json:
        print(json.dumps(_by_server(servers, results), indent=2, ensure_ascii=False))
    servers.finish(word, results, table=not as_json)


def _by_server(servers: Fleet, results: Results[object]) -> dict[str, Any]:
    """Of each server what it printed as JSON, or why it printed none."""
    errors = {**servers.away, **results.errors}
    found: dict[str, Any] = {}
    # In their order, whichever was done first.
    for name in servers.short:
        text = results.texts.get(name, "")
        try:
            found[name] = json.loads(text)
        except ValueError:
            lines = [json.loads(line) for line in text.splitlines()]
            found[name] = lines if lines or name not in errors else {"error": str(errors[name])}
    return found


def _checked(c: Context, task: str) -> Settings:
    """The settings, before any SSH. Raises UsageError where they, or what was typed, are not for the task."""
    from . import settings, ways
    from .machine import ssh

    ssh.require_host(c)
    if c.config.run.dry:
        raise UsageError("--dry does not know what would happen", "./fab -H … sync --diff shows it")
    checked = settings.load()
    if task:
        ways.require(task, _named(c), checked)
    return checked


def _named(c: Context) -> list[str]:
    """The servers that -H, or HOSTS, names."""
    named: list[str] = list(c.config.get("servers", ()))
    return named or [""]


def _require_first(host: Host, settings: Settings) -> None:
    from .copies import twins

    twins.require_first(host, settings)


def _step(host: Host, settings: Settings, name: str, action: Callable[..., Outcome], options: dict[str, Any]) -> None:
    from . import report

    report.step(name.split(maxsplit=1)[0], lambda: action(host, settings, **options), host.option)
