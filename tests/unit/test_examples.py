"""What people copy from the documents is safe to copy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import everything, name
from tests.docs.settings import PAGES

COMMAND = re.compile(r"(?:ALERT_COMMAND=|\b(?:curl|wget) )[^`\n]*")
SECRET = re.compile(r"token|secret|passw|bearer|authorization|/bot|://[^ /]+@", re.I)


FILES = [*everything(), *(page.source for page in PAGES)]


@pytest.mark.parametrize("file", FILES, ids=name)
def test_no_example_has_a_secret_in_an_argument(file: Path) -> None:
    """Every user of a machine can read the arguments of every process."""
    commands = COMMAND.findall(file.read_text("utf-8"))
    assert [command for command in commands if SECRET.search(command)] == []


def test_there_are_examples() -> None:
    """Of both kinds, in both languages: else nothing was looked at above."""
    found = [name(file) for file in FILES if COMMAND.search(file.read_text("utf-8"))]
    assert {"docs/certificates.md", "docs/ru/certificates.md", ".env.dist", "docs/ru/env.dist"} <= set(found)
