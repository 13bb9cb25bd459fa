"""What of this program travels to the server, so that cron can run `inv renew` there."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

from .. import syntax
from ..settings import HOME

# What the server runs: the launcher, and the tasks that it has there.
# Comes with the package, and no function of it ever runs on the server.
LAPTOP = (
    "fabfile/__init__.py", "fabfile/running.py", "fabfile/store_tasks.py", "fabfile/copy_tasks.py",
    "fabfile/upgrade_tasks.py", "fabfile/watch_tasks.py", "fabfile/standby_tasks.py",
)  # fmt: skip
ENTRIES = ("fabfile/__main__.py", "fabfile/server_tasks.py")


@cache
def carried() -> tuple[str, ...]:
    """The paths below HOME: the entries, every module that one of them imports, and the scripts that these name.

    An import inside a function counts, too. Only those of LAPTOP's functions do not.
    """
    found: set[str] = set()
    todo = list(ENTRIES)
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        source = (HOME / path).read_text("utf-8")
        tree = syntax.tree(source)
        todo += _imported(path, tree)
        if ".sh" in source:
            found |= _scripts(path, tree)
    return tuple(sorted(found))


def _imported(path: str, tree: ast.Module) -> Iterator[str]:
    """The files of ours that a module imports, and those of the packages that they are in."""
    package = ".".join(Path(path).parts[:-1])
    for node in tree.body if path in LAPTOP else _statements(tree.body):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = resolve_name("." * node.level + (node.module or ""), package) if node.level else str(node.module)
        if base.partition(".")[0] == "fabfile":
            for name in (base, *(f"{base}.{alias.name}" for alias in node.names)):
                yield from _files(name)


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Those of a body and of all bodies in it. `ast.walk` goes through each word of each expression, too, which takes
    twice as long, and imports are statements.
    """
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, field, ())
            # The body of a lambda is an expression.
            if isinstance(inner, list):
                yield from _statements(inner)


@cache
def _files(module: str) -> tuple[str, ...]:
    parts = module.split(".")
    paths = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    return tuple(file for path in paths for file in (f"{path}/__init__.py", f"{path}.py") if (HOME / file).is_file())


def _scripts(path: str, tree: ast.Module) -> set[str]:
    """The shell scripts that a module names, in the `onhost` folder beside it."""
    names = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    beside = Path(path).parent / "onhost"
    return {str(beside / name) for name in names if name.endswith(".sh") and (HOME / beside / name).is_file()}
