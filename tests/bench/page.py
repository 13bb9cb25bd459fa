"""The tables of docs/speed.md, in both languages, from what the benchmark found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .results import Result, short

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "docs" / "speed.md", ROOT / "docs" / "ru" / "speed.md")


@dataclass(frozen=True)
class Table:
    """Where the numbers of a table come from. The first cells, and the head, are each page's own words.

    begins: what the head has and no other line. cells: measure and contender of each number, a row each.
    """

    begins: str
    cells: tuple[tuple[tuple[str, str], ...], ...]


CONTENDERS = (
    "ours", "tutorial-h2", "tutorial-h1", "caddy-h2", "caddy-h1", "registry-tls", "registry-plain", "file-tls",
)  # fmt: skip
MEASURES = (
    "push-1g", "pull-1g", "push-40x5m", "pull-40x5m", "pulls-100", "pulls-1000", "pulls-1000-errors",
    "pulls-1000-memory", "requests", "idle-memory",
)  # fmt: skip
COMMANDS = ("fab-list", "fab-true", "bootstrap-first", "bootstrap-second-before-push-test")
TABLES = (
    Table(f"| {' | '.join(CONTENDERS)} |", tuple(tuple((each, name) for name in CONTENDERS) for each in MEASURES)),
    Table("| +100 ", tuple((("tool", each), ("tool", f"{each}-100ms")) for each in COMMANDS)),
)


def filled(text: str, results: Sequence[Result]) -> str:
    """The page with the numbers of these results in its tables.

    Raises ValueError when a table is not there or has other rows.
    """
    found = {(result.measure, result.contender): short(result.median) for result in results}
    lines = text.split("\n")
    for table in TABLES:
        heads = [number for number, line in enumerate(lines) if table.begins in line]
        if len(heads) != 1:
            raise ValueError(f"the page has not one table with {table.begins}")
        rows = slice(heads[0] + 2, heads[0] + 2 + len(table.cells))
        if not all(line.startswith("| ") for line in lines[rows]) or lines[rows.stop]:
            raise ValueError(f"the table with {table.begins} has not {len(table.cells)} rows")
        lines[rows] = list(_rows(lines[rows], table, found))
    return "\n".join(lines)


def write(results: Sequence[Result]) -> list[Path]:
    """Put the numbers into both pages."""
    for page in PAGES:
        page.write_text(filled(page.read_text(), results))
    return list(PAGES)


def _rows(old: Sequence[str], table: Table, found: dict[tuple[str, str], str]) -> Iterator[str]:
    for line, cells in zip(old, table.cells, strict=True):
        label = line.split("|")[1].strip()
        yield f"| {' | '.join([label, *(found.get(cell, '–') for cell in cells)])} |"
