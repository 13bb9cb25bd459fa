"""Whether a snapshot is whole: each blob has its digest, each link is as the server had it, each tag has all it needs.

On the machine where the snapshot lies. Never through a link: whoever was the registry may have written there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import StepError
from ..layout import STORE
from ..store.onhost import handles, marks, walk
from .onhost import needed

# What rsync leaves of a file that was cut off.
PARTIAL = ".rsync-partial"


@dataclass
class Checked:
    """What is in a snapshot. new, new_bytes: of blobs that the one before has not. read: how many were read.

    damaged: digest -> images. mended: digests that the one before had whole.
    """

    blobs: int = 0
    bytes: int = 0
    new: int = 0
    new_bytes: int = 0
    read: int = 0
    damaged: dict[str, list[str]] = field(default_factory=dict)
    mended: list[str] = field(default_factory=list)


def check(path: Path, before: Path | None = None, *, every: bool = False) -> Checked:
    """Read the blobs of a snapshot that are new since the one `before`, or every one.

    What has another digest than its name is taken from the one before; where that has none, it is removed, as an image
    that cannot be pulled is better than a wrong one. Raises OSError for a disk that does not answer.
    """
    found = Checked()
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        rows = []
        for digest, blob, size in blobs(path):
            other = _same_place(blob, path, before)
            found.blobs += 1
            found.bytes += size
            known = other is not None and _is(blob, other)
            if not known:
                found.new += 1
                found.new_bytes += size
            if every or not known:
                rows.append((digest, blob, other, size, pool.submit(right, blob, digest)))
        found.read = len(rows)
        bad = [row[:4] for row in rows if not row[4].result()]
    for digest, blob, other, size in bad:
        blob.unlink()
        if other is not None and right(other, digest):
            os.link(other, blob)
            found.mended.append(digest)
        else:
            found.blobs -= 1
            found.bytes -= size
            found.damaged[digest] = []
    name_images(path, found.damaged)
    return found


def blobs(path: Path) -> Iterator[tuple[str, Path, int]]:
    """Digest, file and size of every blob in a snapshot. Raises StepError for what is neither file nor directory."""
    top = path / STORE / "blobs"
    for algorithm in _below(top):
        for prefix in _below(algorithm):
            for place in _below(prefix):
                file = place / "data"
                try:
                    size = file.lstat()
                except FileNotFoundError:
                    continue
                if not stat.S_ISREG(size.st_mode):
                    raise odd(file)
                yield f"{algorithm.name}:{place.name}", file, size.st_size


def _below(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            found = []
            for entry in entries:
                if entry.is_symlink():
                    raise odd(Path(entry.path))
                if entry.is_dir():
                    found.append(Path(entry.path))
            return sorted(found)
    except (FileNotFoundError, NotADirectoryError):
        return []


def odd(path: Path) -> StepError:
    """Of a link, or a device, where a file must be."""
    return StepError(f"{path} is no file, and no copy has that: nothing was done", "who made it? move it away")


def right(blob: Path, digest: str) -> bool:
    """Whether a blob has its digest."""
    with open(blob, "rb", opener=_plain) as file:
        return needed.right(file, digest)


def _plain(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _same_place(blob: Path, path: Path, before: Path | None) -> Path | None:
    if before is None:
        return None
    other = before / blob.relative_to(path)
    return other if other.is_file() and not other.is_symlink() else None


def _is(one: Path, other: Path) -> bool:
    first, second = one.stat(), other.stat()
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def name_images(path: Path, damaged: dict[str, list[str]]) -> None:
    """Say which images need them."""
    if damaged:
        with handles.top(str(path / STORE)) as top, walk.Manifests(top) as manifests:
            for digest, image in needed.images(walk.repositories(top), manifests, set(damaged)):
                damaged[digest].append(image)


def references(path: Path) -> list[tuple[str, str]]:
    """Every link in a snapshot: its path below the store, and what it says. Raises StepError for what is no file."""
    top = path / STORE / "repositories"
    found = []
    for place, directories, files in os.walk(top, onerror=_raise):
        for name in (*directories, *files):
            kind = (Path(place) / name).lstat().st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise odd(Path(place) / name)
        if "link" in files:
            link = Path(place) / "link"
            content = _said(link)
            found.append((str(link.relative_to(path / STORE)), content))
    return found


def _said(link: Path) -> str:
    """What a link says, no more than a link can be long."""
    with open(link, "rb", opener=_plain) as file:
        return file.read(walk.LINK_BYTES).decode("ascii", "replace").strip()


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def same_references(path: Path, wanted: str) -> bool:
    """Whether every link arrived, and no other."""
    return needed.digest_of([" ".join(each) for each in references(path)]) == wanted


def incomplete(path: Path) -> list[str]:
    """The tags that cannot be pulled in full from a snapshot, with the reason."""
    if not (path / STORE).is_dir():
        return []
    there = {digest for digest, _, _ in blobs(path)}
    found = []
    with handles.top(str(path / STORE)) as top, walk.Manifests(top) as manifests:
        store = walk.repositories(top)
        for name, repository in store.repositories.items():
            for tag, (digest, _) in sorted(repository.tags.items()):
                wanted: set[str] = set()
                marks.needs(digest, manifests, wanted)
                links = repository.layers.keys() | repository.revisions.keys()
                lost = sorted(each for each in wanted & links if repository.aliases.get(each, each) not in there)
                if digest not in links:
                    lost.append(digest)
                if lost:
                    found.append(f"{name}:{tag} lacks {lost[0]}")
    return found


def without_partial(path: Path) -> None:
    """Remove what is left of transfers that were cut off."""
    for place, directories, files in os.walk(path, topdown=False):
        if Path(place).name == PARTIAL:
            for name in files:
                (Path(place) / name).unlink()
            Path(place).rmdir()
        del directories
