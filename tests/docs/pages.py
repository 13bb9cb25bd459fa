"""The pages in both languages, and what is in them: blocks of commands, headings, links."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.sandbox.commands import ROOT

# As it stands in the pages; the tests put the sandbox's command in its place.
SERVER = "./fab -H root@registry.example.com"
BLOCK = re.compile(r"(?:<!-- not run by tests: (?P<why>.*?) -->\n)?```sh\n(?P<text>.*?)```", re.S)
# In docs/: for developers, who read English.
ENGLISH_ALONE = ("faults.md",)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

# Between these lines nothing is written by hand.
MADE = re.compile(r"(<!-- made by .*? -->\n).*?(<!-- made until here -->\n)", re.S)


def filled(path: Path, lines: Iterable[str]) -> str:
    """The text of a page with what is made in its place. Raises ValueError where it has no place for that."""
    text = path.read_text("utf-8")
    if not MADE.search(text):
        raise ValueError(f"{path.name} has no lines `made by` and `made until here`")
    made = "\n".join(lines)
    return MADE.sub(lambda found: f"{found[1]}\n{made}\n{found[2]}", text)


def write(made: Mapping[Path, str]) -> list[Path]:
    """Write pages; returns those that changed."""
    changed = [path for path, text in made.items() if text != path.read_text("utf-8")]
    for path in changed:
        path.write_text(made[path], "utf-8")
    return changed


def english() -> list[Path]:
    """The pages that exist in Russian, too."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    return [ROOT / "README.md", *(page for page in pages if page.name not in ENGLISH_ALONE)]


def everything() -> list[Path]:
    """All pages, of both languages and of one."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def russian(page: Path) -> Path:
    """The same page in Russian."""
    return ROOT / "README.ru.md" if page.parent == ROOT else page.parent / "ru" / page.name


def name(page: Path) -> str:
    """The page as a path from the top of the repository."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[tuple[str, str]]:
    """(why it is not run, or ''; the commands) of each block."""
    return [(found["why"] or "", found["text"]) for found in BLOCK.finditer(page.read_text("utf-8"))]


def under(page: Path, heading: str) -> list[str]:
    """The blocks of commands below a heading that are marked as run by a test of their own."""
    section = re.search(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", page.read_text("utf-8"), re.S | re.M)
    assert section is not None, heading
    return [block["text"] for block in BLOCK.finditer(section[1]) if (block["why"] or "").startswith("tests/")]


def outline(page: Path) -> list[str]:
    """Headings (their level; the text too where it is the name of a task or of a setting), rows of tables (what
    stands in their first cell as code), and whole blocks of output, in order.
    """
    found, inside = [], ""
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("```"):
            inside = "" if inside else line
            found.append(line)
        elif inside:
            found.append(line)
        elif heading := re.match(r"(#+) (.*)", line):
            found.append(heading[0] if re.fullmatch(r"[a-z-]+|[A-Z_, ]+", heading[2]) else heading[1])
        elif line.startswith("|"):
            found.append(" ".join(re.findall(r"`[^`]*`", line.split("|")[1])) or "|")
    return found


def anchors(page: Path) -> list[str]:
    """What a link can name behind `#`, as GitHub makes it of each heading."""
    return [anchor(heading) for heading in headings(page)]


def anchor(heading: str) -> str:
    """The same of one."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def headings(page: Path) -> list[str]:
    """The texts of the headings, in order; a line of a block is none."""
    return re.findall(r"^#+ (.+)$", prose(page), re.M)


def prose(page: Path) -> str:
    """The page without its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.S | re.M)


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """(file, anchor or '') of each link to a file of the repository."""
    for target in LINK.findall(prose(page)):
        if not target.startswith(("https://", "mailto:")):
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor
