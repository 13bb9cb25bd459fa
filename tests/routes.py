"""Every route of the registry by every method, and what each kind of account may do: for nginx alone, and for all.

The rows are those of distribution 2.8.3 and 3.1 (registry/api/v2/descriptors.go, registry/handlers), and some
that no version has: what is not in the table is for unlimited admins alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Account(NamedTuple):
    role: str
    repositories: tuple[str, ...]
    may: frozenset[str]


LIMIT = ("team-a/*",)
PULL = frozenset({"ping", "pull"})
PUSH = PULL | {"begin", "upload", "push"}
ACCOUNTS = {
    "puller": Account("pull", (), PULL),
    "reader": Account("pull", LIMIT, PULL),
    "pusher": Account("push", (), PUSH),
    "ci": Account("push", LIMIT, PUSH),
    "ladmin": Account("admin", LIMIT, PUSH | {"delete"}),
    "boss": Account("admin", (), frozenset({"everything"})),
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "LOCK")
DIGEST = f"sha256:{'0' * 64}"
# Path, and what its methods are; every other method of it is unknown.
FORMS: dict[str, dict[str, str]] = {
    "/v2/": {"GET": "ping", "HEAD": "ping"},
    "/v2/NAME/tags/list": {"GET": "pull", "HEAD": "pull"},
    "/v2/NAME/manifests/1": {"GET": "pull", "HEAD": "pull", "PUT": "push", "DELETE": "delete"},
    f"/v2/NAME/manifests/{DIGEST}": {"GET": "pull", "HEAD": "pull", "PUT": "push", "DELETE": "delete"},
    f"/v2/NAME/blobs/{DIGEST}": {"GET": "pull", "HEAD": "pull", "DELETE": "delete"},
    f"/v2/NAME/referrers/{DIGEST}": {"GET": "pull", "HEAD": "pull"},
    "/v2/NAME/blobs/uploads/": {"POST": "begin"},
    "/v2/NAME/blobs/uploads/UUID": dict.fromkeys(("GET", "HEAD", "PATCH", "PUT", "DELETE"), "upload"),
    # Of no repository, or of no version.
    "/v2/_catalog": {},
    "/v2/NAME/_catalog": {},
    "/v2/NAME/tags/list/": {},
    "/v2/NAME/tags/1": {},
    "/v2/NAME/blobs/uploads": {"GET": "pull", "HEAD": "pull", "DELETE": "delete"},
    "/v2/NAME/blobs/uploads/UUID/more": {},
    "/v2/NAME/manifests/": {},
    "/v2/NAME/_oci/ext/discover": {},
    "/v2/_oci/ext/discover": {},
    "/v2/NAME/repair": {},
    "/v2": {"GET": "ping", "HEAD": "ping"},
}  # fmt: skip


def rows(*names: str) -> Iterator[tuple[str, str, str, str]]:
    """(method, path, the name of the repository in it, what it means) of every row, for each name."""
    for form, methods in FORMS.items():
        for method in METHODS:
            for name in names:
                yield method, form.replace("NAME", name), name, methods.get(method, "unknown")


def may(user: str, name: str, route: str) -> bool:
    """Whether the account's role and repositories allow it."""
    account = ACCOUNTS[user]
    if "everything" in account.may or route == "ping":
        return True
    return route in account.may and (not account.repositories or name.startswith("team-a/"))
