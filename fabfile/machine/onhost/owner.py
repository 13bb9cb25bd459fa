"""Whose the files are: root's, but for what a container has to write, and what it alone may read.

The numbers are nobody else's: `nobody` is many programs of a host at once, and whoever runs as a container's
user reads its memory, its secrets and its sockets through /proc.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ... import layout
from . import beneath
from .atomic import RefusedError

# Below those that systemd hands out, above those of people and of Debian (systemd.io/UIDS-GIDS), and below
# 65536, as a server that is an unprivileged container has no more.
REGISTRY, AUTH, NGINX = 61100, 61101, 61102
# What each of them has to write. The group is nginx's: its workers connect to the sockets and read layers.
WRITTEN = {
    layout.DATA: (REGISTRY, NGINX),
    layout.REGISTRY_SOCKETS: (REGISTRY, NGINX),
    layout.AUTH_SOCKETS: (AUTH, NGINX),
}
# What root writes, and one of them reads.
READ = {layout.HTTP_SECRET: REGISTRY, layout.S3_KEYS: REGISTRY, layout.ACCOUNTS: AUTH}
# Root's, though an earlier version of this tool had given them away.
ROOTS = (layout.SECRETS, layout.AUTH, layout.SOCKETS)


def settle(root: Path) -> bool:
    """Let everything below `registry` belong to whom it must, as an earlier version or another registry left it.

    Returns whether anything had to be changed. Never while files are renamed there: a container that still
    runs as another user cannot write any more.
    """
    changed = [name for name, owner in WRITTEN.items() if not belongs(root / name, owner)]
    # A disk that takes no owner is as it is.
    changed = [name for name in changed if give_or_use(root / name, WRITTEN[name])]
    for name, owner in WRITTEN.items():
        if belongs(root / name, owner):
            with contextlib.suppress(PermissionError):
                (root / name).chmod((root / name).stat().st_mode & 0o7777 | 0o050)
    for name in ROOTS:
        # Before, it was theirs alone; now they only read what is in it.
        os.chown(root / name, 0, 0)
        (root / name).chmod(0o755)
    for name, user in READ.items():
        file = root / name
        if file.is_file() and not belongs(file, (user, 0)):
            os.chown(file, user, 0, follow_symlinks=False)
    return bool(changed)


def owned(root: Path) -> bool:
    """Whether `settle` would change nothing of what containers write."""
    return all(
        belongs(root / name, owner) and (root / name).stat().st_mode & 0o050 == 0o050 for name, owner in WRITTEN.items()
    )


def give(path: Path, owner: Sequence[int]) -> None:
    """Let everything below a directory belong to that user and group, the directory itself last.

    So when the directory is theirs, the rest is too: a start that was cut off is gone through again.
    chown follows no link on its way (-P), changes none of what a link points to (-h), and gets through
    what somebody made to stop it: a million files, or directories deeper than a path is long.
    Raises RefusedError where the file system takes no owner.
    """
    user, group = owner
    done = subprocess.run(
        ["chown", "-hRP", f"{user}:{group}", "--", str(path.resolve())],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    # A file that goes away in the meantime, an upload for example, is none to give.
    lines = [line for line in done.stderr.splitlines() if "No such file or directory" not in line]
    if done.returncode and lines:
        raise RefusedError(lines[-1], "does this file system know owners? mount shows it")


def give_or_use(path: Path, owner: Sequence[int]) -> bool:
    """`give`; False where the file system takes no owner (CIFS, for example), and that user can work there anyway.

    The group reads it, as nginx does, however it was copied. Raises RefusedError where that user cannot work there.
    """
    refused = None
    try:
        give(path, owner)
    except RefusedError as error:
        refused = error
    # Links below are left alone (chmod(1)).
    chmod = ["chmod", "-R", "g+rX", "--", str(path.resolve())]
    subprocess.run(chmod, capture_output=True, check=False)
    if refused:
        if why := _unusable(path, owner):
            options = f"uid={owner[0]},gid={owner[1]},file_mode=0640,dir_mode=0750"
            raise RefusedError(
                f"{path}: its disk takes no owner ({refused.what}), and {why}",
                f"mount it so that all on it is theirs, for CIFS with {options}, then ./fab -H … up",
            )
        return False
    return True


def _unusable(path: Path, owner: Sequence[int]) -> str:
    """What that user cannot do below a directory, or nginx, whose group it is; '' when they can all that they must.

    They cannot reach it by its path, only from within, as in a container.
    """
    user, group = owner
    write = 'probe=.probe.$$; mkdir "$probe" && rmdir "$probe" || exit 1'
    looks = (
        (user, f"{write}; find . ! -readable -print -quit -o -type d ! -writable -print -quit", "write"),
        (NGINX, "find . ! -readable -print -quit", "read"),
    )
    for who, script, what in looks:
        try:
            done = subprocess.run(
                ["sh", "-c", script], cwd=path.resolve(), user=who, group=group, extra_groups=[],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        except PermissionError:
            return "root cannot enter it"
        if done.returncode or done.stdout:
            where = done.stdout.splitlines()[0] if done.stdout else ""
            return f"user {who} cannot use {where}" if where else f"user {who} cannot {what} there"
    return ""


def belongs(path: Path, owner: Sequence[int]) -> bool:
    """Whether it is that user's and that group's."""
    found = path.stat()
    return (found.st_uid, found.st_gid) == tuple(owner)


def taken() -> str:
    """Which of our numbers somebody on this host has, as `NAME has 61100`; '' for none."""
    for number in (REGISTRY, AUTH, NGINX):
        if named(number) != str(number):
            return f"{named(number)} has {number}"
    return ""


def strangers(root: Path, ours: Sequence[str]) -> list[str]:
    """Directories that somebody else than root can change: those of ours, DEPLOY_DIR and all above it.

    Whoever can, puts programs of theirs in the place of ours, which root's cron runs. What is below a
    directory that only root may enter is left out.
    """
    above = {*root.parents, root, *root.resolve().parents, root.resolve()}
    below = [root / name for name in ours]
    return [str(path) for path in [*sorted(above), *below] if _open_to_others(path)]


def _open_to_others(path: Path) -> bool:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    group = found.st_mode & 0o020 and found.st_gid != 0
    return found.st_uid != 0 or bool(group) or bool(found.st_mode & 0o002)


def named(user: int) -> str:
    """The user's name on this host, or the number."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def only_roots(path: Path) -> bool:
    """Whether it is root's, no link, and nobody else may write there."""
    found = path.lstat()
    plain = stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)
    return plain and found.st_uid == 0 and not found.st_mode & 0o022


def foreign(root: Path, names: Sequence[str]) -> dict[str, list[int]]:
    """Name -> user, group and mode, of what is there of these below the directory and is not root's alone."""
    found = {}
    for name in names:
        with contextlib.suppress(OSError, RefusedError), beneath.opened(root, name) as handle:
            was = os.fstat(handle)
            if was.st_uid or was.st_mode & 0o022:
                found[name] = [was.st_uid, was.st_gid, was.st_mode & 0o7777]
    return found


def take(root: Path, names: Sequence[str]) -> None:
    """Make these root's alone. What is not there any more is left out."""
    for name in names:
        with contextlib.suppress(OSError, RefusedError), beneath.opened(root, name) as handle:
            os.fchown(handle, 0, 0)
            os.fchmod(handle, os.fstat(handle).st_mode & 0o7777 & ~0o6022)


def give_back(root: Path, name: str, was: list[int]) -> None:
    """What `take` took, as it was. What is not there any more is left out."""
    with contextlib.suppress(OSError, RefusedError), beneath.opened(root, name) as handle:
        os.fchown(handle, was[0], was[1])
        os.fchmod(handle, was[2])
