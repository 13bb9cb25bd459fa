"""Run programs on this machine: quietly, into a log file, with errors a person can act on."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".sandbox"
BUILD_LOG = STATE / "build.log"
Say = Callable[[str], None]


class SandboxError(RuntimeError):
    """Something expected went wrong: what, and the next command to type."""

    def __str__(self) -> str:
        """One line for each."""
        return "\n  -> ".join(map(str, self.args))


def output(
    *argv: str,
    stdin: str | None = None,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> str:
    """Run a program and return its standard output; a failure shows the end of its errors."""
    try:
        done = subprocess.run(
            argv,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **(env or {})},
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise SandboxError(f"{argv[0]} is not installed here: install it and try again.") from None
    except subprocess.TimeoutExpired:
        raise SandboxError(f"{_short(argv)}: no answer in {timeout:.0f} seconds.") from None
    if check and done.returncode != 0:
        told = _tail(done.stderr or done.stdout)
        raise SandboxError(f"{_short(argv)} failed with status {done.returncode}:\n{told}")
    return done.stdout


def succeeds(*argv: str, timeout: float = 20) -> bool:
    """True when the program exists, ends in time and exits 0."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def logged(argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """Run a long program; its output goes to the end of `.sandbox/build.log` once it is done.

    Not earlier, so that the outputs of two at the same time do not mix.
    """
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **(env or {})},
            check=False,
        )
    except FileNotFoundError:
        raise SandboxError(f"{argv[0]} is not installed here: install it, try again.") from None
    BUILD_LOG.parent.mkdir(parents=True, exist_ok=True)
    with BUILD_LOG.open("a") as log:
        log.write(f"\n$ {' '.join(argv)}\n{done.stdout}")
    if done.returncode != 0:
        where = os.path.relpath(BUILD_LOG)
        raise SandboxError(f"{_short(argv)} failed; all of it is in {where}; its end:\n{_tail(done.stdout)}")


@contextmanager
def locked(name: str, say: Say) -> Iterator[None]:
    """Let one process at a time do `name`: two builds of one image would undo each other."""
    locks = STATE / "locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        handle = (locks / name).open("w")
    except PermissionError as error:
        raise SandboxError(f"{error.filename} is another user's: remove .sandbox as that user and try again.") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run to finish with: {name}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def apt_update() -> None:
    """Fetch the lists of packages of this machine (Debian and Ubuntu, as root)."""
    logged(["apt-get", "update"])


def apt_install(say: Say, *packages: str) -> None:
    """Install packages on this machine, after saying which; they stay."""
    say(f"installing with apt-get (stays when the sandbox goes): {' '.join(packages)}")
    argv = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    logged(argv, {"DEBIAN_FRONTEND": "noninteractive"})


def _short(argv: Sequence[str]) -> str:
    words = " ".join(argv)
    return words if len(words) <= 100 else words[:97] + "..."


def _tail(text: str, lines: int = 20) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-lines:])
