"""Every command block of the README is run, in order, as written, against the sandbox's server."""

from __future__ import annotations

import re
import subprocess

from tests.sandbox.commands import ROOT
from tests.sandbox.demo import fab

from .world import World

BLOCK = re.compile(r"(?:<!-- not run by tests: (?P<why>.*?) -->\n)?```sh\n(?P<text>.*?)```", re.S)
SERVER = "./fab -H root@registry.example.com"


def blocks(name: str = "README.md") -> list[tuple[str, str]]:
    """(why it is not run, or ''; the commands) of each block."""
    text = (ROOT / name).read_text("utf-8")
    return [(found["why"] or "", found["text"]) for found in BLOCK.finditer(text)]


def outline(name: str) -> list[str]:
    """Headings (their level; the text too where it is the name of a task), rows of tables (what stands
    in their first cell as code), and whole blocks of output, in order.
    """
    found, inside = [], ""
    for line in (ROOT / name).read_text("utf-8").splitlines():
        if line.startswith("```"):
            inside = "" if inside else line
            found.append(line)
        elif inside:
            found.append(line)
        elif heading := re.match(r"(#+) (.*)", line):
            found.append(heading[0] if re.fullmatch(r"[a-z-]+", heading[2]) else heading[1])
        elif line.startswith("|"):
            found.append(" ".join(re.findall(r"`[^`]*`", line.split("|")[1])) or "|")
    return found


def test_the_russian_readme_says_the_same() -> None:
    """Its commands are those that are run here: the blocks are equal, so they need no run of their own."""
    assert blocks("README.ru.md") == blocks()
    assert outline("README.ru.md") == outline("README.md")


def test_only_what_needs_the_outside_world_is_excepted() -> None:
    excepted = [why for why, _ in blocks() if why]
    assert set(excepted) <= {
        "needs a real server",
        "needs the address of your copy",
        "needs the images in your own Docker",
        "needs an image of yours",
        "this is the tests",
        "it has a test of its own",
    }
    assert len(blocks()) - len(excepted) >= 12
    assert "```bash" not in (ROOT / "README.md").read_text("utf-8")


def test_every_block_does_what_it_says(deployed: World) -> None:
    command = " ".join(fab(deployed.sandbox, deployed.settings))
    for why, text in blocks():
        if why:
            continue
        assert SERVER in text
        script = text.replace(SERVER, command)
        done = subprocess.run(["sh", "-ec", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
