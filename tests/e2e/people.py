"""People at work: pushes and pulls, one after the other, until something is done."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.sandbox.demo import DOMAIN

from .history import Client
from .world import PASSWORD, USER, World

PULLS = {
    "docker": f"docker image rm --force {DOMAIN}/load/kept:1; docker pull --quiet {DOMAIN}/load/kept:1",
    "skopeo": f"rm -rf /tmp/pulled; skopeo copy --quiet docker://{DOMAIN}/load/kept:1 dir:/tmp/pulled",
}
PUSHES = {
    "docker": f"docker tag made {DOMAIN}/load/docker:$1 && docker push --quiet {DOMAIN}/load/docker:$1",
    "skopeo": f"skopeo copy --quiet docker-archive:/tmp/load.tar docker://{DOMAIN}/load/skopeo:$1",
}


@dataclass
class Load:
    """What became of each: when it ended, and what it said where it failed."""

    pulls: int = 0
    pushes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    refused: list[tuple[float, str]] = field(default_factory=list)


@contextmanager
def load(world: World) -> Iterator[Load]:
    """docker and skopeo push and pull on the client's machine, each again and again."""
    found, over = Load(), threading.Event()

    def client(script: str, *args: str) -> subprocess.CompletedProcess[str]:
        argv = ["docker", "exec", world.sandbox.container("client"), "sh", "-c", script, "sh", *args]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)

    password = PASSWORD.replace("'", "'\\''")
    done = client(f"printf %s '{password}' | docker login --username {USER} --password-stdin {DOMAIN}")
    assert done.returncode == 0, done.stderr
    made = client(
        "mkdir -p /tmp/load && cd /tmp/load && head -c 3000000 /dev/urandom >layer && tar -cf ../layer.tar layer && "
        f"docker import ../layer.tar made && docker tag made {DOMAIN}/load/kept:1 && "
        f"docker push --quiet {DOMAIN}/load/kept:1 && "
        f"docker save --output /tmp/load.tar {DOMAIN}/load/kept:1"
    )
    assert made.returncode == 0, made.stderr

    def pulling(script: str) -> None:
        while not over.is_set():
            done = client(f"export REGISTRY_AUTH_FILE=/root/.docker/config.json; {script}")
            found.pulls += 1
            if done.returncode:
                found.failed.append(done.stderr)

    def pushing(name: str, script: str) -> None:
        number = 0
        while not over.is_set():
            done = client(f"export REGISTRY_AUTH_FILE=/root/.docker/config.json; {script}", str(number))
            if done.returncode:
                found.refused.append((time.monotonic(), done.stderr))
            else:
                found.pushes.append(f"{name}:{number}")
            number += 1

    threads = [threading.Thread(target=pulling, args=(script,)) for script in PULLS.values()]
    threads += [threading.Thread(target=pushing, args=each) for each in PUSHES.items()]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        over.set()
        for thread in threads:
            thread.join()


class Pushes:
    """Images that are pushed one after the other, until somebody says so; acknowledged: tag -> when, and its digest.

    failed: tags that were not.
    """

    def __init__(self, world: World, repository: str = "twice/app") -> None:
        self.repository = repository
        self.client = Client(world, f"{USER}:{PASSWORD}")
        self.acknowledged: dict[str, tuple[float, str]] = {}
        self.failed: list[str] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._push)
        self.thread.start()

    def _push(self) -> None:
        number = 0
        while not self.over.is_set():
            status, digest = self.client.image(self.repository, str(number), [os.urandom(50_000), b"all have it"])
            if status == 201:
                self.acknowledged[str(number)] = (time.time(), digest)
            else:
                self.failed.append(f"{number}: {status}")
            number += 1
            self.over.wait(0.4)

    def stop(self) -> None:
        self.over.set()
        self.thread.join()
