"""certbot on the host, one at a time."""

from __future__ import annotations

import shutil
import subprocess
import time

from .atomic import RefusedError

BUSY = "Another instance of Certbot is already running"


def run(command: list[str], container: str, seconds: float = 120) -> dict[str, object]:
    """Run certbot in its container; first wait for one that is still at work.

    command: `docker compose run --name CONTAINER … certbot …`. A `docker` client that is killed
    leaves its container running, with an order under way: to start a second one would waste it.
    Returns {"code", "output"}. Raises RefusedError when another certbot does not end in time.
    """
    wait(container, seconds)
    end = time.monotonic() + seconds
    while True:
        # What a killed client left behind when it could not remove it any more.
        subprocess.run(["docker", "rm", "--volumes", container], capture_output=True, check=False)
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode == 0 or BUSY not in done.stdout + done.stderr:
            return {"code": done.returncode, "output": done.stdout + done.stderr}
        _wait(end, "another certbot works in the same directory")


def wait(container: str, seconds: float = 120) -> None:
    """Wait until no certbot of ours is at work. Raises RefusedError when it does not end in time."""
    end = time.monotonic() + seconds
    while _running(container):
        _wait(end, f"the container {container} is still running")


def _running(container: str) -> bool:
    if not shutil.which("docker"):
        raise RefusedError("Docker is missing", "./fab -H … provision")
    listing = subprocess.run(
        ["docker", "ps", "--quiet", "--filter", f"name=^{container}$"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listing.returncode:
        raise RefusedError("the Docker engine does not run", "./fab -H … check")
    return bool(listing.stdout.strip())


def _wait(end: float, why: str) -> None:
    if time.monotonic() > end:
        raise RefusedError(why, "wait until it has ended, then run the same command again")
    time.sleep(1)
