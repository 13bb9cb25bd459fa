"""What the images of a copy need, and what tells one set of links from another. Pure but for reading a store."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from ...store.onhost import marks, walk

BLOCK = 1 << 20


def right(file: BinaryIO, digest: str) -> bool:
    """Whether a file that is open has that digest."""
    algorithm, _, expected = digest.partition(":")
    try:
        found = hashlib.new(algorithm)
    except ValueError:
        return False
    while block := file.read(BLOCK):
        found.update(block)
    return found.hexdigest() == expected


def digest_of(lines: list[str]) -> str:
    """One for all links: each as `PATH DIGEST`, with the path below the store."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def images(store: walk.Store, manifests: walk.Manifests, wanted: set[str]) -> list[tuple[str, str]]:
    """(digest, image) for each image that needs one of the wanted digests; an image is REPOSITORY:TAG, or by digest."""
    found = []
    for name, repository in store.repositories.items():
        tagged: dict[str, list[str]] = {}
        for tag, (digest, _) in repository.tags.items():
            tagged.setdefault(digest, []).append(tag)
        for digest in {*repository.revisions, *tagged} - {""}:
            needed: set[str] = set()
            marks.needs(digest, manifests, needed)
            needed |= {repository.aliases[each] for each in needed & repository.aliases.keys()}
            words = [f"{name}:{tag}" for tag in sorted(tagged.get(digest, ()))] or [f"{name}@{digest}"]
            found += [(each, word) for each in sorted(needed & wanted) for word in words]
    return found
