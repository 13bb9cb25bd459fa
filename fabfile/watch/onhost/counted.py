"""Counters of requests: from lines of nginx (deploy/nginx/metrics.conf.j2) to sums that only ever grow. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ...accounts.onhost.roles import ROLES

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Of an image: what a method means that succeeds on `manifests` (distribution-spec 1.1). A HEAD pulls nothing.
ACTIONS = {"GET": "pull", "PUT": "push", "DELETE": "delete"}
OTHER, NOBODY = "other", "none"

# `requests METHOD 2xx ROLE`, `sent ROLE`, `received ROLE`, `images ACTION` -> number
Counts = dict[str, int]


def add(counts: Counts, lines: Iterable[str]) -> Counts:
    """The sums with these lines. A line that is cut off, as on a full disk, counts for nothing."""
    sums = dict(counts)
    for line in lines:
        fields = line.split("\t")
        if len(fields) != 7 or len(fields[2]) != 3 or not (fields[0] + fields[2] + fields[5] + fields[6]).isdecimal():
            continue
        weight, method, status, role, endpoint, sent, received = fields
        times = int(weight)
        role = role if role in ROLES else NOBODY
        method = method if method in METHODS else OTHER
        _more(sums, f"requests {method} {status[0]}xx {role}", times)
        _more(sums, f"sent {role}", times * int(sent))
        _more(sums, f"received {role}", times * int(received))
        if endpoint == "manifests" and method in ACTIONS and status[0] == "2":
            _more(sums, f"images {ACTIONS[method]}", times)
    return sums


def came_or_went(lines: Iterable[str]) -> bool:
    """Whether some of these may have changed what is stored."""
    return any(line.split("\t")[1:2] in (["PUT"], ["DELETE"]) for line in lines)


def _more(sums: Counts, key: str, number: int) -> None:
    sums[key] = sums.get(key, 0) + number


def of(counts: Counts, kind: str) -> dict[tuple[str, ...], int]:
    """Those of one kind: the words behind it -> number."""
    return {tuple(key.split()[1:]): number for key, number in sorted(counts.items()) if key.split()[0] == kind}
