"""The tables of both READMEs, from what the benchmark found."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from .results import Result, short

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "README.ru.md")
# In the order of the table's rows; the words before the numbers are each page's own.
MEASURES = (
    "push-1g", "pull-1g", "push-40x5m", "pull-40x5m", "pulls-100", "pulls-1000", "pulls-1000-errors",
    "pulls-1000-memory", "requests", "idle-memory",
)  # fmt: skip
HEAD = re.compile(r"^\| [^|]+ \| (ours \|.*) \|$")


def filled(text: str, results: Sequence[Result]) -> str:
    """The page with the numbers of these results in its table.

    Raises ValueError when the table is not there or has other rows.
    """
    lines = text.split("\n")
    top, contenders = next(
        ((number, head[1].split(" | ")) for number, line in enumerate(lines) if (head := HEAD.match(line))),
        (0, []),
    )  # fmt: skip
    if not contenders:
        raise ValueError("the page has no table of the benchmark")
    rows = slice(top + 2, top + 2 + len(MEASURES))
    if not all(line.startswith("| ") for line in lines[rows]) or lines[rows.stop].startswith("|"):
        raise ValueError(f"the table of the benchmark has not {len(MEASURES)} rows")
    lines[rows] = list(_rows(lines[rows], contenders, results))
    return "\n".join(lines)


def write(results: Sequence[Result]) -> list[Path]:
    """Put the numbers into both pages."""
    for page in PAGES:
        page.write_text(filled(page.read_text(), results))
    return list(PAGES)


def _rows(old: Sequence[str], names: Sequence[str], results: Sequence[Result]) -> Iterator[str]:
    found = {(result.measure, result.contender): short(result.median) for result in results}
    for line, measure in zip(old, MEASURES, strict=True):
        label = line.split("|")[1].strip()
        yield f"| {' | '.join([label, *(found.get((measure, name), '–') for name in names)])} |"
