"""Retention: tags go by the rules of deploy/retention.ini, into the trash."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from ...accounts.onhost import generation
from ...layout import RETENTION
from ...machine.onhost.atomic import RefusedError
from . import marks, quota, tags, trash, uses, walk
from .images import Graph, natural
from .manifests import followed
from .rules import NEVER, Rule, brought_back, for_repository, judged, read
from .settle import settle

WAIT = 30.0


class Judged(TypedDict):
    """What the rules say, and what was done.

    tags: repository, tag, whether it stays, and why. held: repository -> why it is left. removed: how many. run: its
    name in the trash. unmatched: patterns that match nothing. left: repositories that cannot be read. images: for
    `dry`, repository, digest and last use of the manifests that `gc` would take then, as no tag leads to them. quotas:
    what the sections with one take up before that.
    """

    tags: list[tuple[str, str, bool, str]]
    held: dict[str, str]
    removed: int
    run: str
    unmatched: list[str]
    left: list[str]
    images: list[tuple[str, str, float]]
    quotas: list[quota.Section]


def ages(rules: list[Rule], names: list[str]) -> dict[str, float]:
    """Repository -> from which age on its images without a tag go; those that keep all are left out."""
    found = {name: for_repository(rules, name) for name in names}
    return {name: rule.untagged for name, rule in found.items() if rule and rule.untagged != NEVER}


def retention(directory: str, *, dry: bool, all_of_it: bool = False, cron: bool = False) -> Judged:
    """Judge every tag, and remove what no rule keeps. dry: only judge.

    all_of_it: also where that is the last tag of a repository, or more than half of its tags. Without it such a
    repository is left as it is: for cron, which goes on with the others, and else nothing at all is removed.
    Raises RefusedError where there is no file, or a mistake in it.
    """
    rules = read(directory)
    if rules is None:
        raise RefusedError(
            f"there is no {RETENTION}, so nothing is ever removed by itself",
            f"write deploy/{RETENTION}, then ./fab -H … sync",
        )
    with trash.opened(directory, WAIT) as bin_:
        answer: Judged = {
            "tags": [], "held": {}, "removed": 0, "run": "", "unmatched": [], "left": [], "images": [], "quotas": [],
        }  # fmt: skip
        if bin_ is None:
            return answer
        with walk.Manifests(bin_.top) as manifests:
            store = walk.repositories(bin_.top)
            graph = Graph(store, manifests)
            matched = {name: for_repository(rules, name) for name in store.repositories}
            answer["quotas"] = quota.sections(rules, store, manifests, time.time())
            answer["unmatched"] = [rule.pattern for rule in rules if rule not in matched.values()]
            going = _judge_all(graph, directory, matched, answer)
            if dry:
                answer["images"] = _images(graph, directory, rules, going)
        answer["held"] = {} if all_of_it else _braked(graph, going)
        if dry or (answer["held"] and not cron):
            return answer
        for name in answer["held"]:
            going.pop(name)
        if any(going.values()):
            answer["run"] = run = bin_.begin("retention", time.time())
            for name, each in going.items():
                seen = store.repositories[name].tags
                answer["removed"] += sum(tags.take(bin_, run, (name, tag), seen[tag], time.time()) for tag in each)
            settle(bin_)
        return answer


def _judge_all(graph: Graph, directory: str, matched: dict[str, Rule | None], answer: Judged) -> dict[str, list[str]]:
    """Repository -> tags that may go. What is judged goes into the answer."""
    now = time.time()
    last = uses.last(directory, now)
    begun = uses.begun(directory, now)
    going: dict[str, list[str]] = {}
    for name, rule in sorted(matched.items()):
        repository = graph.store.repositories[name]
        if rule is None or generation.keeps(Path(directory), name):
            continue
        if repository.broken:
            answer["left"].append(name)
            continue
        pushed = {tag: when for tag, (each, when) in repository.tags.items() if not followed(tag, each)}
        used = {
            tag: max(
                (last.get((name, each), 0.0) for each in graph.closure(name, repository.tags[tag][0])), default=0.0
            )
            for tag in pushed
        }
        verdict = verdicts(rule, repository, used, now, begun)
        answer["tags"] += [(name, tag, *verdict[tag]) for tag in sorted(pushed, key=natural)]
        going[name] = [tag for tag in pushed if not verdict[tag][0]]
    return going


def verdicts(
    rule: Rule, repository: walk.Repository, used: dict[str, float], now: float, begun: float
) -> dict[str, tuple[bool, str]]:
    """Tag -> whether it stays, and why; see rules.judged. used: of each tag that is no signature."""
    pushed = {tag: when for tag, (each, when) in repository.tags.items() if not followed(tag, each)}
    back = brought_back({tag: repository.restored[tag] for tag in pushed if tag in repository.restored}, now)
    # They take nobody's place among the newest.
    open_ = {tag: when for tag, when in pushed.items() if tag not in back}
    return judged(rule, open_, used, now, begun) | back


def _images(
    graph: Graph, directory: str, rules: list[Rule], going: dict[str, list[str]]
) -> list[tuple[str, str, float]]:
    """What `gc` would take as `untagged` says, once these tags are gone."""
    now, found = time.time(), walk.Store()
    for name, repository in graph.store.repositories.items():
        kept = {tag: each for tag, each in repository.tags.items() if tag not in going.get(name, ())}
        found.repositories[name] = replace(repository, tags=kept)
    oldest = {name: now - max(age, marks.GRACE) for name, age in ages(rules, list(found.repositories)).items()}
    chosen = marks.untagged(found, graph.manifests, uses.last(directory, now), oldest, uses.begun(directory, now))
    return [(each.name, each.digest, each.seen) for each in chosen if each.kind == "manifest"]


def too_much(going: int, total: int, what: str) -> str:
    """Why that may be a mistake in the file; '' for what may go."""
    if going and going == total:
        return f"all {total} {what}s would go" if total > 1 else f"its only {what} would go"
    return f"{going} of {total} {what}s would go" if going * 2 > total else ""


def _braked(graph: Graph, going: dict[str, list[str]]) -> dict[str, str]:
    """Repositories in which so much would go that it may be a mistake in the file."""
    held = {}
    for name, gone in going.items():
        found = graph.store.repositories[name].tags.items()
        total = sum(not followed(tag, digest) for tag, (digest, _) in found)
        if why := too_much(len(gone), total, "tag"):
            held[name] = why
    return held
