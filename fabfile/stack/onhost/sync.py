"""Carries out `sync` on the host: what is there, and all of a change or nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from ... import layout
from ...machine.onhost import beneath
from ...machine.onhost.atomic import FULL, RefusedError, locked, replace, sync_directory
from ...machine.onhost.beneath import require_below
from ...machine.onhost.owner import READ, REGISTRY, WRITTEN, strangers, taken
from .capacity import size

# Of a file that `sync` brings; lib.zip is the largest.
LARGEST = 1 << 26
# Made here, filled by others: `sync` never looks into them.
DIRECTORIES = {
    layout.REGISTRY: 0o700, layout.AUTH: 0o755, layout.SECRETS: 0o755, layout.DATA: 0o750,
    layout.SOCKETS: 0o755, layout.AUTH_SOCKETS: 0o750, layout.REGISTRY_SOCKETS: 0o750,
    layout.CERTBOT: 0o700, layout.CERTIFICATES: 0o700, layout.WEBROOT: 0o755, layout.CERTBOT_LOG: 0o700,
    layout.HOOKS: 0o755, layout.REHEARSAL: 0o700, layout.LOG: 0o755, layout.USES: 0o700,
    layout.NGINX: 0o755, layout.GENERATIONS: 0o755, layout.FULL: 0o755,
    layout.PAGE: 0o755, layout.PAGE_DATA: 0o750,
}  # fmt: skip
# What containers write, and so might put links or programs into, no other user of the host reaches.
CLOSED = (layout.REGISTRY, layout.CERTBOT)


class FileState(TypedDict):
    """A file. digest: '' where it cannot be read. owner: a user's number."""

    digest: str
    mode: int
    owner: int


class State(TypedDict):
    """DEPLOY_DIR. files: path -> what stands there. ours: path -> digest as synced.

    unfinished: whether an earlier sync was cut off between two renames. blocked: names where no file can be.
    strangers: directories that somebody else than root can change. closed: directories whose mode is not what it
    must be, as another umask made them. machine: see capacity.size. taken: see owner.taken.
    """

    files: dict[str, FileState]
    ours: dict[str, str]
    unfinished: bool
    blocked: list[str]
    strangers: list[str]
    closed: list[str]
    machine: dict[str, int]
    taken: str


class Sent(TypedDict):
    """A file to put in place. content: in base64."""

    content: str
    mode: int


def state(directory: str, names: list[str]) -> State:
    """What `sync` put here before, and what stands at these names now. Changes nothing."""
    root = Path(directory)
    open_to = strangers(root, directories(names))
    ours = {} if open_to else _manifest(root)
    return {
        "files": {name: _state(root, name) for name in {*names, *ours} if (root / name).is_file()},
        "ours": ours,
        "unfinished": not open_to and (root / layout.SYNC / "journal").is_file(),
        "blocked": sorted(name for name in names if _blocked(root, name)),
        "strangers": open_to,
        "closed": [] if open_to else _closed(root, names),
        "machine": size(),
        "taken": taken(),
    }


def directories(names: list[str]) -> list[str]:
    """The directories of ours below DEPLOY_DIR, but for those that nobody else may enter anyway.

    names: of the files that `sync` keeps.
    """
    parents = {str(parent) for name in names for parent in Path(name).parents}
    found = {*parents, *DIRECTORIES, layout.SYNC, layout.IMAGES} - {"."}
    return sorted(name for name in found if not name.startswith(tuple(f"{c}/" for c in CLOSED)))


def _modes(names: Iterable[str]) -> dict[str, int]:
    """Directory below DEPLOY_DIR -> its mode, those that files of these names lie in with them.

    A container reads what is in it as somebody who is not root, or as a root without rights.
    """
    parents = {str(parent) for name in names for parent in Path(name).parents} - {"."}
    return dict.fromkeys(sorted(parents), 0o755) | DIRECTORIES


def _closed(root: Path, names: Iterable[str]) -> list[str]:
    """Directories that are there, with another mode. Not what a container owns: `up` sees to that."""
    return [
        name
        for name, mode in _modes(names).items()
        if name not in WRITTEN and (root / name).is_dir() and (root / name).stat().st_mode & 0o777 != mode
    ]


def _blocked(root: Path, name: str) -> bool:
    """Whether a directory is there already, or what should be a directory is none."""
    above = [root / parent for parent in Path(name).parents]
    return (root / name).is_dir() or any(path.exists() and not path.is_dir() for path in above)


def _state(root: Path, name: str) -> FileState:
    found = (root / name).stat()
    try:
        # Before `sync` has put it right, the directory may be somebody else's.
        digest = hashlib.sha256(beneath.read(root, name, LARGEST)).hexdigest()
    except RefusedError:
        digest = ""
    return {"digest": digest, "mode": found.st_mode & 0o777, "owner": found.st_uid}


def has_images(directory: str) -> bool:
    """Whether there is a repository on the disk. Changes nothing."""
    repositories = Path(directory) / layout.STORE / "repositories"
    return repositories.is_dir() and any(repositories.iterdir())


def read(directory: str, names: list[str]) -> dict[str, str]:
    """The content of text files, to show what would change. Changes nothing."""
    root = Path(directory)
    return {name: beneath.text(root, name, LARGEST) for name in names if (root / name).is_file()}


def apply(directory: str, files: dict[str, Sent], remove: list[str], digests: dict[str, str]) -> None:
    """Put files in place, all or nothing.

    files: by their paths; remove: paths; digests: all that is ours now.
    Everything is staged on the same file system first; then a journal is written; only then are
    files renamed one by one. When that is cut off, the next run finds the journal and goes on.
    """
    root = Path(directory)
    work = root / layout.SYNC
    _prepare(root, work, digests)
    with locked(work / "lock"):
        if (work / "journal").is_file():
            raise RefusedError(f"{root}: an earlier sync was cut off a moment ago", "run sync again")
        stage = work / "stage"
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(mode=0o700)
        moves = []
        try:
            for number, (name, file) in enumerate(files.items()):
                user = READ.get(name, 0)
                replace(stage / str(number), base64.b64decode(file["content"]), file["mode"], (user, 0))
                moves.append((str(number), name))
        except OSError as error:
            shutil.rmtree(stage, ignore_errors=True)
            raise RefusedError(f"{stage}: {error.strerror}; no file was changed", FULL) from None
        journal = {"moves": moves, "remove": remove, "digests": digests}
        replace(work / "journal", json.dumps(journal).encode(), 0o600)
        _carry_out(root)


def _prepare(root: Path, work: Path, names: Iterable[str]) -> None:
    """Make the directories, and the secret that signs the registry's upload sessions.

    names: of our files. A mode is set whatever the umask is, and again where an earlier run left another. What
    is there keeps its owner until `up`: the containers that run are still the old ones.
    """
    modes = _modes(names)
    wanted = {root: 0o755, work: 0o700, **{root / d: m for d, m in modes.items()}}
    for path, mode in wanted.items():
        if not path.is_dir():
            try:
                path.mkdir(parents=True, mode=mode)
            except OSError as error:
                remedy = "move it away, or set another DEPLOY_DIR"
                if path.is_symlink():
                    remedy = f"is the disk of {path.readlink()} mounted? mount -a on the server"
                raise RefusedError(f"{path}: {error.strerror}", remedy) from None
            path.chmod(mode)
            if os.geteuid() == 0:
                os.chown(path, *WRITTEN.get(str(path.relative_to(root)), (0, 0)))
    for name in _closed(root, names):
        (root / name).chmod(modes[name])
    if not (root / layout.HTTP_SECRET).is_file():
        replace(root / layout.HTTP_SECRET, os.urandom(32).hex().encode(), 0o600, (REGISTRY, 0))


def finish(directory: str) -> None:
    """Carry out the journal of a sync that was cut off, if there is one."""
    root = Path(directory)
    if open_to := strangers(root, [layout.SYNC]):
        raise RefusedError(f"somebody else than root can change {open_to[0]}", "./fab -H … sync says more")
    if (root / layout.SYNC / "journal").is_file():
        with locked(root / layout.SYNC / "lock"):
            _carry_out(root)


def _carry_out(root: Path) -> None:
    """Do the moves of the journal, from its beginning: each can be repeated."""
    work = root / layout.SYNC
    journal = json.loads((work / "journal").read_text())
    for name in (*journal["remove"], *(part for move in journal["moves"] for part in move)):
        require_below(name)
    for staged, name in journal["moves"]:
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (work / "stage" / staged).exists():
            (work / "stage" / staged).replace(target)
            sync_directory(target.parent)
    for name in journal["remove"]:
        (root / name).unlink(missing_ok=True)
    replace(work / "manifest", json.dumps(journal["digests"], indent=1, sort_keys=True).encode(), 0o600)
    (work / "journal").unlink()
    shutil.rmtree(work / "stage", ignore_errors=True)


def _manifest(root: Path) -> dict[str, str]:
    manifest = root / layout.SYNC / "manifest"
    found: dict[str, str] = json.loads(manifest.read_text()) if manifest.is_file() else {}
    return found
