"""What `check` looks at on a host, as facts, and what it says of it, as rows."""

from __future__ import annotations

from dataclasses import dataclass

# Of onhost/check.sh: key -> its values.
Facts = dict[str, list[str]]


@dataclass(frozen=True)
class Row:
    """One line of the table. mark: ok, warn, failed, or unseen: nobody looked. A failed one always has a remedy."""

    name: str
    mark: str
    found: str
    remedy: str = ""
    provisioned: bool = False  # `provision` sees to it: no reason to stop before it
    later: bool = False  # a later step looks at it again, and stops where it must


def one(facts: Facts, key: str) -> str:
    """The first value of a fact; '' where it is not known."""
    return (facts.get(key) or [""])[0]
