"""shellcheck over every shell script, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from fabfile.errors import StepError
from fabfile.settings import HOME

# Others, .venv and .git for example, hold nothing of ours.
HIDDEN = (".ci",)


def check() -> None:
    """Raises StepError when a script has something to mend."""
    program = shutil.which("shellcheck")
    if not program:
        print("shellcheck is not installed (apt-get install shellcheck): shell scripts were left out")
        return
    found = list(scripts(HOME))
    # Those that travel have no first line that names a shell: each is given to `sh`.
    travelling = [path for path in found if not _first_line(path).startswith("#!")]
    programs = [path for path in found if path not in travelling]
    for shell, paths in (("--shell=sh", travelling), ("", programs)):
        argv = [program, "--severity=warning", *filter(None, [shell]), *map(str, paths)]
        if subprocess.run(argv, cwd=HOME, check=False).returncode:
            raise StepError("shellcheck found something to mend", "its message says where and what")
    print(f"shellcheck: {len(found)} scripts")


def scripts(root: Path) -> Iterator[Path]:
    """Every file that a shell runs."""
    for directory, below, names in os.walk(root):
        below[:] = [name for name in sorted(below) if not name.startswith(".") or name in HIDDEN]
        for name in sorted(names):
            path = Path(directory, name)
            if path.is_symlink():
                continue
            words = _first_line(path).removeprefix("#!").replace("/", " ").split()
            if path.suffix == ".sh" or (words and words[-1] in ("sh", "bash", "dash")):
                yield path


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        line = file.readline(200)
    return line.decode("utf-8", "replace") if line.startswith(b"#!") else ""
