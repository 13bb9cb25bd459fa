"""One whole run: a sandbox, our stack bootstrapped on it as anyone would, the others beside it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.e2e.world import PASSWORD, USER, World
from tests.sandbox import Sandbox, SandboxError
from tests.sandbox.commands import ROOT
from tests.sandbox.engine import ensure_engine
from tests.sandbox.images import ensure_image

from . import contenders, deploy, results
from .measures import RUNS, Field, Run, measured
from .results import Result, summary
from .server import Server

# Megabytes of the big layer.
STANDARD = 1024
# The client's, that of the registry, one that waits in nginx, and room: each goes before the next comes.
COPIES = 4


@dataclass(frozen=True)
class Choice:
    """What of it: nothing chosen is everything. rounds 0: as many as each measure says."""

    only: frozenset[str] = frozenset()
    contenders: frozenset[str] = frozenset()
    rounds: int = 0
    megabytes: int = STANDARD
    keep: bool = False
    file: str = ""


def words(text: str) -> frozenset[str]:
    """Of a list with commas."""
    return frozenset(word.strip() for word in text.split(",") if word.strip())


def say(line: str) -> None:
    """Progress is not the result."""
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


@contextmanager
def bootstrapped(*, keep: bool) -> Iterator[World]:
    """A sandbox of our own with the stack on it, gone in the end."""
    ensure_engine(say)
    sandbox = Sandbox("bench", ROOT)
    world = World(sandbox)
    try:
        sandbox.up(say)
        say("bootstrapping our stack")
        world.bootstrap()
        yield world
    finally:
        if keep:
            say("kept: python3 -m tests.sandbox down bench")
        else:
            sandbox.down()


def bench(choice: Choice) -> list[Result]:
    """Measure what was chosen."""
    runs = chosen(RUNS, choice)
    with bootstrapped(keep=choice.keep) as world:
        server = Server(world.sandbox)
        field = Field(server, f"{USER}:{PASSWORD}", choice.megabytes)
        started = list(dict.fromkeys(each for run in runs for each in run.contenders))
        need = choice.megabytes * COPIES
        if server.free_megabytes() < need:
            raise SandboxError(f"{need} MB must be free on the disk of Docker: --size, or make room")
        say(f"starting {', '.join(each.name for each in started)}")
        ensure_image("bench", say)
        world.sandbox.carry(contenders.TOOLS)
        if contenders.NO_PAGE in {each.name for each in started}:
            deploy.without_page(world)
        deploy.prepare(server, started, USER, PASSWORD)
        deploy.start(server, started, field.login)
        found: list[Result] = []
        for run in runs:
            found += rounds(run, field, choice)
            keep_results(found, choice.file)
    return found


def chosen(runs: Sequence[Run], choice: Choice) -> list[Run]:
    """Those runs with a chosen measure, and of each the chosen contenders."""
    _known(choice.only, {measure for run in runs for measure in run.units}, "measure")
    _known(choice.contenders, {each.name for each in contenders.ALL}, "contender")
    kept = []
    for run in runs:
        some = tuple(each for each in run.contenders if not choice.contenders or each.name in choice.contenders)
        if some and (not choice.only or choice.only & run.units.keys()):
            kept.append(replace(run, contenders=some, rounds=choice.rounds or run.rounds))
    if not kept:
        raise SandboxError("none of these contenders has one of these measures")
    return kept


def rounds(run: Run, field: Field, choice: Choice) -> list[Result]:
    """Every contender once a round. Each round begins with another one: the first may have it harder."""
    values: dict[tuple[str, str], list[float]] = {}
    for number in range(run.rounds):
        content = run.content(field)
        turn = number % len(run.contenders)
        for contender in run.contenders[turn:] + run.contenders[:turn]:
            for measure, value in measured(run, field, contender, content).items():
                if choice.only and measure not in choice.only:
                    continue
                unit = run.units.get(measure)
                if unit:
                    values.setdefault((measure, contender.name), []).append(value)
                    shown = f"{results.short(value)} {unit}"
                    say(f"{measure} {contender.name} {number + 1}/{run.rounds}: {shown}")
    return [
        summary(measure, contender.name, unit, found)
        for measure, unit in run.units.items()
        for contender in run.contenders
        if (found := values.get((measure, contender.name)))
    ]


def timed(name: str, times: int, action: Callable[[], float]) -> Result:
    """The result of an action that tells its own seconds."""
    values = []
    for number in range(times):
        values.append(action())
        say(f"tool {name} {number + 1}/{times}: {results.short(values[-1])} s")
    return summary("tool", name, "s", values)


def keep_results(found: Sequence[Result], file: str) -> None:
    """After each of the measures, so that a run that is broken off has not been for nothing."""
    if file:
        path = Path(file)
        old = results.load(path) if path.exists() else []
        results.save(path, results.merged(old, found))


def _known(asked: Collection[str], known: Collection[str], what: str) -> None:
    for name in asked:
        if name not in known:
            raise SandboxError(f"no {what} is called {name}; there are: {', '.join(sorted(known))}")
