"""Several servers that are one registry: one run over all of them, at once or in turn."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .. import names, report
from ..errors import USAGE, ExpectedError, StepError, UsageError, addressed, shown
from ..settings import Settings
from ..text import counted
from . import lock
from .apart import Apart, apart
from .host import Host

R = TypeVar("R")

DONE, FAILED, LEFT = "ok", "failed", "-"


def _nothing() -> None:
    """What closes a server without a connection."""


@dataclass(frozen=True)
class Server:
    """One of them. name: as HOSTS has it; short: before its lines; close: ends its connection, from any thread."""

    name: str
    short: str
    host: Host
    settings: Settings
    close: Callable[[], None] = _nothing


class FleetError(StepError):
    """Something failed on some of the servers, and each of them has said why. errors: name -> that."""

    def __init__(self, what: str, *remedies: str, errors: Mapping[str, BaseException]) -> None:
        super().__init__(what, *remedies)
        self.errors = dict(errors)
        # A mistake in what was typed is one for all of them.
        if errors and all(isinstance(error, UsageError) for error in errors.values()):
            self.code = USAGE


@dataclass
class Results(Generic[R]):
    """Of each server, by its name: what came out, or what went wrong; what it printed, where that was kept."""

    values: dict[str, R] = field(default_factory=dict)
    errors: dict[str, BaseException] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fleet:
    """Servers in the order in which they were named. away: name -> why one of them could not be reached.

    spoken: gives commands that must be typed for all of them what names all. told: the table of `failed`.
    """

    servers: tuple[Server, ...]
    away: Mapping[str, ExpectedError] = field(default_factory=dict)
    spoken: Callable[[str], str] = str
    told: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def short(self) -> dict[str, str]:
        """Name -> what stands before its lines, of all of them."""
        named = [*(each.name for each in self.servers), *self.away]
        return {each.name: each.short for each in self.servers} | {n: names.short(n, named) for n in self.away}

    @property
    def first(self) -> Server:
        """The one that is set up before the others."""
        return self.servers[0]

    @property
    def others(self) -> tuple[Server, ...]:
        """All but the first."""
        return self.servers[1:]

    def part(self, servers: Sequence[Server]) -> Fleet:
        """Some of them; what happens there counts for the whole."""
        return Fleet(tuple(servers), {}, self.spoken, self.told)

    def each(
        self, name: str, action: Callable[[Host, Settings], R], *, keep: bool = False, gather: bool = False
    ) -> Results[R]:
        """Do something on all of them at the same time; print what each printed when it has ended.

        name: of the step, for the table. keep: print nothing, and have it in the results. Raises FleetError where it
        failed on one or more, once all have ended; with `gather` that is in the results.
        """
        results: Results[R] = Results()
        with apart() as streams:
            threads = [
                threading.Thread(target=self._one, args=(each, action, results, streams, True, keep), daemon=True)
                for each in self.servers
            ]
            for thread in threads:
                thread.start()
            try:
                for thread in threads:
                    thread.join()
            except BaseException:
                # Ctrl-C: a server notices at once that we are gone, as it does with one alone.
                for each in self.servers:
                    each.close()
                for thread in threads:
                    thread.join(5)
                raise
        self._note(name, results)
        if results.errors and not gather:
            raise self.failed(name, results.errors)
        return results

    def in_turn(self, name: str, action: Callable[[Host, Settings], R], *, keep: bool = False) -> Results[R]:
        """Do something on one after the other, and print what each prints. Raises FleetError at the first that fails:
        the rest is as it was.
        """
        results: Results[R] = Results()
        with apart() as streams:
            for each in self.servers:
                self._one(each, action, results, streams, False, keep)
                if results.errors:
                    break
        self._note(name, results)
        for error in results.errors.values():
            if not isinstance(error, Exception):
                raise error
        if results.errors:
            raise self.failed(name, results.errors)
        return results

    def finish(self, task: str, results: Results[R], *, table: bool = True) -> None:
        """Raise FleetError where something failed, or a server could not be reached; says why of the latter.

        table: print which server came how far.
        """
        for name, error in self.away.items():
            told = shown(addressed(self.spoken(str(error)), f"-H {name}"))
            print("\n".join(f"{self.short[name]}  {line}" for line in told.splitlines()), file=sys.stderr, flush=True)
            self.told[self.short[name]] = {task: FAILED}
        if errors := {**results.errors, **self.away}:
            raise self.failed(task, errors, table=table)

    def failed(self, task: str, errors: Mapping[str, BaseException], *, table: bool = True) -> FleetError:
        """What to raise where something failed; each server has said why. table: print which server came how far."""
        steps = [*dict.fromkeys(step for row in self.told.values() for step in row)]
        rows = [[short, *(row.get(step, LEFT) for step in steps)] for short, row in self.told.items()]
        if table:
            print()
            report.table(("server", *steps), rows)
        where = ", ".join(self.short[name] for name in errors)
        return FleetError(f"{task} failed on {where}", "what each of them says above", errors=errors)

    def require_all(self, task: str) -> None:
        """Raise StepError where one of them cannot be reached."""
        if self.away:
            ways = [f"{name}: {error.what}" for name, error in self.away.items()]
            gone = next(iter(self.away))
            if any(each.settings.fleet for each in self.servers):
                ways.append(f"gone for good? ./fab forget {gone} goes on without it")
            count, all_of_them = counted(len(self.away), "server"), len(self.away) + len(self.servers)
            raise StepError(f"{count} of {all_of_them} cannot be reached; {task} changed nothing", *ways)

    @contextlib.contextmanager
    def exclusive(self, task: str) -> Iterator[None]:
        """Have the locks of all of them, and log it there. Whoever else works on the same ones takes them in the same
        order: by host key, as names may differ. Raises StepError where one is taken.
        """
        with contextlib.ExitStack() as stack:
            for each in sorted(self.servers, key=lambda each: each.host.host_key):
                try:
                    stack.enter_context(lock.exclusive(each.host, each.settings, task))
                except ExpectedError as error:
                    raise self.of(each, error) from None
            yield

    def of(self, server: Server, error: ExpectedError) -> ExpectedError:
        """The error with that server in the commands that it proposes."""
        return error.spoken(lambda text: addressed(self.spoken(text), server.host.option))

    def _one(  # noqa: PLR0913, PLR0917 - a thread is given all it needs
        self,
        server: Server,
        action: Callable[[Host, Settings], R],
        results: Results[R],
        streams: tuple[Apart, Apart],
        hold: bool,
        keep: bool,
    ) -> None:
        """Do it on one server. Nothing is raised here: all of it is in the results."""
        kept: list[str] = []
        out, err = streams
        with err.named(server.short, hold=False):
            try:
                with out.named(server.short, hold=hold, kept=kept if keep else None):
                    results.values[server.name] = action(server.host, server.settings)
            except ExpectedError as error:
                results.errors[server.name] = error
                err.write(shown(addressed(self.spoken(str(error)), server.host.option)) + "\n")
            except BaseException as error:
                results.errors[server.name] = error
                if isinstance(error, Exception):
                    err.write(f"error: unexpected {type(error).__name__}: {error}\n")
        results.texts[server.name] = "".join(kept)

    def _note(self, name: str, results: Results[R]) -> None:
        for each in self.servers:
            mark = DONE if each.name in results.values else FAILED if each.name in results.errors else LEFT
            self.told.setdefault(each.short, {})[name] = mark
