"""`./inv TASK`: what runs where you stand. For a server see `./fab --list`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from invoke import Collection, Context, Exit, task

from fabfile import launcher
from fabfile.errors import StepError, for_people
from fabfile.server_tasks import renew

ROOT = Path(__file__).resolve().parent
DEVELOPMENT = ROOT / "requirements-dev.lock"
CODE = ("fabfile", "tasks.py", "tests")


@task(help={"stop": "Remove its containers and data; Docker and the images stay."})
@for_people
def demo(c: Context, stop: bool = False) -> None:
    """See it work: a throw-away server on this machine, bootstrapped over SSH. Needs Docker."""
    from tests.sandbox import SandboxError
    from tests.sandbox import demo as sandbox

    try:
        sandbox.stop() if stop else sandbox.start()
    except SandboxError as error:
        raise StepError(str(error)) from None


@task(
    help={
        "select": "Only the tests whose names match: an expression for pytest -k.",
        "long": "The long ones instead: two years of renewals, with faults, a layer of 5 GB, slow clients. They take "
        "hours.",
    }
)
@for_people
def test(c: Context, select: str = "", long: bool = False) -> None:
    """Run every test but the long ones, the end-to-end ones against a throw-away server on this machine."""
    from tests.sandbox import SandboxError
    from tests.sandbox.engine import ensure_chromium, ensure_engine, ensure_rsync
    from tests.sandbox.images import ensure_images

    try:
        ensure_engine(print)
        ensure_rsync(print)
        ensure_chromium(print)
        ensure_images(print)
    except SandboxError as error:
        raise StepError(str(error)) from None
    # Two at a time, a sandbox each: with more they only wait for each other.
    parallel = ("--numprocesses", "2", "--dist", "worksteal", "--durations", "20")
    chosen = ("-m", "long", "-s") if long else ()
    development("pytest", *chosen, *(("-k", select) if select else parallel))


@task(
    help={
        "rounds": "How often each is measured; else as each measure has it.",
        "only": "Only these measures, with commas between them.",
        "contender": "Only these contenders, with commas between them.",
        "json": "The results go to this file, too, in the place of what it has of the same.",
        "size": "Megabytes of the big layer; all other sizes follow. To try things with.",
        "keep": "Leave the sandbox there.",
        "tool": "Measure the commands of this tool instead.",
        "compare": "Measure nothing: did our ratios get worse since this file, in --json or the committed one?",
        "plot": "Measure nothing: put --json, or the committed one, into pictures and docs/speed.md.",
    }
)
@for_people
def bench(  # noqa: PLR0913, PLR0917 - each is an option
    c: Context,
    rounds: int = 0,
    only: str = "",
    contender: str = "",
    json: str = "",
    size: int = 1024,
    keep: bool = False,
    tool: bool = False,
    compare: str = "",
    plot: bool = False,
) -> None:
    """Measure the registry beside others, in a sandbox: about 25 minutes on two cores."""
    from tests.bench import main
    from tests.bench.run import Choice, words

    if plot:
        main.plotted(json)
    elif compare:
        main.compared(compare, json)
    else:
        main.measure(Choice(words(only), words(contender), rounds, size, keep, json), tool=tool)


@task(help={"screenshots": "The pictures of the page instead: docs/page-*.png. Needs chromium."})
@for_people
def docs(c: Context, screenshots: bool = False) -> None:
    """Write the pages of docs/ that are made from other files: the settings, from .env.dist; what `doctor` finds."""
    from tests.docs import settings, symptoms

    if screenshots:
        development("python", "-m", "tests.page.pictures")
        return
    for path in [*settings.write(), *symptoms.write()]:
        print(path.relative_to(ROOT))


@task
@for_people
def lint(c: Context) -> None:
    """Check the code: ruff, mypy, each Python, shellcheck, biome, `nginx -t` over all settings. Rewrites nothing."""
    from tests.lint import check
    from tests.lint.pythons import EDGES

    development("ruff", "check", ".")
    development("ruff", "format", "--check", ".")
    for version in EDGES:
        development("mypy", "--python-version", version, *CODE)
    development("mypy", "deploy/tasks.py")
    check()


@task(name="format")
@for_people
def format_(c: Context) -> None:
    """Put the code in order: ruff, and biome for the page."""
    from tests.lint import pages

    development("ruff", "format", ".")
    development("ruff", "check", "--fix", ".")
    pages.check(rewrite=True)


@task(help={"upgrade": "Take the newest versions that pyproject.toml allows; else what is locked stays."})
@for_people
def lock(c: Context, upgrade: bool = False) -> None:
    """Make the lock files from pyproject.toml, for every Python that we support. Needs PyPI."""
    from tests.lint import pythons

    compiled = ("pip", "compile", "pyproject.toml", "--universal", "--no-build", "--quiet")
    form = ("--generate-hashes", "--no-header")
    wanted = ("--python-version", pythons.SUPPORTED[0], *(("--upgrade",) if upgrade else ()))
    development("uv", *compiled, *form, *wanted, "--output-file", "requirements.lock")
    development("uv", *compiled, *form, *wanted, "--group", "dev", "--output-file", DEVELOPMENT.name)


def development(tool: str, *args: str) -> None:
    """Run a development tool from .venv, where it is installed on first use."""
    launcher.go_on("the development tools are in .venv")
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


ns = Collection(demo, test, bench, docs, lint, format_, lock, renew)
