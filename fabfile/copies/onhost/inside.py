"""`registry/data/.copy`: a copy on its way out of the server, and one on its way in.

On the disk of the images, so that a blob goes there, or from there, by a link or a rename. It is root's alone, and
opened part by part: whoever is the registry may write beside it, and must lead root nowhere else.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ...layout import COPY, DATA
from ...machine.onhost.atomic import RefusedError
from ...store.onhost import handles

# Run on the server before a program that shall work in such a directory: `ENTER DATA PARTS PROGRAM …`.
ENTER = (
    "import os,sys\n"
    "data,parts,*argv=sys.argv[1:]\n"
    "flags=os.O_RDONLY|os.O_DIRECTORY\n"
    "here=os.open(os.path.realpath(data),flags)\n"
    "for part in parts.split('/'):\n"
    " here=os.open(part,flags|os.O_NOFOLLOW,dir_fd=here)\n"
    " if os.fstat(here).st_uid!=os.geteuid():sys.exit(parts+' is not ours')\n"
    "os.fchdir(here)\n"
    "try:os.execvp(argv[0],argv)\n"
    "except FileNotFoundError:\n"
    " print(argv[0]+': command not found',file=sys.stderr)\n"
    " os._exit(127)\n"
)


@contextlib.contextmanager
def opened(root: Path, name: str) -> Iterator[int]:
    """`.copy/NAME`, made where it is missing. root: DEPLOY_DIR."""
    with _above(root) as above:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=above)
        with handles.directory(above, name) as handle:
            _own(handle)
            yield handle


def remove(root: Path, name: str) -> None:
    """Remove `.copy/NAME` with all that is in it; rm follows no link. Raises RefusedError where it stays."""
    with _above(root) as above:
        done = subprocess.run(
            ["rm", "-rf", "--one-file-system", "--", name],
            cwd=f"/proc/{os.getpid()}/fd/{above}", check=False, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
        if handles.stat_of(above, name) is not None:
            why = " ".join(done.stderr.split())[:200]
            raise RefusedError(f"{DATA}/{COPY}/{name} cannot be removed: {why}", "look at it on the server")


@contextlib.contextmanager
def _above(root: Path) -> Iterator[int]:
    with handles.disk(root) as data:
        with contextlib.suppress(FileExistsError):
            os.mkdir(COPY, 0o700, dir_fd=data)
        with handles.directory(data, COPY) as above:
            _own(above)
            yield above


def _own(handle: int) -> None:
    """Let a directory be root's alone: `up` may have given it away with all else. A disk that takes no owner is as it
    is.
    """
    with contextlib.suppress(PermissionError):
        if os.geteuid() == 0:
            os.fchown(handle, 0, 0)
        os.fchmod(handle, 0o700)


def path(handle: int) -> Path:
    """A directory that is ours alone, by a path that leads there wherever it lies."""
    return Path(f"/proc/{os.getpid()}/fd/{handle}")


def small(handle: int) -> Iterator[tuple[str, os.stat_result]]:
    """Every file, link and directory below a handle, by its path, a directory before what is in it.

    In the order of Z to A: certbot may renew just now, and the links in `live` lead to files in `archive`, which were
    there before and stay.
    """
    with os.scandir(handle) as entries:
        names = sorted((entry.name for entry in entries), reverse=True)
    for name in names:
        found = handles.stat_of(handle, name)
        if found is None:
            continue
        yield name, found
        if stat.S_ISDIR(found.st_mode):
            with handles.directory(handle, name) as below:
                yield from ((f"{name}/{deeper}", each) for deeper, each in small(below))
