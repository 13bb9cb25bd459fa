"""Did it get slower? Two runs on different days, or on different machines, differ in everything;
the ratio of our stack to another one in the same run differs far less. So ratios are compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .results import Result, short

OURS = "ours"
# What one round says of its own spread is nothing: so much is allowed then, either way. The other for
# memory at rest, which is the same all through a run and another one in the next.
ALLOWED = 0.1
LEAST = 0.02
FEW = 3


@dataclass(frozen=True)
class Ratio:
    """Ours to another contender; low and high are the worst that both quartiles make of it."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """What became of one ratio."""

    measure: str
    contender: str
    old: Ratio
    new: Ratio
    worse: bool

    def __str__(self) -> str:
        word = "WORSE" if self.worse else "ok"
        return f"{word:5}  {self.measure}: {OURS} / {self.contender} was {_shown(self.old)}, is {_shown(self.new)}"


def compare(old: Iterable[Result], new: Iterable[Result]) -> list[Verdict]:
    """Every ratio that both runs have. Worse is what lies beyond the spread of both."""
    before, after = _by_name(old), _by_name(new)
    verdicts = []
    for (measure, contender), result in after.items():
        there = [(measure, name) in side for side in (before, after) for name in (OURS, contender)]
        if contender == OURS or not all(there):
            continue
        was = _ratio(before[measure, OURS], before[measure, contender])
        now = _ratio(after[measure, OURS], result)
        if was and now:
            worse = now.high < was.low if result.unit == "1/s" else now.low > was.high
            verdicts.append(Verdict(measure, contender, was, now, worse))
    return verdicts


def against(found: Iterable[Result], other: str) -> list[str]:
    """Ours to another contender in one run, a line for each measure that both have."""
    known = _by_name(found)
    ratios = {
        measure: _ratio(result, known[measure, other])
        for (measure, name), result in known.items()
        if name == OURS and (measure, other) in known
    }
    return [f"{measure}: {OURS} / {other} is {_shown(ratio)}" for measure, ratio in ratios.items() if ratio]


def new_errors(old: Iterable[Result], new: Iterable[Result]) -> list[str]:
    """Counts of ours that were nothing and no longer are: there is no ratio to nothing."""
    before = _by_name(old)
    return [
        f"WORSE  {result.measure}: {OURS} was 0, is {short(result.median)}"
        for result in new
        if (result.contender, result.unit) == (OURS, "count")
        and result.median > 0
        and (was := before.get((result.measure, OURS)))
        and was.median == 0
    ]


def _by_name(results: Iterable[Result]) -> dict[tuple[str, str], Result]:
    return {(result.measure, result.contender): result for result in results}


def _ratio(ours: Result, other: Result) -> Ratio | None:
    """None where there is nothing to divide by."""
    if min(other.q1, other.median) <= 0:
        return None
    median, low, high = ours.median / other.median, ours.q1 / other.q3, ours.q3 / other.q1
    allowed = ALLOWED if min(ours.n, other.n) < FEW else LEAST
    return Ratio(median, min(low, median * (1 - allowed)), max(high, median * (1 + allowed)))


def _shown(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
