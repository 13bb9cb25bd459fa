"""The walls of the house: what may import what, which names are taken, and what travels to the server."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import resolve_name
from io import BytesIO
from pathlib import Path

import pytest

import fabfile
from fabfile.machine import remote_call
from fabfile.settings import HOME, Settings
from fabfile.stack import capacity, carried, templates

FABFILE = HOME / "fabfile"
FILES = sorted(FABFILE.rglob("*.py"))
# Steps that call other steps.
CHAINS = (
    "init", "bootstrap", "adopt", "upgrade", "rollback", "restore", "move", "move_to", "standby", "doctor", "forget",
)  # fmt: skip
# From the lowest to the highest; a folder imports from those before it.
FLOORS = (
    "machine", "accounts", "stack", "certificate", "registry", "store", "copies", "watch", "old_registry", "steps"
)  # fmt: skip
# What every folder may import.
GROUND = {
    "authority", "entries", "errors", "launcher", "layout", "names", "report", "rules", "secret", "settings", "storage",
    "syntax", "text", "together", "version",
}  # fmt: skip


def module(path: Path) -> str:
    parts = path.relative_to(HOME).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, ours by their full names."""
    package = ".".join(path.relative_to(HOME).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            names = [alias.name for alias in node.names]
            modules = [name for name in names if (HOME / f"{base.replace('.', '/')}/{name}.py").is_file()]
            if modules != names:
                yield base
            yield from (f"{base}.{name}" for name in modules)


def test_one_file_a_task() -> None:
    tasks = {name.replace("-", "_") for name in fabfile.ns.task_names}
    assert {path.stem for path in (FABFILE / "steps").glob("*.py")} == tasks | {"__init__"}


def test_no_folder_has_the_name_of_a_task() -> None:
    """A task is an attribute of the package, and a module of its name would take its place."""
    tasks = {name.replace("-", "_") for name in fabfile.ns.task_names}
    assert not tasks & {path.stem for path in FABFILE.iterdir()}


def test_below_onhost_there_is_the_standard_library_and_onhost_alone() -> None:
    strange = [
        f"{path.relative_to(HOME)}: {name}"
        for path in FILES
        if "onhost" in path.parts
        for name in imports(path)
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not (name.startswith("fabfile.") and ".onhost" in name)
        and name != "fabfile.layout"
    ]
    assert strange == []


def test_imports_go_down_alone() -> None:
    """Between folders, and within the floors; only some import other steps."""
    wrong = []
    for path in FILES:
        here = module(path).split(".")
        if len(here) < 3 and path.name != "__init__.py":
            continue
        for name in imports(path):
            there = name.split(".")
            if there[0] != "fabfile" or len(there) < 2 or len(here) < 2:
                continue
            if there[1] in GROUND or there[1] == here[1] != "steps":
                continue
            chain = here[1] == "steps" == there[1] and here[-1] in CHAINS
            lower = there[1] in FLOORS[: FLOORS.index(here[1])]
            if not (chain or lower):
                wrong.append(f"{'.'.join(here)} -> {name}")
    assert wrong == []


def test_the_ground_imports_no_folder() -> None:
    found = [f"{name} -> {other}" for name in GROUND if (FABFILE / f"{name}.py").is_file()
             for other in imports(FABFILE / f"{name}.py")
             if other.startswith(tuple(f"fabfile.{f}" for f in FLOORS))]  # fmt: skip
    assert found == []


def test_no_import_runs_in_a_circle() -> None:
    edges = {module(path): set(imports(path)) for path in FILES if path.name != "__init__.py"}
    state: dict[str, int] = {}

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert state.get(name) != 1, f"a circle: {' -> '.join((*way, name))}"
        if name in edges and name not in state:
            state[name] = 1
            for other in sorted(edges[name]):
                visit(other, (*way, name))
            state[name] = 2

    for name in edges:
        visit(name, ())


def test_no_name_hides_a_library() -> None:
    """`fabfile/` itself comes first on the path of `fab`, which loads it as a directory."""
    locked = re.findall(r"^([A-Za-z0-9._-]+)==", (HOME / "requirements-dev.lock").read_text(), re.M)
    locked += re.findall(r"^([A-Za-z0-9._-]+)==", (HOME / "requirements.lock").read_text(), re.M)
    taken = {name.lower().replace("-", "_") for name in locked} | set(sys.stdlib_module_names)
    assert not taken & {path.stem for path in FABFILE.iterdir() if path.name not in ("__init__.py", "__main__.py")}


def test_what_the_server_has_is_enough_and_no_more() -> None:
    have = carried.carried()
    assert {"fabfile/__init__.py", "fabfile/steps/renew.py", "fabfile/machine/onhost/lock.sh"} <= set(have)
    # Neither SSH nor templates nor another step.
    assert not {"fabfile/machine/ssh.py", "fabfile/stack/templates.py"} & set(have)
    assert [path for path in have if "/steps/" in path] == ["fabfile/steps/__init__.py", "fabfile/steps/renew.py"]


def test_the_server_runs_with_what_it_has(settings: Settings, tmp_path: Path) -> None:
    """Every module that travels can be imported from nothing but what travels."""
    tree = templates.tree(settings, capacity.derived({"memory": 2 << 30, "cores": 2}))
    for name, file in tree.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(file.content)
    assert zipfile.ZipFile(BytesIO(tree["lib.zip"].content)).testzip() is None
    names = [module(HOME / path) for path in carried.carried() if path.endswith(".py") and "__main__" not in path]
    code = f"import sys; sys.path += ['lib.zip', '.']\nfor name in {names!r}: __import__(name)\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [path for path in FILES if "onhost" in path.parts and path.name != "__init__.py"])
def test_every_module_of_an_onhost_folder_can_be_carried(path: Path) -> None:
    """As SSH brings it: source through standard input, with no file of ours beside it and no library."""
    found = importlib.import_module(module(path))
    function = next(value for value in vars(found).values() if getattr(value, "__module__", "") == found.__name__)
    job = json.loads(remote_call.packed([(function, (), {})])) | {"calls": []}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", remote_call.LOADER],
        input=json.dumps(job), cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert found.__name__ == job["modules"][-1][0]
