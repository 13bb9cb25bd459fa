"""The settings pages, made from `.env.dist` and from its translation. `./inv docs` writes them.

A setting is a block: comment lines, and below them the one or more keys that they explain. A line of the comment
that is indented is a choice. The translation has the same blocks, so adding a setting is one block in each file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.sandbox.commands import ROOT

from . import pages

KEY = re.compile(r"(#?)([A-Z0-9_]+)=(.*)")
CHOICE = re.compile(r"#   (\S+)\s+(.*)")
GOES_ON = re.compile(r"# {6,}(.*)")
EMPTY = ("empty", "пусто")


@dataclass(frozen=True)
class Page:
    """A settings page: what it is made from, and its own words."""

    source: Path
    path: Path
    title: str
    head: str
    mandatory: str
    default: str
    empty: str


PAGES = (
    Page(
        ROOT / ".env.dist", ROOT / "docs" / "settings.md",
        "All settings", "setting | default | what it is", "you must set it", "Default", "empty",
    ),
    Page(
        ROOT / "docs" / "ru" / "env.dist", ROOT / "docs" / "ru" / "settings.md",
        "Все настройки", "настройка | по умолчанию | что это", "задайте сами", "По умолчанию", "пусто",
    ),
)  # fmt: skip


@dataclass
class Setting:
    """A block. keys: key -> its default, None where it is mandatory. choices: (value, what it means)."""

    keys: dict[str, str | None] = field(default_factory=dict)
    paragraph: str = ""
    choices: list[tuple[str, str]] = field(default_factory=list)

    @property
    def first(self) -> str:
        """Its first sentence, without what ends it."""
        return re.split(r"[.:](?:\s|$)", self.paragraph)[0]


def settings(source: Path) -> list[Setting]:
    """The blocks of a file, in order. Raises ValueError for a key without an explanation."""
    found = []
    for block in re.split(r"\n\s*\n", source.read_text("utf-8").strip()):
        setting = Setting()
        for line in block.splitlines():
            _add(setting, line)
        if setting.keys and not setting.paragraph:
            raise ValueError(f"{source.name}: {', '.join(setting.keys)}: no line above explains it")
        if setting.keys:
            found.append(setting)
    return found


def filled(page: Page) -> str:
    """The text of the page as it must be. Raises ValueError where it has no place for what is made."""
    return pages.filled(page.path, _made(page))


def write() -> list[Path]:
    """Write the pages; returns those that changed."""
    return pages.write({page.path: filled(page) for page in PAGES})


def _add(setting: Setting, line: str) -> None:
    if key := KEY.fullmatch(line):
        setting.keys[key[2]] = key[3] if key[1] else None
    elif setting.choices and (more := GOES_ON.fullmatch(line)):
        value, meaning = setting.choices[-1]
        setting.choices[-1] = (value, f"{meaning} {more[1]}")
    elif choice := CHOICE.fullmatch(line):
        setting.choices.append((choice[1], choice[2]))
    else:
        setting.paragraph = f"{setting.paragraph} {line.removeprefix('#').strip()}".strip()


def _made(page: Page) -> Iterator[str]:
    found = settings(page.source)
    known = [key for setting in found for key in setting.keys]
    yield f"## {page.title}\n"
    yield f"| {page.head} |\n|---|---|---|"
    for setting in found:
        for key, default in setting.keys.items():
            link = f"[`{key}`](#{_title(setting).lower().replace(',', '').replace(' ', '-')})"
            yield f"| {link} | {_value(page, default)} | {coded(setting.first, known)} |"
    yield ""
    for setting in found:
        yield f"### {_title(setting)}\n"
        yield f"{coded(setting.paragraph, known)}\n"
        for value, meaning in setting.choices:
            shown = value if value in EMPTY else f"`{value}`"
            yield f"- {shown} – {coded(meaning, known)}"
        if setting.choices:
            yield ""
        if None in setting.keys.values():
            yield f"{page.mandatory.capitalize()}.\n"
        else:
            defaults = [_value(page, default) for default in setting.keys.values()]
            yield f"{page.default}: {', '.join(dict.fromkeys(defaults))}.\n"


def coded(text: str, known: list[str]) -> str:
    """The text with the names of settings, and the values behind them, as code, and other pages as links.

    What is code already stays.
    """
    keys = "|".join(map(re.escape, known))
    pattern = rf"`[^`]*`|\b(?:{keys})\b(?:=[^\s,;:)]*[^\s,;:).])?"
    text = re.sub(pattern, lambda found: found[0] if found[0].startswith("`") else f"`{found[0]}`", text)
    return re.sub(r"\bdocs/(?:ru/)?([a-z]+\.md)", r"[\1](\1)", text)


def _title(setting: Setting) -> str:
    return ", ".join(setting.keys)


def _value(page: Page, default: str | None) -> str:
    return page.mandatory if default is None else f"`{default}`" if default else page.empty
