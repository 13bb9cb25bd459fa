"""What a server is, beside its images: accounts, certificates, secrets, settings. On the way out, and on the way in."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from ...layout import (
    ACME,
    ATTEMPTS,
    AUTH,
    CERTIFICATES,
    HOOKS,
    HTTP_SECRET,
    NGINX,
    RECORD,
    RETENTION,
    SETTINGS_FILE,
    TLS,
)  # fmt: skip
from ...machine.onhost.atomic import RefusedError, replace
from ...store.onhost import handles
from . import inside

KEPT = (
    SETTINGS_FILE, RECORD, RETENTION, AUTH, HTTP_SECRET, CERTIFICATES, ATTEMPTS, HOOKS, ACME, TLS,
    f"{NGINX}/override.conf",
)  # fmt: skip
# What comes back; the rest comes from the settings, by `sync`.
BROUGHT = (AUTH, HTTP_SECRET, CERTIFICATES)
# Of a file.
LARGEST = 1 << 26

# Writes a file: path, content, mode, time.
Write = Callable[[str, bytes, int, float], None]


def keep(root: int, name: str, write: Write, out: Path) -> list[str]:
    """Copy a file, or a directory with what is in it. A link stays one where it leads to something below.

    root: a handle of DEPLOY_DIR; out: where the copy comes. Returns what is left out, and why.
    """
    above, _, last = name.rpartition("/")
    dropped: list[str] = []
    with contextlib.suppress(FileNotFoundError), handles.directory(root, above) as handle:
        found = handles.stat_of(handle, last)
        if found is not None and stat.S_ISDIR(found.st_mode):
            with handles.directory(handle, last) as below:
                for deeper, each in inside.small(below):
                    dropped += _keep(below, deeper, each, write, out / name)
        elif found is not None:
            dropped += _keep(handle, last, found, write, out / above)
    return [f"{name}/{each}" for each in dropped]


def _keep(handle: int, path: str, found: os.stat_result, write: Write, out: Path) -> list[str]:
    target = out / path
    if stat.S_ISDIR(found.st_mode):
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif stat.S_ISREG(found.st_mode):
        with contextlib.suppress(FileNotFoundError):
            content, _ = handles.read(handle, path.split("/"), LARGEST)
            write(str(target), content, 0o700 if found.st_mode & 0o100 else 0o600, found.st_mtime)
    elif stat.S_ISLNK(found.st_mode):
        above, _, last = path.rpartition("/")
        with handles.directory(handle, above) as parent:
            leads = os.readlink(last, dir_fd=parent)
        if not stays_below(path, leads):
            return [f"{path}: a link that leads out of it"]
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.symlink_to(leads)
    else:
        return [f"{path}: no file"]
    return []


def stays_below(path: str, target: str) -> bool:
    """Whether a link at that path, below some directory, leads to something below the same directory."""
    if target.startswith("/"):
        return False
    deep = path.count("/")
    for part in target.split("/"):
        deep += -1 if part == ".." else part not in ("", ".")
        if deep < 0:
            return False
    return True


def bring(root: Path, come: int) -> None:
    """Accounts, the secret and certificates: what is there stays, but for the secret, which `sync` has made."""
    for name, kind, content in _brought(come):
        target = root / name
        if kind == "directory":
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif kind == "link":
            if not os.path.lexists(target):
                target.symlink_to(content.decode())
        elif name == HTTP_SECRET or not os.path.lexists(target):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(target, content, 0o600)


def mirror(root: Path, come: int) -> bool:
    """The same on a standby: what is there becomes what came, with the owner and the mode that it has here.

    What came no more stays. Returns whether anything is different now.
    """
    changed = False
    found = list(_brought(come))
    # certbot's links lead to files that must be there.
    for wanted in ("directory", "file", "link"):
        for name, kind, content in found:
            if kind == wanted:
                changed |= _mirrored(root / name, kind, content)
    return changed


def _mirrored(target: Path, kind: str, content: bytes) -> bool:
    there = target.lstat() if os.path.lexists(target) else None
    if kind == "directory":
        if there is None:
            target.mkdir(mode=0o700, parents=True)
        return there is None
    if there is not None and not (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
        raise RefusedError(f"{target} is neither file nor link, as it is on the first server", "who made that?")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if kind == "link":
        if there is not None and stat.S_ISLNK(there.st_mode) and str(target.readlink()) == content.decode():
            return False
        draft = target.with_name(f".{target.name}.new")
        draft.unlink(missing_ok=True)
        draft.symlink_to(content.decode())
        draft.replace(target)
        return True
    if there is None or stat.S_ISLNK(there.st_mode):
        replace(target, content, 0o600)
    elif target.read_bytes() != content:
        replace(target, content, stat.S_IMODE(there.st_mode), (there.st_uid, there.st_gid))
    else:
        return False
    return True


def _brought(come: int) -> Iterator[tuple[str, str, bytes]]:
    """What came of it: its path below DEPLOY_DIR, what it is, and its content, or where a link leads."""
    for name in BROUGHT:
        above, _, last = name.rpartition("/")
        try:
            place = handles.open_below(come, above.split("/") if above else [])
        except FileNotFoundError:
            continue
        try:
            found = handles.stat_of(place, last)
            if found is not None and stat.S_ISREG(found.st_mode):
                yield name, "file", handles.read(place, [last], LARGEST)[0]
            elif found is not None and stat.S_ISDIR(found.st_mode):
                with handles.directory(place, last) as below:
                    for deeper, each in inside.small(below):
                        yield _one(below, name, deeper, each)
        finally:
            os.close(place)


def _one(handle: int, name: str, path: str, found: os.stat_result) -> tuple[str, str, bytes]:
    if stat.S_ISDIR(found.st_mode):
        return f"{name}/{path}", "directory", b""
    if stat.S_ISREG(found.st_mode):
        return f"{name}/{path}", "file", handles.read(handle, path.split("/"), LARGEST)[0]
    above, _, last = path.rpartition("/")
    target = ""
    if stat.S_ISLNK(found.st_mode):
        with handles.directory(handle, above) as place:
            target = os.readlink(last, dir_fd=place)
    if not target or not stays_below(path, target):
        raise RefusedError(f"{name}/{path} of the copy is no file, or a link that leads out of it", "who made that?")
    return f"{name}/{path}", "link", target.encode()
