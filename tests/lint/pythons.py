"""The code under each Python that we support: a server has the one of its system, a laptop another.

mypy judges for the oldest and the newest. Where an interpreter is there it has the last word: it compiles all
of the code, and imports what runs on a server with nothing but its own standard library, as it is done there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from fabfile.errors import StepError
from fabfile.settings import HOME, load
from fabfile.stack import capacity, templates

SUPPORTED = ("3.10", "3.11", "3.12", "3.13")
EDGES = (SUPPORTED[0], SUPPORTED[-1])

# Alone with the standard library, as deploy/inv has it.
ALONE = ("-I", "-S", "-B", "-X", "pycache_prefix=/nonexistent")
# An escape that means nothing is a warning now and an error one day.
COMPILE = "import sys\nfor path in sys.argv[1:]: compile(open(path, encoding='utf-8').read(), path, 'exec')"
# Arguments: the modules, with commas between them; where they are.
IMPORT = (
    "import importlib, sys\nsys.path += sys.argv[2:]\nfor name in sys.argv[1].split(','): importlib.import_module(name)"
)
SETTINGS = "REGISTRY_DOMAIN=registry.example.org\nACME_EMAIL=you@example.org\nREGISTRY_USER=admin\n"


def check() -> None:
    """Look at the code with every interpreter that is there. Raises StepError at the first that does not take it."""
    found = {version: interpreter(version) for version in SUPPORTED}
    for version, python in found.items():
        if python:
            compiled(version, python)
            with tempfile.TemporaryDirectory() as directory:
                far = sent(version, python, Path(directory) / "sent")
                own = deployed(version, python, Path(directory) / "deployed")
            print(f"Python {version}: {far} modules that are sent to a server, {own} that stay there")
    if missing := [version for version, python in found.items() if not python]:
        print(f"Python {', '.join(missing)}: not here, so only mypy looked")


def compiled(version: str, python: str) -> None:
    """All of the code is code. Raises StepError."""
    warnings = ("-W", "error::SyntaxWarning", "-W", "error::DeprecationWarning")
    paths = [path for name in ("fabfile", "tests", "deploy") for path in sorted((HOME / name).rglob("*.py"))]
    _run(version, python, *warnings, "-c", COMPILE, *map(str, [*paths, *HOME.glob("*.py")]))


def sent(version: str, python: str, top: Path) -> int:
    """Import what a server gets through SSH, without the rest of its packages. Raises StepError.

    top: where it is put. Returns how many modules that are.
    """
    for path in (HOME / "fabfile/layout.py", *sorted((HOME / "fabfile").rglob("onhost/**/*.py"))):
        copy = top / path.relative_to(HOME)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    names = _modules(top)
    _run(version, python, "-c", IMPORT, ",".join(names), str(top))
    return len(names)


def deployed(version: str, python: str, top: Path) -> int:
    """Import and run what `sync` brings to a server. Raises StepError. For the rest see `sent`."""
    settings = top / "settings.env"
    top.mkdir()
    settings.write_text(SETTINGS)
    tree = templates.tree(load(settings), capacity.derived({"memory": 2 << 30, "cores": 2}))
    for name, file in tree.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(file.content)
    names = _modules(top)
    _run(version, python, "-c", IMPORT, ",".join(names), str(top / "lib.zip"), str(top))
    _run(version, python, str(top / "fabfile"), "inv", "--search-root", str(top), "--list")
    return len(names)


def interpreter(version: str) -> str:
    """The path of a Python of that version, on PATH or of pyenv; '' where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"versions/{version}.*/bin/python"))]
    # pyenv puts programs on PATH that only say that they are not there.
    return next((path for path in found if path and _version(path) == version), "")


def _version(python: str) -> str:
    argv = [python, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def _modules(top: Path) -> list[str]:
    """The names of what can be imported below `fabfile`; __main__ is run instead."""
    paths = [path.relative_to(top).with_suffix("") for path in sorted((top / "fabfile").rglob("*.py"))]
    return [".".join(p.parts).removesuffix(".__init__") for p in paths if p.name != "__main__"]


def _run(version: str, python: str, *args: str) -> None:
    done = subprocess.run([python, *ALONE, *args], capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        print(done.stderr.rstrip())
        raise StepError(f"Python {version} does not take the code", f"{python} said what stands above")
