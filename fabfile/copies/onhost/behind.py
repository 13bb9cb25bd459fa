"""How far a standby is behind, and what only a server has that another one took over from."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from ...layout import STANDBY_LOST
from ...store.onhost import handles, walk
from . import since, standing


class Report(TypedDict):
    """For `status`. state: None for a server that knows of no other. images: pushed since the last copy; -1: unknown.
    lost: images that came after the last copy, where another one took over.
    """

    state: standing.State | None
    copied: standing.Copied
    images: int
    lost: list[str]


def report(directory: str) -> Report:
    """See Report. Changes nothing."""
    state, last = standing.read(directory), standing.copied(directory)
    written = since.written(Path(directory), last["token"]) if state and state["role"] == standing.FIRST else None
    return {"state": state, "copied": last, "images": written[1] if written else -1, "lost": lost(directory)}


def lost(directory: str) -> list[str]:
    """What was written down of it."""
    try:
        found: list[str] = json.loads(Path(directory, STANDBY_LOST).read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return found


def tags(directory: str, after: float) -> list[str]:
    """The images, REPOSITORY:TAG, that were pushed or moved after a time, the oldest first. Changes nothing."""
    found = [(when, image) for image, (_, when) in _every(directory) if when >= after]
    return [image for _, image in sorted(found)]


def all_tags(directory: str) -> dict[str, str]:
    """REPOSITORY:TAG -> digest, of all. Changes nothing."""
    return {image: digest for image, (digest, _) in _every(directory)}


def _every(directory: str) -> Iterator[tuple[str, tuple[str, float]]]:
    """REPOSITORY:TAG, with its digest and when it was pushed; none where nothing ever was."""
    with (
        handles.refused(),
        contextlib.suppress(FileNotFoundError),
        handles.data(Path(directory)) as data,
        handles.store(data) as top,
    ):
        for name, repository in walk.repositories(top).repositories.items():
            yield from ((f"{name}:{tag}", known) for tag, known in repository.tags.items())
