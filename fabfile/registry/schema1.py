"""What to say of images in schema 1 that a version 3 of the registry would not serve."""

from __future__ import annotations

import re

from .onhost.schema1 import Found

REMEDY = "version 3 of the registry serves none of them: REGISTRY_IMAGE=registry:2.8.3 in .env does, or pull them first"


def second(image: str) -> bool:
    """Whether that image is the registry's version 2, as far as its name tells."""
    return re.search(r":v?2(\.|$)", image.rpartition("/")[2]) is not None


def described(found: Found) -> str:
    """What was found of them, '' when nothing was and all was looked at."""
    names = ", ".join(found["names"]) + (", …" if found["count"] > len(found["names"]) else "")
    text = f"{found['count']} in schema 1: {names}" if found["count"] else ""
    if found["whole"]:
        return text
    return f"{text or 'none in schema 1 so far'}; there was no time to look at all"
