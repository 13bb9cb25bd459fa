"""Of several servers: which generation of the accounts is in force, and which one this server has.

A generation is the accounts file without the accounts of a push-test. It lies in the registry as a manifest without
layers, which also names the generation before it: so no two are alike, even where an account comes and goes again, and
no server takes the one in force for the one that it had before. It is known by the digest of that manifest.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TypedDict

from ... import layout
from ...machine.onhost.atomic import RefusedError, replace
from .accounts_conf import as_map
from .accounts_file import TEMPORARY, Line, lines

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
KIND = f"application/vnd.{layout.PROJECT}.accounts.v1"
# What an image without content has in the place of it (OCI image specification, manifest.md).
EMPTY = b"{}"
EMPTY_KIND = "application/vnd.oci.empty.v1+json"
TEXT = f"org.{layout.PROJECT}.accounts"
BEFORE = f"org.{layout.PROJECT}.before"
HEAD = "# Written by `htpasswd`, `up` and cron; your changes would be overwritten.\n"


class Generation(TypedDict):
    """digest: that it is known by. before: that of the one before, '' for none. text: the accounts."""

    digest: str
    before: str
    text: str


class Had(TypedDict):
    """What a server has: the digest of its generation, and of the one before; '' for none."""

    digest: str
    before: str


NONE: Had = {"digest": "", "before": ""}


def made(text: str, before: str) -> Generation:
    """The generation of these accounts after another one."""
    return {"digest": digest_of(manifest(text, before)), "before": before, "text": text}


def manifest(text: str, before: str) -> bytes:
    """Of a generation, as it lies in the registry. The accounts are in it: a layer would be a second question, and
    might lie behind a redirect.
    """
    blob = {"mediaType": EMPTY_KIND, "digest": digest_of(EMPTY), "size": len(EMPTY)}
    image = {
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": KIND, "config": blob, "layers": [blob],
        "annotations": {BEFORE: before, TEXT: text},
    }  # fmt: skip
    return json.dumps(image, separators=(",", ":")).encode()


def told(body: bytes) -> Generation:
    """The generation of a manifest. Raises RefusedError where it is none."""
    try:
        notes = json.loads(body)["annotations"]
        return {"digest": digest_of(body), "before": str(notes[BEFORE]), "text": str(notes[TEXT])}
    except (ValueError, LookupError, TypeError):
        place = f"{layout.ACCOUNTS_REPOSITORY}:{layout.ACCOUNTS_TAG}"
        raise RefusedError(f"{place} in the registry is not what accounts are kept in", "./fab bootstrap") from None


def digest_of(content: bytes) -> str:
    """As registries name it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def lasting(there: list[Line]) -> str:
    """The accounts that all servers have: without those of a push-test, of which each is one server's."""
    return "".join(str(line) for line in there if not TEMPORARY.fullmatch(line.user))


def had(root: Path) -> Had:
    """What this server has. Changes nothing."""
    try:
        found = json.loads((root / layout.GENERATION).read_text())
        return {"digest": str(found["digest"]), "before": str(found["before"])}
    except (OSError, ValueError, LookupError, TypeError):
        # What cannot be read is none: then it serves nobody until cron has fetched it.
        return NONE


def have(root: Path, found: Had) -> None:
    """From now on this server has that one."""
    replace(root / layout.GENERATION, json.dumps(found).encode(), 0o600)


def keeps(root: Path, repository: str) -> bool:
    """Whether that repository has the accounts of several servers in it: no rule, and no list, is for it."""
    return repository == layout.ACCOUNTS_REPOSITORY and (root / layout.GENERATION).is_file()


def up_to_date(root: Path, current: Generation) -> bool:
    """Whether this server has that generation, and the accounts of it."""
    return had(root)["digest"] == current["digest"] and lasting(lines(root / layout.ACCOUNTS)) == current["text"]


def conf(root: Path) -> bytes:
    """generation.conf: $standing, `known` where the generation in force is that of this server, or the one before."""
    # Expressions, as a plain string of that length needs a larger map_hash_bucket_size.
    rows = [f'"~^{digest}\\z" known;' for digest in dict.fromkeys(filter(None, had(root).values()))]
    return (HEAD + as_map("$committed", "$standing", rows, "behind")).encode()
