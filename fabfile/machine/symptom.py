"""What `doctor` knows: a symptom as people tell it, how it is found, what is behind it, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Generic, NamedTuple, TypeVar

from .rows import Row

F = TypeVar("F")
# Of `check` and `status`: name -> row, of those that are not as they should be.
Rows = Mapping[str, Row]


class Wrong(NamedTuple):
    """What is wrong here, with its numbers. remedy: where it is another one than that of the symptom."""

    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Symptom(Generic[F]):
    """One symptom. The page about troubles is made of these texts.

    said: what people see or say; cause: what is behind it; remedy: a command to type; look: facts -> what is wrong
    here, None for nothing.
    """

    name: str
    said: str
    cause: str
    remedy: str
    look: Callable[[F], Wrong | None]


@dataclass(frozen=True)
class Finding:
    """A symptom that this server has."""

    symptom: str
    said: str
    found: str
    remedy: str


def findings(symptoms: Iterable[Symptom[F]], facts: F) -> list[Finding]:
    """Which of them are there, in their order."""
    wrong = [(each, each.look(facts)) for each in symptoms]
    return [Finding(each.name, each.said, it.found, it.remedy or each.remedy) for each, it in wrong if it]


def row(*patterns: str) -> Callable[[Rows], Wrong | None]:
    """A symptom that `check` or `status` sees: by the names of the rows, with `*` for any."""

    def look(rows: Rows) -> Wrong | None:
        found = [each for name, each in rows.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]
        remedy = next((each.remedy for each in found if each.remedy), "")
        return Wrong("; ".join(f"{each.name}: {each.found}" for each in found), remedy) if found else None

    look.rows = patterns  # type: ignore[attr-defined]
    return look
