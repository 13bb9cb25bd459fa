"""What a step did, and how it is shown: one line a step, with its time."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from .errors import addressed
from .text import columns as width_of
from .text import printable, wrapped

COLOURS = {"ok": "32", "warn": "33", "failed": "31"}
# Where the text of a line begins, where that of its details, and the columns below which there is no room for either.
TEXT, DETAIL, NARROW = 33, 15, 60


@dataclass(frozen=True)
class Outcome:
    """The result of a step.

    summary: half a line. changed: whether anything is different now. details: further lines. doubtful: whether
    one of them is something to look at.
    """

    summary: str
    changed: bool = True
    details: Sequence[str] = field(default_factory=tuple)
    doubtful: bool = False


def step(name: str, action: Callable[[], Outcome], option: str | None = None, *, asks: bool = False) -> Outcome:
    """Do a step and print its line; on a terminal show that it is at work.

    option: see errors.addressed. asks: it talks with a person.
    """
    start = time.monotonic()
    try:
        with contextlib.nullcontext() if asks else working(name):
            outcome = action()
    except BaseException:
        line("failed", name, "", time.monotonic() - start)
        raise
    mark = "ok" if outcome.changed else "same"
    line("warn" if outcome.doubtful else mark, name, outcome.summary, time.monotonic() - start)
    for detail in outcome.details:
        paragraph(printable(addressed(detail, option)), DETAIL if columns() >= NARROW else 4)
    return outcome


def line(mark: str, name: str, text: str, seconds: float) -> None:
    """Print one line: `ok  0.4 s  sync  3 files changed`."""
    padding = " " * (7 - len(mark))
    head = f"{padding}{seconds:5.1f} s  {printable(name):<17} "
    hang = TEXT if columns() >= NARROW else 4
    words = wrapped(printable(text), columns(), hang, start=len(mark) + len(head))
    print(f"{paint(mark)}{head}{words}".rstrip(), flush=True)


def paragraph(text: str, indent: int) -> None:
    """Print a text; on a terminal its lines are indented, and what goes on from one a little more."""
    if columns() == sys.maxsize:
        print(f"{'':{indent}}{text}")
        return
    for each in text.splitlines():
        own = indent + len(each) - len(each.lstrip())
        print(f"{'':{own}}{wrapped(each.strip(), columns(), own + 2, start=own)}")


def columns() -> int:
    """How wide the terminal is that all this is printed on; see text.columns."""
    return width_of(sys.stdout)


def agreed(question: str) -> bool:
    """Ask on a terminal; anything but a `y` is a no."""
    return input(f"{question} [y/N] ").strip().lower() == "y"


def loud(text: str) -> str:
    """What must not be missed: bold on a terminal, plain elsewhere."""
    return f"\x1b[1m{text}\x1b[0m" if coloured() else text


def coloured() -> bool:
    """Whether colours are welcome: on a terminal that can show them (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(mark: str, *, terminal: bool | None = None) -> str:
    """A word in its colour on a terminal, plain elsewhere. terminal: whether it is one, where that is known."""
    if mark in COLOURS and (coloured() if terminal is None else terminal):
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
    """Print rows under a header. A cell that is a mark (ok, warn, failed) is coloured.

    Where the terminal is too narrow for a row, its last cell goes on in the column where it began, or, without room
    there, below the row.
    """
    lines = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    start = sum(widths[:-1]) + 2 * (len(widths) - 1)
    below = start + min(widths[-1], 24) > columns()
    for row in lines:
        cells = [cell + " " * (width - len(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [cell.replace(mark, paint(mark), 1) if (mark := cell.strip()) in COLOURS else cell for cell in cells]
        if not below:
            print(("  ".join(cells[:-1]) + "  " + wrapped(row[-1], columns(), start, start=start)).rstrip())
            continue
        plain = "  ".join(cells[:-1]).rstrip()
        hang = min(widths[0] + 2, 8)
        shown = sum(widths[:-2]) + 2 * (len(widths) - 2)
        print(
            plain
            if start <= columns()
            else "  ".join([*cells[:-2], wrapped(row[-2], columns(), hang, start=shown)]).rstrip()
        )
        if row is not lines[0] and row[-1]:
            paragraph(row[-1], hang)


@contextlib.contextmanager
def total(name: str) -> Iterator[None]:
    """Print the time that everything inside took, when it went well."""
    start = time.monotonic()
    yield
    line("ok", name, "done", time.monotonic() - start)
