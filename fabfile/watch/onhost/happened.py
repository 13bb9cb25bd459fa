"""What happened, from lines of three logs: nginx's of uses and of refused logins, and the audit log. Pure.

The uses log: deploy/nginx/https.conf.j2. What is there of before has less in a line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypedDict

from ...machine.onhost import audit
from ...machine.onhost.audit import Line
from ...store.onhost.manifests import DIGEST

# Where `push-test` proves that all works: nobody's image.
PROOF = "push-test"
ACTIONS = {"PUT": "push", "DELETE": "delete", "GET": "pull"}
# Of a digest: `sha256:` and twelve more, as docker shows it.
SHORT = 19
# Logins that were refused one after the other, from one address, are one line: within so many seconds.
TOGETHER = 600.0
UNKNOWN = "no account"


class Event(TypedDict):
    """when: in seconds since 1970. kind: push, pull, delete, refused, account, or the name of a task. who: an account,
    or who typed the task.
    """

    when: float
    kind: str
    who: str
    what: str
    detail: str


class Use(NamedTuple):
    """A manifest that was pushed, pulled or deleted. tag: '' where it was named by its digest; size: bytes sent."""

    when: float
    action: str
    account: str
    repository: str
    tag: str
    digest: str
    client: str
    address: str
    request: str


def use(line: str) -> Use | None:
    """A line of the uses log; None for one of a layer, of a question (HEAD), of `push-test`, or that is cut off."""
    fields = [field if field != "-" else "" for field in line.split("\t")]
    try:
        when, (account, method, repository, reference, digest) = float(fields[0]), fields[1:6]
    except ValueError:
        return None
    client, address, request, endpoint = (fields[7:] + [""] * 4)[:4]
    by_digest = bool(DIGEST.match(reference))
    of_manifest = endpoint == "manifests" if endpoint else bool(reference) and not by_digest
    if not of_manifest or method not in ACTIONS or repository.partition("/")[0] == PROOF:
        return None
    tag, digest = ("", reference) if by_digest else (reference, digest)
    client = _as_it_came(client)
    return Use(when, ACTIONS[method], account, repository, tag, digest, client, address, request)


def _as_it_came(text: str) -> str:
    """Quotes and backslashes, which nginx writes by their numbers in a log; what a terminal obeys stays a number."""
    return text.replace("\\x22", '"').replace("\\x5C", "\\")


def used(found: Use) -> Event:
    """The same, for people."""
    image = f"{found.repository}:{found.tag}" if found.tag else f"{found.repository}@{found.digest[:SHORT]}"
    detail = " ".join(filter(None, (found.digest[:SHORT] if found.tag else "", found.client)))
    return {"when": found.when, "kind": found.action, "who": found.account, "what": image, "detail": detail}


def refused(lines: Iterable[str]) -> list[Event]:
    """Logins that were refused; several in a row from one address are one, of the time of the last."""
    found: list[tuple[Event, str, int]] = []
    for line in lines:
        fields = line.split("\t")
        try:
            when, (name, address, client) = float(fields[0]), fields[1:4]
        except ValueError:
            continue
        name = name if name not in ("", "-") else UNKNOWN
        if found and (last := found[-1])[0]["who"] == name and last[1] == address and when - last[0]["when"] < TOGETHER:
            event, times = last[0], last[2] + 1
            found[-1] = ({**event, "when": when, "detail": f"{client}, {times} times"}, address, times)
        else:
            event = {"when": when, "kind": "refused", "who": name, "what": f"login from {address}", "detail": client}
            found.append((event, address, 1))
    return [event for event, _, _ in found]


def audited(line: Line) -> Event | None:
    """A line of the audit log; None for one that is cut off, and for `push-test`."""
    task, _, words = line["task"].partition(" ")
    when = audit.seconds(line["when"])
    if not task or not when or task == PROOF:
        return None
    kind = {"htpasswd": "account", "init-letsencrypt": "renew"}.get(task, task)
    if task == "images":
        option, _, words = words.partition(" ")
        kind = option.lstrip("-") or task
    return {"when": when, "kind": kind, "who": line["who"], "what": words, "detail": line["outcome"]}
