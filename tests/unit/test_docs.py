"""The documents agree with each other, with the code, and in both languages; their blocks are run end to end."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile import ns
from tests.docs import settings, symptoms
from tests.docs.pages import (
    ENGLISH_ALONE,
    SERVER,
    anchors,
    blocks,
    english,
    everything,
    headings,
    links,
    name,
    outline,
    prose,
    russian,
)
from tests.sandbox.commands import ROOT

TESTS = ROOT / "tests"
DOCS = ROOT / "docs"
# In the tests, where they name a fault: `C5`, `Finding 3`, `findings 4, 5 and 6`.
FAULT = re.compile(r"\b[CSAD]\d{1,2}\b")
FINDINGS = re.compile(r"\b[Ff]indings? (\d+(?:(?:, | and )\d+)*)")
ROW = re.compile(r"^\| ([CSAD]?\d+) \|.*\| ([^|]*) \|$", re.M)


@pytest.mark.parametrize("page", english(), ids=name)
def test_the_russian_page_says_the_same(page: Path) -> None:
    """Its commands are those that are run: the blocks are equal, so they need no run of their own."""
    other = russian(page)
    assert blocks(other) == blocks(page)
    assert outline(other) == outline(page)
    # Each leads to the other, from its first lines.
    assert other in [target for target, _ in list(links(page))[:2]]
    assert page in [target for target, _ in list(links(other))[:2]]


def test_no_page_is_russian_alone() -> None:
    there = {page.name for page in (DOCS / "ru").glob("*.md")}
    assert there == {page.name for page in DOCS.glob("*.md")} - set(ENGLISH_ALONE)


@pytest.mark.parametrize("page", everything(), ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in links(page):
        assert target.exists(), f"{name(page)}: {target}"
        if anchor:
            assert anchor in anchors(target), f"{name(page)}: {name(target)}#{anchor}"


@pytest.mark.parametrize("start", ["README.md", "README.ru.md"])
def test_the_readme_is_short_and_leads_to_every_page(start: str) -> None:
    assert len((ROOT / start).read_text("utf-8").splitlines()) <= 150
    language = DOCS / "ru" if start == "README.ru.md" else DOCS
    assert {target for target, _ in links(ROOT / start)} >= set(language.glob("*.md"))


def test_every_task_has_its_row_and_its_section_in_the_same_order() -> None:
    """For the tasks.md of each language, the other test compares the headings."""
    sections = headings(DOCS / "tasks.md")[1:]
    assert sorted(sections) == sorted(ns.task_names)
    rows = re.findall(r"^\| \[`([a-z-]+)`\]\(docs/tasks\.md#([a-z-]+)\) \|", prose(ROOT / "README.md"), re.M)
    assert rows == [(task, task) for task in sections]


def test_only_what_needs_the_outside_world_is_excepted() -> None:
    for page in everything():
        assert "```bash" not in page.read_text("utf-8")
        for why, text in blocks(page):
            if elsewhere := re.fullmatch(r"(tests/e2e/test_\w+\.py) tests it", why):
                assert (ROOT / elsewhere[1]).is_file(), why
            elif page in english() or page.parent == ROOT:
                assert why or SERVER in text, text
                assert why in {
                    "",
                    "needs a real server",
                    "needs the address of your copy",
                    "needs the images in your own Docker",
                    "needs an image of yours",
                    "this is the tests",
                }
    assert len([why for page in english() for why, _ in blocks(page) if not why]) >= 14


@pytest.mark.parametrize("page", settings.PAGES, ids=lambda page: name(page.path))
def test_the_settings_page_is_made_from_its_source(page: settings.Page) -> None:
    assert settings.filled(page) == page.path.read_text("utf-8"), "out of date: ./inv docs writes it"


@pytest.mark.parametrize("page", symptoms.PAGES, ids=lambda page: name(page.path))
def test_the_page_about_troubles_is_made_of_what_doctor_says(page: symptoms.Page) -> None:
    assert symptoms.filled(page) == page.path.read_text("utf-8"), "out of date: ./inv docs writes it"


def test_the_translated_symptoms_are_the_same() -> None:
    """Every one, with its code and its commands, but for where these stand in the sentence."""
    theirs = symptoms.translated(DOCS / "ru" / "symptoms.ini")
    ours = symptoms.english()
    assert theirs.keys() == ours.keys()
    for name_, texts in ours.items():
        assert theirs[name_].keys() == texts.keys(), name_
        for key, text in texts.items():
            codes = [sorted(re.findall(r"`[^`]*`", symptoms.coded(each))) for each in (theirs[name_][key], text)]
            assert codes[0] == codes[1], (name_, key)


def test_the_translated_settings_are_the_same() -> None:
    """Keys, defaults, choices, and whatever is code; the words are the translator's."""
    ours, theirs = (settings.settings(page.source) for page in settings.PAGES)
    assert [setting.keys for setting in theirs] == [setting.keys for setting in ours]
    known = [key for setting in ours for key in setting.keys]
    for one, other in zip(ours, theirs, strict=True):
        assert list(_code(other, known)) == list(_code(one, known)), list(one.keys)


def test_a_setting_without_an_explanation_is_refused(tmp_path: Path) -> None:
    source = tmp_path / ".env.dist"
    source.write_text("# Settings.\n\n#NEW_SETTING=\n")
    with pytest.raises(ValueError, match=r"NEW_SETTING: no line above explains it"):
        settings.settings(source)


def _code(setting: settings.Setting, known: list[str]) -> Iterator[object]:
    """Sorted, as one language has in the second sentence what the other has in the first."""
    for text in (setting.paragraph, *(meaning for _, meaning in setting.choices)):
        yield sorted(re.findall(r"`[^`]*`", settings.coded(text, known)))
    yield ["" if value in settings.EMPTY else value for value, _ in setting.choices]


def test_pages_that_the_code_names_are_there() -> None:
    """`docs/care.md, Another name`: the page, and the heading behind it."""
    files = [ROOT / ".env.dist", DOCS / "ru" / "env.dist", *(ROOT / "fabfile").rglob("*.py")]
    named = [
        found
        for file in files
        for found in re.findall(r"\b(docs/[a-z/]+\.md)(?:, [«]?([A-ZА-Я][\w ]*\w))?", file.read_text("utf-8"))
    ]
    assert len(named) >= 4
    for page, heading in named:
        assert not heading or heading in headings(ROOT / page), (page, heading)
        assert (ROOT / page).is_file(), page


def test_every_fault_that_a_test_names_is_in_the_list() -> None:
    listed = [number for number, _ in ROW.findall(prose(DOCS / "faults.md"))]
    assert len(listed) == len(set(listed))
    named = {(number, str(file)) for file in TESTS.rglob("*.py") for number in _faults(file)}
    assert len(named) >= 40
    assert [(number, file) for number, file in named if number not in listed] == []


def test_every_fault_has_a_test_that_is_there() -> None:
    """One that is said to be covered and is not: the row says so, in words."""
    for number, tests in ROW.findall(prose(DOCS / "faults.md")):
        found = re.findall(r"`((?:unit|e2e)/\w+\.py)::(\w+)`", tests)
        assert found or tests == "–", number
        for file, function in found:
            assert f"def {function}(" in (TESTS / file).read_text("utf-8"), (number, file, function)


def _faults(file: Path) -> Iterator[str]:
    """The faults that a file of tests names: in its docstrings, comments, and names of tests."""
    if file.name == Path(__file__).name:
        return
    source = file.read_text("utf-8")
    tree = ast.parse(source)
    texts = re.findall(r"^\s*#.*$", source, re.M)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)):
            texts.append(ast.get_docstring(node) or "")
        if isinstance(node, ast.FunctionDef):
            texts += [part.upper() for part in re.findall(r"_([csad]\d{1,2})(?=_)", node.name)]
    for text in texts:
        yield from FAULT.findall(text)
        for numbers in FINDINGS.findall(text):
            yield from re.findall(r"\d+", numbers)


def test_decisions_are_numbered_short_and_listed() -> None:
    files = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    index = DOCS / "decisions" / "README.md"
    assert [target for target, _ in links(index)][1:] == files
    # One that is on its way may leave a gap.
    numbers = [int(file.name[:2]) for file in files]
    assert len({*numbers}) == len(numbers)
    for number, file in zip(numbers, files, strict=True):
        title = headings(file)[0]
        assert file.name[2] == "-"
        assert title.startswith(f"{number}. ")
        assert f"{number}. [{title.partition(' ')[2]}]({file.name})" in index.read_text("utf-8")
        assert len(file.read_text("utf-8").splitlines()) <= 15
