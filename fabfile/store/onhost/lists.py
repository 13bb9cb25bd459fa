"""What the page shows of one repository, and of all that somebody may see. Pure, but that manifests are read.

The form of the files is told in docs/page.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypedDict

from ...accounts.onhost.accounts_conf import pattern
from . import kinds
from .images import natural
from .kinds import Facts
from .manifests import FOLLOWER, UnreadableError, followed
from .uses import Last
from .walk import Manifests, Repository

# So much of a digest tells two images apart; the whole one comes with the image.
SHORT = 16
PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
# What the registry takes (distribution, reference).
NAME = re.compile(rf"(?=.{{1,255}}\Z){PART}(?:/{PART})*\Z")
# Where `push-test` proves what it proves.
NOBODYS = re.compile(r"push-test(?:/|\Z)")


class Tag(TypedDict):
    """A tag. digest: its beginning. size: bytes of a pull. Times in seconds since 1970, None for not told.

    problem: why not all of it can be shown; retention: why a rule would remove it; '' for nothing.
    """

    tag: str
    digest: str
    size: int
    pushed: int
    created: int | None
    used: int | None
    platforms: list[str]
    kind: str
    signed: bool
    attested: bool
    problem: str
    retention: str


class Newest(TypedDict):
    """Of a repository, the tag that was pushed last."""

    tag: str
    digest: str
    size: int
    pushed: int
    kind: str
    platforms: list[str]


class Home(TypedDict):
    """A repository in a view. used: of any of its tags."""

    name: str
    tags: int
    newest: Newest | None
    used: int | None


class Known(TypedDict):
    """What is remembered of a repository, so that the next push to it costs little. used: digest -> last use."""

    facts: dict[str, Facts]
    used: dict[str, float]


class Listed(TypedDict):
    """A repository: its tags, newest first, and how many manifests have none."""

    tags: list[Tag]
    untagged: int


def shown(name: str) -> bool:
    """Whether a repository of that name is shown at all."""
    return bool(NAME.match(name)) and not NOBODYS.match(name)


def listed(repository: Repository, manifests: Manifests, known: Known) -> Listed:
    """The tags of a repository; no rule is looked at. known: is added to, and rid of what is gone."""
    facts, problems = _facts(repository, manifests, known["facts"])
    known["facts"] = facts
    known["used"] = {digest: when for digest, when in known["used"].items() if digest in repository.revisions}
    about = _about(repository, facts)
    tags = []
    for tag, (digest, pushed) in repository.tags.items():
        if followed(tag, digest):
            continue
        fact, problem = facts.get(digest), problems.get(digest, "" if digest else "its link cannot be read")
        tags.append(_tag(tag, digest, pushed, fact, problem, about.get(digest, set()), known["used"]))
    # At one time: 1.10 before 1.9.
    tags.sort(key=lambda each: natural(each["tag"]), reverse=True)
    tags.sort(key=lambda each: -each["pushed"])
    tagged = {digest for digest, _ in repository.tags.values()}
    inside = {member for fact in facts.values() for member in fact["members"]}
    alone = [
        each for each in repository.revisions
        if each not in tagged and each not in inside and not (facts.get(each) or {"subject": ""})["subject"]
    ]  # fmt: skip
    return {"tags": tags, "untagged": len(alone)}


def _facts(
    repository: Repository, manifests: Manifests, known: dict[str, Facts]
) -> tuple[dict[str, Facts], dict[str, str]]:
    facts: dict[str, Facts] = {}
    problems: dict[str, str] = {}
    for digest in {*repository.revisions, *(each for each, _ in repository.tags.values() if each)}:
        try:
            facts[digest] = known.get(digest) or kinds.facts(manifests, digest)
        except UnreadableError as error:
            problems[digest] = f"its manifest cannot be read: {error}"
        except FileNotFoundError:
            problems[digest] = "its manifest, or one that it names, is missing on the disk"
        if digest not in repository.revisions:
            problems.setdefault(digest, "its manifest was deleted, and cannot be pulled")
    return facts, problems


def _about(repository: Repository, facts: dict[str, Facts]) -> dict[str, set[str]]:
    """Digest -> the kinds of what is about it."""
    found: dict[str, set[str]] = {}
    for fact in facts.values():
        if fact["subject"]:
            found.setdefault(fact["subject"], set()).add(fact["kind"])
    for tag, (digest, _) in repository.tags.items():
        if subject := followed(tag, digest):
            match = FOLLOWER.match(tag)
            suffix = match[3] if match else ""
            found.setdefault(subject, set()).add(kinds.SUFFIXES.get(suffix or "") or _kind_of(facts.get(digest)))
    return found


def _kind_of(fact: Facts | None) -> str:
    return fact["kind"] if fact else kinds.ARTIFACT


def _tag(  # noqa: PLR0913, PLR0917 - all that a row is made of
    tag: str, digest: str, pushed: float, fact: Facts | None, problem: str, about: set[str], used: dict[str, float]
) -> Tag:
    return {
        "tag": tag,
        "digest": digest.partition(":")[2][:SHORT],
        "size": fact["size"] if fact else 0,
        "pushed": int(pushed),
        "created": fact["created"] if fact else None,
        "used": last_use(digest, fact, used),
        "platforms": fact["platforms"] if fact else [],
        "kind": _kind_of(fact),
        "signed": kinds.SIGNATURE in about,
        "attested": bool(fact and fact["attested"]) or bool({kinds.ATTESTATION, kinds.SBOM} & about),
        "problem": problem,
        "retention": "",
    }


def last_use(digest: str, fact: Facts | None, used: dict[str, float]) -> int | None:
    """Of an image, or of a member of it; None for not told."""
    return int(max(used.get(each, 0.0) for each in (digest, *(fact["members"] if fact else ())))) or None


def home(name: str, found: Listed) -> Home:
    """A repository in one row."""
    newest: Newest | None = None
    for tag in found["tags"][:1]:
        newest = {
            "tag": tag["tag"], "digest": tag["digest"], "size": tag["size"], "pushed": tag["pushed"],
            "kind": tag["kind"], "platforms": tag["platforms"],
        }  # fmt: skip
    used = max((tag["used"] or 0 for tag in found["tags"]), default=0) or None
    return {"name": name, "tags": len(found["tags"]), "newest": newest, "used": used}


def newest_first(rows: Iterable[Home]) -> list[Home]:
    """As a view has them."""
    return sorted(rows, key=lambda row: (-(row["newest"]["pushed"] if row["newest"] else 0), row["name"]))


def matching(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a name is inside these, as nginx decides it; without any, all are."""
    if not patterns:
        return lambda _: True
    found = re.compile("|".join(f"(?:{pattern(each)})" for each in patterns))
    return lambda name: found.fullmatch(name) is not None


def uses_of(last: Last) -> dict[str, dict[str, float]]:
    """Repository -> digest -> last use."""
    found: dict[str, dict[str, float]] = {}
    for (name, digest), when in last.items():
        found.setdefault(name, {})[digest] = when
    return found
