"""What a step did, and how it is shown: one line a step, with its time."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from .errors import addressed
from .text import printable

COLOURS = {"ok": "32", "warn": "33", "failed": "31"}


@dataclass(frozen=True)
class Outcome:
    """The result of a step.

    summary: half a line. changed: whether anything is different now. details: further lines.
    """

    summary: str
    changed: bool = True
    details: Sequence[str] = field(default_factory=tuple)


def step(name: str, action: Callable[[], Outcome], host: str = "") -> Outcome:
    """Do a step and print its line; on a terminal show that it is at work. host: see errors.addressed."""
    start = time.monotonic()
    try:
        with working(name):
            outcome = action()
    except BaseException:
        line("failed", name, "", time.monotonic() - start)
        raise
    line("ok" if outcome.changed else "same", name, outcome.summary, time.monotonic() - start)
    for detail in outcome.details:
        print(f"{'':15}{printable(addressed(detail, host))}")
    return outcome


def line(mark: str, name: str, text: str, seconds: float) -> None:
    """Print one line: `ok  0.4 s  sync  3 files changed`."""
    padding = " " * (7 - len(mark))
    words = f"{printable(name):<17} {printable(text)}".rstrip()
    print(f"{paint(mark)}{padding}{seconds:5.1f} s  {words}", flush=True)


def coloured() -> bool:
    """Whether colours are welcome: on a terminal that can show them (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(mark: str) -> str:
    """A word in its colour on a terminal, plain elsewhere."""
    if mark in COLOURS and coloured():
        return f"\x1b[{COLOURS[mark]}m{mark}\x1b[0m"
    return mark


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """Show on a terminal that something is going on, and for how long; elsewhere show nothing."""
    if not coloured():
        yield
        return
    try:
        # Absent on a server.
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    except ImportError:
        yield
        return
    columns = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, transient=True) as progress:
        progress.add_task(text, total=None)
        yield


@contextlib.contextmanager
def transfer(name: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
    """A progress bar for bytes on a terminal; elsewhere nothing. Yields what counts them."""
    if not coloured():
        yield lambda _: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(name, total=total, completed=done)
        yield lambda count: progress.advance(task, count)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header. A cell that is a mark (ok, warn, failed) is coloured."""
    lines = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for row in lines:
        cells = [cell + " " * (width - len(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [cell.replace(mark, paint(mark), 1) if (mark := cell.strip()) in COLOURS else cell for cell in cells]
        print("  ".join(cells).rstrip())


@contextlib.contextmanager
def total(name: str) -> Iterator[None]:
    """Print the time that everything inside took, when it went well."""
    start = time.monotonic()
    yield
    line("ok", name, "done", time.monotonic() - start)
