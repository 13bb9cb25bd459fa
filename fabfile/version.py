"""Which version of this tool this is. On the server, too: what runs there has no pyproject.toml."""

from __future__ import annotations

import re

VERSION = "0.2.0"


def newer(other: str, than: str = VERSION) -> bool:
    """Whether one version comes after another: by its numbers, so 0.10 comes after 0.9.

    What has no number comes before all: a server that was deployed before there was a record.
    """
    return _numbers(other) > _numbers(than)


def _numbers(version: str) -> list[int]:
    """0.10.0 -> [0, 10]. What follows the numbers (rc1, +local) does not count."""
    found = re.match(r"\d{1,9}(\.\d{1,9})*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers
