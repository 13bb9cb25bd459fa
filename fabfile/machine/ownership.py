"""Directories that somebody else than root can change, and how that ends."""

from __future__ import annotations

from collections.abc import Sequence


def remedy(directory: str, paths: Sequence[str]) -> str:
    """What to type on the server. directory: DEPLOY_DIR; paths: it, directories below it and above it."""
    above = [path for path in paths if not f"{path}/".startswith(f"{directory}/")]
    them = " ".join(above or paths)
    if above:
        # No command: it may be somebody's home, or /var/tmp.
        return (
            "set DEPLOY_DIR to a place below directories that only root can change, /opt/docker-registry for example, "
            f"and move it there; or make {them} root's alone, if nobody else needs it"
        )
    return f"on the server: chown root: {them} && chmod go-w {them}"
