"""The page of deploy/page/, as files of the server: all but its first one lie under a name of all their content."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from .. import layout

SHELL = "index.html"
# What it calls them where no server is: below its own address, without the name of their content.
ASSETS = b"/-/assets/"


def version(deploy: Path) -> str:
    """What stands for the whole page, in addresses and names: another one where a byte of it is another."""
    digest = hashlib.sha256()
    for path in sorted((deploy / layout.PAGE).rglob("*")):
        if path.is_file():
            # As it comes to the server, also from a clone on Windows.
            content = path.read_bytes().replace(b"\r\n", b"\n")
            digest.update(f"{path.relative_to(deploy)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def place(deploy: Path, source: PurePosixPath) -> PurePosixPath:
    """Where a file of the page lies below DEPLOY_DIR. source: below deploy."""
    below = source.relative_to(layout.PAGE)
    if str(below) == SHELL:
        return PurePosixPath(layout.PAGE_SHELL)
    return PurePosixPath(layout.PAGE_ASSETS, version(deploy), below)


def addressed(shell: bytes, deploy: Path) -> bytes:
    """The first file, with the addresses of the others."""
    return shell.replace(ASSETS, ASSETS + f"{version(deploy)}/".encode())
