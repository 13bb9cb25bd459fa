"""The words of the page: the same in both languages, all of them used, and none outside; and what is not ours."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from .served import PAGE

SOURCES = sorted(PAGE.glob("*.js"))
KEY = re.compile(r'^ {2}("[^"]+"|[a-z]+): (.*),$', re.M)
TEMPLATE = re.compile(r"(?:html|svg)`")
SPOKEN = ("aria-label", "title", "placeholder", "alt")
# Plurals of the language (Unicode, CLDR), and what is no word: marks, and the name of the programs that they are.
PLURALS = {"en": {"one", "other"}, "ru": {"one", "few", "many", "other"}}
NO_WORDS = {"registry"}


def words(language: str) -> dict[str, str]:
    text = (PAGE / "words" / f"{language}.js").read_text("utf-8")
    found = {key.strip('"'): value for key, value in KEY.findall(text)}
    assert len(found) == len(text.splitlines()) - 3
    return found


def placeholders(value: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", value))


def test_both_languages_have_the_same_keys_and_places() -> None:
    ours, theirs = words("en"), words("ru")
    assert list(ours) == list(theirs)
    for key, value in ours.items():
        assert placeholders(theirs[key]) == placeholders(value), key
        assert theirs[key].startswith("{") == value.startswith("{"), key
    for language, plurals in PLURALS.items():
        for key, value in words(language).items():
            if value.startswith("{"):
                assert set(re.findall(r"\b(\w+): \"", value)) == plurals, (language, key)


def test_russian_is_russian() -> None:
    same = {key for key, value in words("ru").items() if value == words("en")[key]}
    assert {key for key in same if not key.startswith("client.")} <= {"kind.sbom"}


def test_every_key_is_used_and_every_used_key_is_there() -> None:
    known = set(words("en"))
    code = "\n".join(path.read_text("utf-8") for path in SOURCES)
    plain = set(re.findall(r'\b(?:t|say)\(\s*"([^"]+)"', code))
    # t(`column.${name}`): one of a family.
    families = {
        re.escape(text).replace(r"\*", "[^ ]+")
        for text in re.sub(r"\$\{[^}]*\}", "*", "\n".join(re.findall(r"\b(?:t|has)\(`([^`]+)`", code))).splitlines()
    }
    literal = set(re.findall(r'"([a-z]+(?:[.-][a-z-]+)*)"', code))
    assert plain <= known
    unused = {key for key in known if key not in literal and not any(re.fullmatch(family, key) for family in families)}
    assert unused == set()
    assert families


def templates(code: str) -> list[str]:
    """The texts of the templates; what is computed is left out, and templates within are found for themselves."""
    found = []
    for start in TEMPLATE.finditer(code):
        text, at, depth = [], start.end(), 0
        while depth or code[at] != "`":
            if code.startswith("${", at):
                depth += 1
                at += 2
            elif depth and code[at] in "{}":
                depth += 1 if code[at] == "{" else -1
                at += 1
            elif depth and code[at] == "`":
                at = _after(code, at)
            else:
                if not depth:
                    text.append(code[at])
                at += 1
        found.append("".join(text))
    return found


def _after(code: str, at: int) -> int:
    """Behind the template that begins here."""
    at, depth = at + 1, 0
    while depth or code[at] != "`":
        if code.startswith("${", at):
            depth += 1
            at += 1
        elif depth and code[at] in "{}":
            depth += 1 if code[at] == "{" else -1
        elif depth and code[at] == "`":
            at = _after(code, at) - 1
        at += 1
    return at + 1


def spoken(template: str) -> list[str]:
    """What a person would read of it."""
    told = [value for name in SPOKEN for value in re.findall(rf'\b{name}="([^"]*)"', template)]
    return [text for text in (*told, *re.split(r"<[^>]*>", template)) if re.search(r"[^\W\d_]{2,}", text)]


@pytest.mark.parametrize(
    "text", ['html`<p title="word">${x}</p>`', "html`<p>word</p>`", "html`${a.map((it) => html`<b>word</b>`)}`"]
)
def test_a_word_outside_is_found(text: str) -> None:
    assert [found for template in templates(text) for found in spoken(template)] == ["word"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_word_stands_outside(path: Path) -> None:
    code = path.read_text("utf-8")
    found = [text.strip() for template in templates(code) for text in spoken(template)]
    assert [text for text in found if text not in NO_WORDS and text != "team-a/app"] == []


@pytest.mark.parametrize("path", [*SOURCES, PAGE / "index.html"], ids=lambda path: path.name)
def test_nothing_that_the_policy_forbids_and_nothing_kept(path: Path) -> None:
    code = path.read_text("utf-8")
    assert not re.search(
        r"\sstyle=|<style|<script>|\.innerHTML|insertAdjacentHTML|unsafeHTML|eval\(|new Function", code
    )
    assert not re.search(r"sessionStorage|indexedDB|document\.cookie", code)
    assert set(re.findall(r'localStorage\.\w+\(\s*"?(\w+)', code)) <= {"theme", "lang"}
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", code)


def test_what_is_vendored_is_what_its_row_says() -> None:
    row = re.search(
        r"\| `(lit-html\.js)` \| lit-html, from npm \| ([\d.]+) \|.*`([0-9a-f]{64})` \|",
        (PAGE / "vendor/README.md").read_text(),
    )
    assert row is not None
    assert hashlib.sha256((PAGE / "vendor" / row[1]).read_bytes()).hexdigest() == row[3]


def test_what_is_vendored_is_the_package(tmp_path: Path) -> None:
    if not shutil.which("npm"):
        pytest.skip("there is no npm")
    version = re.search(r"lit-html, from npm \| ([\d.]+)", (PAGE / "vendor/README.md").read_text())
    assert version is not None
    argv = ["npm", "pack", "--silent", f"lit-html@{version[1]}"]
    packed = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    if packed.returncode:
        pytest.skip(f"npm does not reach its registry: {packed.stderr[-200:]}")
    with tarfile.open(tmp_path / packed.stdout.split()[-1]) as package:
        for ours, theirs in (("lit-html.js", "lit-html.js"), ("lit-html.LICENSE", "LICENSE")):
            file = package.extractfile(f"package/{theirs}")
            assert file is not None
            assert file.read() == (PAGE / "vendor" / ours).read_bytes()
        about = package.extractfile("package/package.json")
        assert about is not None
        assert json.load(about)["license"] == "BSD-3-Clause"
