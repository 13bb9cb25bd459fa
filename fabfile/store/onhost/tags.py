"""A tag, moved into the trash, where it may still be written: what it says then is looked at again."""

from __future__ import annotations

from collections.abc import Iterator

from . import handles, trash, walk

# Of a tag's link: the digest in it, and its time.
Said = tuple[str, float]
NOTHING: Said = ("", 0.0)


def take(bin_: trash.Bin, run: str, image: tuple[str, str], seen: Said, now: float) -> bool:
    """False where somebody pushed it meanwhile, or removed it: what was moved goes back then.

    image: repository and tag; seen: what the tag said when that was decided, NOTHING for one without a link.
    """
    path = trash.tag(*image)
    bin_.note(run, path, *seen)
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
    noted, begun = bin_.noted(run), trash.begun(run)
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
