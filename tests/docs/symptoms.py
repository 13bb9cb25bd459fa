"""The tables of the page about troubles, from what `doctor` says, and from its translation. `./inv docs` writes them.

docs/ru/symptoms.ini has a section for each symptom, with the keys `said`, `cause` and `remedy`, and the titles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabfile import ns
from fabfile.machine.symptom import Symptom
from fabfile.steps import doctor
from tests.sandbox.commands import ROOT

from . import pages
from .pages import anchor

TITLES = "titles"
TASKS = "|".join(sorted(ns.task_names, key=len, reverse=True))
COMMAND = re.compile(
    rf"`[^`]*`|\./fab -H …(?: (?:{TASKS})\b)+(?: --[a-z-]+(?: [A-Z][A-Z:]+)?)*"
    r"|(?<=on the server: )[^;]+|(?<=на сервере: )[^;]+"
)
# `docs/care.md, A heading`, at the end.
NAMED = re.compile(r"docs/(?:ru/)?([a-z]+\.md), ([^;]+)$")


@dataclass(frozen=True)
class Page:
    """The page in one language. head: of each table."""

    path: Path
    head: str
    source: Path | None = None


PAGES = (
    Page(ROOT / "docs" / "troubleshooting.md", "name | what people see | what is behind it | what to do"),
    Page(
        ROOT / "docs" / "ru" / "troubleshooting.md",
        "имя | что видят люди | что за этим стоит | что делать",
        ROOT / "docs" / "ru" / "symptoms.ini",
    ),
)

Texts = Mapping[str, Mapping[str, str]]


def english() -> Texts:
    """Symptom -> its texts, and the titles."""
    texts = {each.name: {"said": each.said, "cause": each.cause, "remedy": each.remedy} for each in _all()}
    return {TITLES: {title.lower(): title for title in doctor.SUBJECTS}, **texts}


def translated(source: Path) -> Texts:
    """The same of another language."""
    found = ConfigParser(interpolation=None)
    found.read_string(source.read_text("utf-8"))
    return {name: {key: " ".join(value.split()) for key, value in found[name].items()} for name in found.sections()}


def filled(page: Page) -> str:
    """The text of the page as it must be. Raises ValueError where it has no place for what is made."""
    return pages.filled(page.path, _made(page, translated(page.source) if page.source else english()))


def write() -> list[Path]:
    """Write the pages; returns those that changed."""
    return pages.write({page.path: filled(page) for page in PAGES})


def _all() -> Iterator[Symptom[Any]]:
    for symptoms in doctor.SUBJECTS.values():
        yield from symptoms


def _made(page: Page, texts: Texts) -> Iterator[str]:
    for title, symptoms in doctor.SUBJECTS.items():
        yield f"### {texts[TITLES][title.lower()]}\n"
        yield f"| {page.head} |\n|---|---|---|---|"
        for each in symptoms:
            said, cause, remedy = (texts[each.name][key].replace("|", "\\|") for key in ("said", "cause", "remedy"))
            yield f"| `{each.name}` | {said} | {cause} | {coded(remedy)} |"
        yield ""


def coded(text: str) -> str:
    """With its commands as code, and the pages that it names as links."""
    text = NAMED.sub(lambda found: f"[{found[2]}]({found[1]}#{anchor(found[2])})", text)
    return COMMAND.sub(lambda found: found[0] if found[0].startswith("`") else f"`{found[0].strip()}`", text)
