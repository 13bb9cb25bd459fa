"""biome over the page's JavaScript and CSS, where npm is there to bring it."""

from __future__ import annotations

import shutil
import subprocess

from fabfile.errors import StepError
from fabfile.settings import HOME

# A version of its own, as npm has no lock for a program that is only called.
BIOME = "@biomejs/biome@2.6.8"
PAGE = "deploy/page"


def check(*, rewrite: bool = False) -> None:
    """Raises StepError when the page has something to mend; `rewrite` puts it in order as far as that goes."""
    npx = shutil.which("npx")
    argv = [npx or "npx", "--yes", BIOME]
    if not npx or subprocess.run([*argv, "--version"], cwd=HOME, capture_output=True, check=False).returncode:
        print("npx does not bring biome (apt-get install npm): JavaScript and CSS of the page were left out")
        return
    write = ["--write"] if rewrite else []
    argv += ["check", "--error-on-warnings", "--config-path=tests/lint/biome.json", *write, PAGE]
    if subprocess.run(argv, cwd=HOME, check=False).returncode:
        raise StepError("biome found something to mend", "its message says where and what; ./inv format mends a part")
