"""An SSH key pair for one sandbox, made without any library."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .commands import output


def make_key_pair(path: Path, image: str) -> None:
    """Write `path` and `path.pub`, with this machine's ssh-keygen or the one in `image`."""
    options = ("-q", "-t", "ed25519", "-N", "", "-C", "sandbox", "-f")
    if shutil.which("ssh-keygen"):
        output("ssh-keygen", *options, str(path))
        return
    # In the container as root: ssh-keygen refuses a user whom it finds in no passwd file.
    mount = f"type=bind,source={path.parent},target=/keys"
    run = ("docker", "run", "--rm", "--network=none", f"--mount={mount}", image)
    output(*run, "ssh-keygen", *options, f"/keys/{path.name}")
    owner = f"{os.getuid()}:{os.getgid()}"
    output(*run, "chown", owner, f"/keys/{path.name}", f"/keys/{path.name}.pub")
