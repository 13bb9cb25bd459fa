"""A tag, moved into the trash, where it may still be written: what it says then is looked at again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from . import handles, runs, trash, walk

# In a run: what its tags said when they were taken.
NOTES = "notes"
NOTES_BYTES = 64 << 20
# Of a tag's link: the digest in it, and its time.
Said = tuple[str, float]
NOTHING: Said = ("", 0.0)


def take(bin_: trash.Bin, run: str, image: tuple[str, str], seen: Said, now: float) -> bool:
    """False where somebody pushed it meanwhile, or removed it: what was moved goes back then.

    image: repository and tag; seen: what the tag said when that was decided, NOTHING for one without a link.
    """
    path = trash.tag(*image)
    _note(bin_, run, path, seen)
    if not bin_.take(run, path, now):
        return False
    if _said(bin_, run, path) == seen:
        return True
    bin_.put_back(run, path)
    return False


def written(bin_: trash.Bin, run: str, repository: walk.Repository) -> Iterator[tuple[str, str]]:
    """Tag and digest of those in a run that say something else than when they were taken.

    Version 2 opens the file, and empties and writes it a moment later (distribution 2.8,
    registry/storage/driver/filesystem): so it may do that in the trash, and say 201.
    """
    noted, begun = _noted(bin_, run), runs.begun(run)
    for tag, said in repository.tags.items():
        seen = noted.get(trash.tag(repository.name, tag))
        if said != seen if seen else said[1] > begun:
            yield tag, said[0]


def _said(bin_: trash.Bin, run: str, path: str) -> Said:
    try:
        with handles.directory(bin_.trash, f"{run}/{path}") as moved:
            content, found = handles.read(moved, ("current", "link"), walk.LINK_BYTES)
    except FileNotFoundError:
        return NOTHING
    return content.decode("ascii", "replace").strip(), handles.written(found)


def _note(bin_: trash.Bin, run: str, path: str, said: Said) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with (
        handles.directory(bin_.trash, run) as handle,
        os.fdopen(os.open(NOTES, flags, 0o600, dir_fd=handle), "w") as file,
    ):
        file.write(f"{path}\t{said[0]}\t{said[1]!r}\n")


def _noted(bin_: trash.Bin, run: str) -> dict[str, Said]:
    found = {}
    with contextlib.suppress(FileNotFoundError), handles.directory(bin_.trash, run) as handle:
        for line in handles.read(handle, (NOTES,), NOTES_BYTES)[0].decode("ascii", "replace").splitlines():
            # The last line of a full disk.
            with contextlib.suppress(ValueError):
                path, digest, when = line.split("\t")
                found[path] = (digest, float(when))
    return found
