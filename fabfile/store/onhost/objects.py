"""What a registry keeps in a bucket, told by the names of its objects, and what an ETag says. Pure."""

from __future__ import annotations

import hashlib
import re

from .answers import Entry

LINK = re.compile(r"/([a-z0-9]+)/([0-9a-f]+)/link\Z")
CURRENT = "/current/link"
REVISION = re.compile(r"repositories/.+/_manifests/revisions/([a-z0-9]+)/([0-9a-f]+)/link\Z")
BLOB = re.compile(r"blobs/([a-z0-9]+)/[0-9a-f]{2}/([0-9a-f]+)/data\Z")
# What people can see of a tag is in `current`; the rest of its directory would be a third of all files.
UNSEEN = re.compile(r"/_manifests/tags/[^/]+/index/")
PART = re.compile(r"[A-Za-z0-9_.-]{1,255}\Z")


def mirrored(key: str) -> bool:
    """Whether it has a file here: what a registry, or we, can have put there."""
    return (
        not UNSEEN.search(key)
        and not key.endswith("/")
        and all(PART.match(part) and part not in (".", "..") for part in key.split("/"))
    )


def etag(content: bytes) -> str:
    """That of an object that was written whole: not all stores have it so, and those of parts have another."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def digest_of(key: str) -> str:
    """The digest of a blob, by the name of its object; '' for another one."""
    found = BLOB.search(key)
    return f"{found[1]}:{found[2]}" if found else ""


def sums(listed: dict[str, Entry]) -> dict[str, str]:
    """What the ETags of links say: of those that lead to a manifest."""
    digests = {f"{m[1]}:{m[2]}" for key in listed if (m := REVISION.search(key))}
    return {etag(digest.encode()): digest for digest in digests}


def guessed(entry: Entry, known: dict[str, str]) -> bytes | None:
    """The content of a link, which its ETag confirms; None where it has to be fetched."""
    found = LINK.search(entry.key)
    if found and etag(f"{found[1]}:{found[2]}".encode()) == entry.etag:
        return f"{found[1]}:{found[2]}".encode()
    return known[entry.etag].encode() if entry.etag in known else None
