"""What nginx runs, on the host's disk: a candidate goes live by one rename, and can be taken back.

nginx/*.conf, *.pem  what `sync` put there, and override.conf
nginx/run/DIGEST.N/  a copy of it with the certificate, never changed afterwards
nginx/next           -> the candidate that `nginx -t` looks at
nginx/live           -> the one that nginx runs, now and after a reboot
nginx/previous       -> the one before it
nginx/loaded         the one of them that nginx was last told to load
nginx/started        what `up` started: the digest of compose.yml, containers and their images
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypedDict

from ... import layout
from ...machine.onhost import beneath, outside
from ...machine.onhost.atomic import FULL, RefusedError, replace, sync_directory
from .lineage import PAIR, place, require_pair

USERS = (layout.PASSWD, layout.GROUP)
SECRET = (f"{layout.TLS}/{layout.PRIVKEY}", "accounts.conf", "sessions.conf")
# Candidates that are kept besides those with a name, for whoever wants to look back.
KEPT = 2


class Promoted(TypedDict):
    """What went live. changed: paths. problem: why the newest certificate is not used, or ''."""

    changed: list[str]
    problem: str


def promote(root: Path, lineage: Path, config: dict[str, bytes], test: Callable[[], object]) -> Promoted:
    """Let a configuration, with the best pair of certificate and key, go live by one rename.

    test: looks at nginx/next and raises RefusedError when it is not good; then nothing goes live.
    """
    live = root / layout.LIVE
    old = content(live)
    new, problem = candidate(root, lineage, config)
    changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if changed:
        _link(root / layout.NEXT, _write_candidate(root, new))
        test()
        if live.is_symlink():
            _link(root / layout.PREVIOUS, str(live.readlink()))
        _go_live(root)
        _prune(root)
    return {"changed": changed, "problem": problem}


def candidate(root: Path, lineage: Path, config: dict[str, bytes]) -> tuple[dict[str, bytes], str]:
    """What should be live, and why the newest certificate is not in it, or "". Changes nothing."""
    pair, problem = _pair(lineage, root / layout.LIVE)
    new = config | {f"{layout.TLS}/{name}": data for name, data in pair.items()}
    if not pair:
        new.pop("https.conf", None)
    return new, problem


def go_back(root: Path) -> bool:
    """Let the one before the live one be the live one again, on disk. False where there is none."""
    previous = root / layout.PREVIOUS
    if not (previous / "nginx.conf").is_file():
        return False
    _link(root / layout.NEXT, str(previous.readlink()))
    _go_live(root)
    return True


@contextlib.contextmanager
def as_loaded(root: Path) -> Iterator[None]:
    """For as long as the block runs, what nginx has loaded is live, so that the one that runs can be told to reload.

    What waits may want a directory that only the next container has. Killed meanwhile, the next `up` lets it go live.
    """
    live, loaded = root / layout.LIVE, root / layout.PREVIOUS
    if (root / layout.LOADED).is_file() or not (loaded / "nginx.conf").is_file():
        yield
        return
    waits = str(live.readlink())
    _lead(root, str(loaded.readlink()))
    try:
        yield
    finally:
        _lead(root, waits)


def stay(root: Path) -> None:
    """Let what nginx has loaded be live: its container goes on, and after a crash it starts with that."""
    if not (root / layout.LOADED).is_file():
        go_back(root)


def _lead(root: Path, target: str) -> None:
    _link(root / layout.NEXT, target)
    (root / layout.NEXT).replace(root / layout.LIVE)


def _go_live(root: Path) -> None:
    (root / layout.LOADED).unlink(missing_ok=True)
    (root / layout.NEXT).replace(root / layout.LIVE)
    sync_directory(root / layout.NGINX)


def synced(root: Path) -> dict[str, bytes]:
    """The configuration that waits: what `sync` brought, and override.conf. Nothing that somebody else may change."""
    return {
        path.name: path.read_bytes()
        for pattern in ("*.conf", "*.pem")
        for path in sorted((root / layout.NGINX).glob(pattern))
        if path.lstat().st_uid == os.geteuid() and not path.lstat().st_mode & 0o002
    }


def put_users(root: Path) -> None:
    """What nginx's container mounts as its users. Where such a file is away, Docker starts it once and never again."""
    for file in users(root):
        outside.put(*file)


def users(root: Path) -> list[tuple[Path, bytes, int]]:
    """What `put_users` puts where: path, content and mode."""
    return [(Path(layout.OUTSIDE, Path(name).name), (root / name).read_bytes(), 0o644) for name in USERS]


def content(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by its relative path; nothing when it is not there."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def _pair(lineage: Path, live: Path) -> tuple[dict[str, bytes], str]:
    """The newest certificate and key that fit together, and what is wrong with the newest.

    A pair that went live once is kept there and served until a better one comes.
    """
    kept = {name: (live / layout.TLS / name).read_bytes() for name in PAIR if (live / layout.TLS / name).is_file()}
    try:
        newest = {name: beneath.read(*place(lineage, name)) for name in PAIR}
        require_pair(newest)
    except (FileNotFoundError, NotADirectoryError):
        return kept, ""
    except RefusedError as error:
        return kept, error.what
    except (ssl.SSLError, OSError) as error:
        # OpenSSL's own word, KEY_VALUES_MISMATCH for example.
        reason = getattr(error, "reason", None) or "unreadable"
        return kept, f"{lineage}: {reason.lower().replace('_', ' ')}"
    return newest, ""


def _write_candidate(root: Path, files: dict[str, bytes]) -> str:
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
    generations = root / layout.GENERATIONS
    candidate = generations / "new"
    shutil.rmtree(candidate, ignore_errors=True)
    try:
        (candidate / layout.TLS).mkdir(parents=True)
        for name, data in files.items():
            replace(candidate / name, data, 0o600 if name in SECRET else 0o644)
    except OSError as error:
        shutil.rmtree(candidate, ignore_errors=True)
        raise RefusedError(f"{candidate}: {error.strerror}; what nginx runs goes on", FULL) from None
    # One of that name may be there: refused once, or live and edited by hand since. None is ever replaced.
    number = next(n for n in itertools.count() if not (generations / f"{digest}.{n}").exists())
    candidate.rename(generations / f"{digest}.{number}")
    sync_directory(generations)
    return f"{generations.name}/{digest}.{number}"


def _link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _prune(root: Path) -> None:
    kept = {(root / name).resolve() for name in (layout.LIVE, layout.PREVIOUS)}
    old = [path for path in (root / layout.GENERATIONS).iterdir() if path.is_dir() and path.resolve() not in kept]
    for path in sorted(old, key=lambda p: p.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(path)
