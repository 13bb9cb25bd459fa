"""Typed as `fab` or `invoke`, with whatever Python and libraries these have here, instead of `./fab` or `./inv`."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
# What the tasks of a clone import, beside invoke. A server has what it needs in lib.zip.
LIBRARIES = ("bcrypt", "dotenv", "fabric", "jinja2", "passlib", "rich")


def own() -> bool:
    """Whether our own launcher runs this, with the libraries of the lock file."""
    return "fabfile.command" in sys.modules


def missing() -> list[str]:
    """The libraries that the tasks import and this Python does not have."""
    return [name for name in LIBRARIES if not find_spec(name)]


def go_on(why: str) -> None:
    """Let our own launcher do what was typed, in the place of this process; nothing where there is none.

    why: half a line, for a person who wonders about the other program.
    """
    program = "fab" if "fabric" in sys.modules else "inv"
    path = HOME / program
    # On a server there is an `inv` too; but it has what it needs, and another way to find it.
    if own() or not (HOME / "requirements.lock").is_file() or not os.access(path, os.X_OK):
        return
    print(f"{Path(sys.argv[0]).name}: {why}: going on as ./{program}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os.execv(path, [str(path), *sys.argv[1:]])  # noqa: S606 - our own program, and no shell
