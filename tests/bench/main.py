"""What `./inv bench` does, by its options."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fabfile.errors import StepError
from tests.sandbox import SandboxError

from . import compare, page, plot, results
from .contenders import NO_PAGE, NO_USES
from .results import COMMITTED, Result
from .run import STANDARD, Choice, bench
from .tool import bench_tool


def measure(choice: Choice, *, tool: bool) -> None:
    """Measure, and print what was found."""
    if choice.megabytes != STANDARD and choice.file and Path(choice.file).resolve() == COMMITTED:
        raise StepError("results with another --size are not comparable: give them another --json")
    with whole_errors():
        found = bench_tool(choice) if tool else bench(choice)
    print(
        "\n".join(
            [results.table(found), *(line for other in (NO_USES, NO_PAGE) for line in compare.against(found, other))]
        )
    )


def compared(old: str, new: str) -> None:
    """Print what became of each ratio; an error when one got worse."""
    before, after = _read(old), _read(new or str(COMMITTED))
    verdicts = compare.compare(before, after)
    errors = compare.new_errors(before, after)
    print("\n".join([*map(str, verdicts), *errors]))
    worse = len(errors) + sum(verdict.worse for verdict in verdicts)
    if not verdicts:
        raise StepError("the two have no measure in common")
    if worse:
        raise StepError(f"{worse} of {len(verdicts) + len(errors)} got worse")


def plotted(file: str) -> None:
    """Draw what was found, and put it into the tables of docs/speed.md."""
    found = _read(file or str(COMMITTED))
    for path in [*plot.write(found), *page.write(found)]:
        print(path)


@contextmanager
def whole_errors() -> Iterator[None]:
    """All lines of an error from within the sandbox, not the first one alone."""
    try:
        yield
    except SandboxError as error:
        raise StepError(str(error)) from error


def _read(file: str) -> list[Result]:
    try:
        return results.load(Path(file))
    except (OSError, ValueError, TypeError) as error:
        raise StepError(f"{file} holds no results of a benchmark: {error}") from None
