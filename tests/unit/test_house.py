"""The sizes that let a reader keep a part of the house in mind."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile.settings import HOME

MODULE_LINES, FUNCTION_LINES = 300, 60
MODULES = [*sorted((HOME / "fabfile").rglob("*.py")), HOME / "tasks.py"]


def long_functions(source: str) -> Iterator[str]:
    """Name and lines of each that has more than it may, from its `def` to its end."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{node.name}: {lines}"


@pytest.mark.parametrize(("lines", "found"), [(FUNCTION_LINES, []), (FUNCTION_LINES + 1, ["long: 61"])])
@pytest.mark.parametrize("head", ["@task\ndef long():\n", "class A:\n async def long():\n", "def f():\n def long():\n"])
def test_a_long_function_is_found(head: str, lines: int, found: list[str]) -> None:
    """Decorators do not count; one within another or in a class does."""
    assert [text for text in long_functions(head + "  pass\n" * (lines - 1)) if text.startswith("long")] == found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(HOME)))
def test_modules_and_functions_are_short(path: Path) -> None:
    source = path.read_text("utf-8")
    assert len(source.splitlines()) <= MODULE_LINES
    assert list(long_functions(source)) == []
