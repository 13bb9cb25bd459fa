"""rsync between this machine and a host, through the connection that we have; or on this machine alone."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import StepError
from ..layout import COPY, DATA, SNAPSHOT
from ..machine.conversation import last_line
from ..machine.door import Door
from ..machine.host import Host
from ..machine.onhost import disk
from ..machine.onhost.atomic import told_remedy
from ..settings import Settings
from .checked import PARTIAL
from .onhost.inside import ENTER

# Times to the nanosecond: a tag may move twice in one second, and its link is always of the same length. Nobody else
# reads a copy. What was cut off is kept, and gone on with.
OPTIONS = (
    "--recursive", "--links", "--times", "--perms", "--chmod=go=", "--modify-window=-1", f"--partial-dir={PARTIAL}",
    "--stats", "--no-human-readable",
)  # fmt: skip
# The first one that compares nanoseconds.
LEAST = (3, 1, 3)
# Of rsync(1): it could not read or write a file.
IO = 11
FULL_BELOW = 1 << 20
HERE = "brew install rsync, or apt-get install rsync, on this machine; on Windows in WSL"


def require() -> None:
    """Raise StepError where this machine has no rsync, or one that is too old."""
    if not shutil.which("rsync"):
        raise StepError("this machine has no rsync", HERE)
    said = subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)\.(\d+)", said)
    if not found or tuple(map(int, found.groups())) < LEAST:
        version = found[0] if found else "another one of this name"
        raise StepError(f"this machine's rsync is too old: {version}; it takes {'.'.join(map(str, LEAST))}", HERE)


def fetch(host: Host, settings: Settings, name: str, target: Path, before: Path | None) -> int:
    """Bring `.copy/NAME` of the host into a directory of this machine; what the one `before` has is linked.

    Returns how many bytes came. Raises StepError for a cut, from which the next one goes on, and for a full disk.
    """
    linked = [f"--link-dest={os.path.relpath(before, target)}"] if before else []
    return _run(host, settings, name, [*linked, "--delete", f"--exclude=/{SNAPSHOT}"], ("./", f"{target}/"), down=True)


def send(host: Host, settings: Settings, name: str, source: Path, files: Iterable[str]) -> int:
    """Bring these files of a directory of this machine into `.copy/NAME` of the host. Returns how many bytes went.

    Raises as `fetch`.
    """
    options = ["--files-from=-", "--from0"]
    return _run(host, settings, name, options, (f"{source}/", "./"), down=False, files="\0".join(files))


def _run(  # noqa: PLR0913 - each is what it says
    host: Host, settings: Settings, name: str, options: Sequence[str], ways: tuple[str, str], *,
    down: bool, files: str = "",
) -> int:  # fmt: skip
    """One run. ways: from, to, of which one is in that directory of the host."""
    enter = ["python3", "-I", "-B", "-c", ENTER, f"{settings.deploy_dir}/{DATA}", f"{COPY}/{name}"]
    source, target = ways
    if host.local:
        # Both are on this machine, and the other one has a path from the root.
        return _done(host, _program([*enter, "rsync", *OPTIONS, *options, source, target], files), down, "")
    door = Door(host, enter)
    far = 0 if down else 1
    ways = tuple(f"host:{way}" if side == far else way for side, way in enumerate(ways))  # type: ignore[assignment]
    with door.open() as command:
        done = _program(["rsync", *OPTIONS, *options, "--rsh", command, *ways], files)
    said = next((end.said for end in door.ends if end.status), "")
    if door.lost or any(end.status < 0 for end in door.ends):
        # Where it is gone, this says so.
        host.run(["true"])
    if done.returncode == IO and not down and not told_remedy(done.stderr + said):
        # The far rsync is gone before it can say why.
        usage = host.call(disk.usage, settings.deploy_dir)
        space = usage["images"] or usage
        if space["free"] < FULL_BELOW or (space["all_inodes"] and space["inodes"] < 1):
            said = os.strerror(errno.ENOSPC)
    return _done(host, done, down, said)


def _program(argv: Sequence[str], files: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, input=files, capture_output=True, text=True, errors="replace", check=False,
        env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip


def _done(host: Host, done: subprocess.CompletedProcess[str], down: bool, said: str) -> int:
    if done.returncode == 0:
        found = re.search(rf"^Total bytes {'received' if down else 'sent'}: ([\d,]+)", done.stdout, re.M)
        return int(found[1].replace(",", "")) if found else 0
    if "rsync: command not found" in said + done.stderr:
        raise StepError(f"{host.name}: there is no rsync on the server", "./fab -H … provision")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    words = next((line for line in (*lines, said) if told_remedy(line)), "") or (lines[0] if lines else last_line(said))
    full = f"{'this machine' if down else host.name}: the disk is full" if told_remedy(words) else ""
    raise StepError(
        f"{full or host.name}: rsync: {words or 'no message'} (exit status {done.returncode})",
        (told_remedy(words) if not down else "df -h and df -i show which disk is full") if full else "",
        "run the same command again: it goes on where this one stopped",
    )
