"""What the benchmark found: the form in which it is kept, and a table of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

COMMITTED = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Result:
    """One measure of one contender: median and quartiles of n rounds."""

    measure: str
    contender: str
    unit: str
    median: float
    q1: float
    q3: float
    n: int


def summary(measure: str, contender: str, unit: str, values: Sequence[float]) -> Result:
    """The result of these rounds; one round is its own median and has no spread."""
    if len(values) == 1:
        q1 = median = q3 = values[0]
    else:
        q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    q1, median, q3 = (round(each, 4) for each in (q1, median, q3))
    return Result(measure, contender, unit, median, q1, q3, len(values))


def load(path: Path) -> list[Result]:
    return [Result(**entry) for entry in json.loads(path.read_text())]


def save(path: Path, results: Iterable[Result]) -> None:
    """Write them, a line each, so that a diff shows which have changed."""
    lines = ",\n".join(json.dumps(asdict(result)) for result in results)
    path.write_text(f"[\n{lines}\n]\n")


def merged(old: Iterable[Result], new: Iterable[Result]) -> list[Result]:
    """The new ones in the place of the old ones of the same measure and contender."""
    found = {(result.measure, result.contender): result for result in old}
    return list((found | {(result.measure, result.contender): result for result in new}).values())


def table(results: Iterable[Result]) -> str:
    """A line each, for people."""
    rows = [
        (r.measure, r.contender, f"{short(r.median)} {r.unit}", f"{short(r.q1)} to {short(r.q3)}", f"n={r.n}")
        for r in results
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(5)] if rows else []
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def short(value: float) -> str:
    """Three digits are more than a benchmark knows."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
