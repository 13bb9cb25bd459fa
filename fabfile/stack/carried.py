"""What of this program travels to the server, so that cron can run `inv renew` there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

from ..settings import HOME

# What the server runs: the launcher, and the tasks that it has there.
# Comes with the package, and no function of it ever runs on the server.
LAPTOP = (
    "fabfile/__init__.py", "fabfile/running.py", "fabfile/store_tasks.py", "fabfile/copy_tasks.py",
    "fabfile/upgrade_tasks.py", "fabfile/standby_tasks.py",
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
        tree = ast.parse((HOME / path).read_text("utf-8"))
        todo += _imported(path, tree)
        found |= _scripts(path, tree)
    return tuple(sorted(found))


def _imported(path: str, tree: ast.Module) -> Iterator[str]:
    """The files of ours that a module imports, and those of the packages that they are in."""
    package = ".".join(Path(path).parts[:-1])
    for node in tree.body if path in LAPTOP else ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = resolve_name("." * node.level + (node.module or ""), package) if node.level else str(node.module)
        for name in (base, *(f"{base}.{alias.name}" for alias in node.names)):
            yield from _files(name)


def _files(module: str) -> Iterator[str]:
    parts = module.split(".")
    if parts[0] != "fabfile":
        return
    for length in range(1, len(parts) + 1):
        path = "/".join(parts[:length])
        for file in (f"{path}/__init__.py", f"{path}.py"):
            if (HOME / file).is_file():
                yield file


def _scripts(path: str, tree: ast.Module) -> set[str]:
    """The shell scripts that a module names, in the `onhost` folder beside it."""
    names = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    beside = Path(path).parent / "onhost"
    return {str(beside / name) for name in names if name.endswith(".sh") and (HOME / beside / name).is_file()}
