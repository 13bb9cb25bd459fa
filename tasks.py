"""`./inv TASK`: what runs where you stand. For a server see `./fab --list`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from invoke import Collection, Context, Exit, task

from fabfile.errors import for_people
from fabfile.here import renew

ROOT = Path(__file__).resolve().parent
DEVELOPMENT = ROOT / "requirements-dev.lock"
CODE = ("fabfile", "tasks.py", "tests")


@task(help={"stop": "Remove every trace of the demo."})
@for_people
def demo(c: Context, stop: bool = False) -> None:
    """See it work: a throw-away server on this machine, bootstrapped over SSH. Needs Docker."""
    from tests.sandbox import demo as sandbox

    sandbox.stop() if stop else sandbox.start()


@task(
    help={
        "select": "Only the tests whose names match: an expression for pytest -k.",
        "long": "The long ones instead: two years of renewals, with faults. They take an hour or two.",
    }
)
@for_people
def test(c: Context, select: str = "", long: bool = False) -> None:
    """Run every test, the end-to-end ones against a throw-away server on this machine."""
    from tests.sandbox.engine import ensure_engine
    from tests.sandbox.images import ensure_images

    ensure_engine(print)
    ensure_images(print)
    # Two at a time, a sandbox each: most of a test's time is waiting.
    parallel = ("--numprocesses", "2", "--dist", "worksteal")
    chosen = ("-m", "long", "-s") if long else ()
    development("pytest", *chosen, *(("-k", select) if select else parallel))


@task
@for_people
def lint(c: Context) -> None:
    """Check the code: ruff and mypy --strict. Rewrites nothing."""
    development("ruff", "check", ".")
    development("ruff", "format", "--check", ".")
    development("mypy", *CODE)
    development("mypy", "deploy/tasks.py")


@task(name="format")
@for_people
def format_(c: Context) -> None:
    """Put the code in order: ruff."""
    development("ruff", "format", ".")
    development("ruff", "check", "--fix", ".")


def development(tool: str, *args: str) -> None:
    """Run a development tool from .venv, where it is installed on first use."""
    bin_directory = Path(sys.executable).parent
    stamp = ROOT / ".venv" / DEVELOPMENT.name
    if not stamp.is_file() or stamp.read_bytes() != DEVELOPMENT.read_bytes():
        print("installing the development tools into .venv (once, about 15 seconds)", flush=True)
        pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        _run([*pip, "--require-hashes", "--requirement", str(DEVELOPMENT)])
        shutil.copyfile(DEVELOPMENT, stamp)
    _run([str(bin_directory / tool), *args])


def _run(argv: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = subprocess.run(argv, cwd=ROOT, env=environment, check=False).returncode
    if code:
        raise Exit(f"error: {Path(argv[0]).name} found something to mend", code if code > 0 else 1)


ns = Collection(demo, test, lint, format_, renew)
