"""The generation of the accounts that is in force, read and written in the registry, past nginx, on its own socket."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from pathlib import Path

from ...accounts.onhost.generation import EMPTY, MANIFEST, Generation, digest_of, manifest, told
from ...layout import ACCOUNTS_REPOSITORY, ACCOUNTS_TAG, Service
from ...machine.onhost.atomic import RefusedError
from .ask import over
from .beside import SOCKETS

SECONDS = 20
LARGEST = 4 << 20
BASE = f"/v2/{ACCOUNTS_REPOSITORY}"
TAG = f"{BASE}/manifests/{ACCOUNTS_TAG}"
# Why `write` did not: another generation is in force than the one that the new one follows.
FASTER = "accounts-faster"


def read(root: Path) -> Generation | None:
    """The one in force, None where there is none yet. Raises RefusedError where the registry does not say."""
    status, body, _ = _ask(root, "GET", TAG, headers={"Accept": MANIFEST})
    if status == http.client.NOT_FOUND:
        return None
    _expect(status, 200, "say which accounts are in force")
    return told(body)


def write(root: Path, new: Generation) -> None:
    """Let that one be in force, where the one before it is.

    Raises RefusedError; with the reason FASTER where another one is by now.
    """
    _put_empty(root)
    _require(root, new["before"])
    body = manifest(new["text"], new["before"])
    if len(body) > LARGEST:
        raise RefusedError("these are more accounts than fit into a manifest of the registry (4 MB)")
    status, _, _ = _ask(root, "PUT", TAG, body, {"Content-Type": MANIFEST})
    _expect(status, 201, "let the new accounts be in force")
    _require(root, new["digest"])


def _require(root: Path, digest: str) -> None:
    there = read(root)
    if (there["digest"] if there else "") != digest:
        raise RefusedError("somebody else has changed the accounts just now", "the same command again", reason=FASTER)


def _put_empty(root: Path) -> None:
    """A manifest needs a configuration that is there."""
    digest = digest_of(EMPTY)
    status, _, _ = _ask(root, "HEAD", f"{BASE}/blobs/{digest}")
    if status in (200, http.client.TEMPORARY_REDIRECT):
        return
    status, _, location = _ask(root, "POST", f"{BASE}/blobs/uploads/")
    _expect(status, 202, "take the accounts")
    place = location[location.index("/v2/") :]
    kind = {"Content-Type": "application/octet-stream"}
    status, _, _ = _ask(root, "PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", EMPTY, kind)
    _expect(status, 201, "take the accounts")


def _expect(status: int, wanted: int, what: str) -> None:
    if status != wanted:
        raise RefusedError(f"the registry does not {what}: it answers with {status}", "./fab -H … logs")


def _ask(
    root: Path, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes, str]:
    """Status, body and location. Raises RefusedError where there is no answer."""
    try:
        connection = over(root, f"{SOCKETS[Service.REGISTRY]}/{Service.REGISTRY}.sock", SECONDS)
        try:
            connection.request(method, path, body, {"Host": "accounts", **(headers or {})})
            got = connection.getresponse()
            return got.status, got.read(LARGEST + 1), got.getheader("Location", "")
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise RefusedError(f"the registry does not answer: {error}", "./fab -H … up") from None
