"""The clients that people have, each pushing again and again, while `gc` takes what they are about to push."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import random
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from fabfile.store.onhost import collect
from tests.sandbox.demo import DOMAIN

from .history import Client
from .test_store import LOGIN, Collector
from .world import PASSWORD, USER, World, wait_until

# Those that are pushed again and again, and those that lie there until they are old enough for `gc --now`.
YOUNG, OLD = range(6), range(6, 80)
GRACE = collect.LEAST_GRACE
# For so many seconds the young ones are pushed.
SECONDS = 180
# Seconds from one of these to the next.
APART = 4.0
# What each client types to push image $1 as $2, on its machine.
PUSH = {
    "docker": f'docker tag {DOMAIN}/gc/docker:$1 "$2" && docker push --quiet "$2"',
    "podman": f'podman push --quiet {DOMAIN}/gc/podman:$1 "$2"',
    "skopeo": f'skopeo copy --quiet docker-archive:/root/gc/skopeo.tar:{DOMAIN}/gc/skopeo:$1 "docker://$2"',
    "buildx": 'docker buildx build --quiet --push --tag "$2" /root/gc/buildx/$1',
}


def archive(name: str, count: int) -> bytes:
    """So many images as `docker save` would write them, of two layers that no other image has."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as whole:
        listed = []
        for number in range(count):
            layers = [layer(name, number, part) for part in ("a", "b")]
            about = {
                "os": "linux", "architecture": "amd64", "config": {},
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha(each)}" for each in layers]},
            }  # fmt: skip
            config = json.dumps(about).encode()
            for path, content in (
                (f"{sha(config)}.json", config),
                *((f"{sha(each)}/layer.tar", each) for each in layers),
            ):
                _add(whole, path, content)
            listed.append({"Config": f"{sha(config)}.json", "RepoTags": [f"{DOMAIN}/gc/{name}:{number}"],
                           "Layers": [f"{sha(each)}/layer.tar" for each in layers]})  # fmt: skip
        _add(whole, "manifest.json", json.dumps(listed).encode())
    return raw.getvalue()


def layer(name: str, number: int, part: str) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as packed:
        _add(packed, part, random.Random(f"{name} {number} {part}").randbytes(100_000))  # noqa: S311 - a draw
    return raw.getvalue()


def contexts(count: int) -> bytes:
    """What buildx builds: a directory for each image."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as whole:
        for number in range(count):
            _add(whole, f"buildx/{number}/Dockerfile", b"FROM scratch\nCOPY a /\nCOPY b /\n")
            for part in ("a", "b"):
                _add(whole, f"buildx/{number}/{part}", layer("buildx", number, part))
    return raw.getvalue()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _add(whole: tarfile.TarFile, path: str, content: bytes) -> None:
    about = tarfile.TarInfo(path)
    about.size = len(content)
    whole.addfile(about, io.BytesIO(content))


@dataclass
class Pusher:
    """One client with its images, and how often what went wrong."""

    world: World
    name: str
    pushed: int = 0
    failed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def push(self, number: int) -> str:
        """Push one to the tag of its number. Returns why not, or ''."""
        image = f"{DOMAIN}/gc/{self.name}:{number}"
        argv = ["docker", "exec", self.world.sandbox.container("client"), "sh", "-c", PUSH[self.name], "sh"]
        done = subprocess.run([*argv, str(number), image], capture_output=True, text=True, check=False, timeout=300)
        return "" if done.returncode == 0 else f"{image}: {(done.stderr or done.stdout)[-300:]}"

    def prepare(self) -> None:
        """Push the old ones for the first time."""
        for number in OLD:
            assert self.push(number) == ""

    def again(self, over: threading.Event) -> None:
        """Push the young ones again and again, each deleted a moment after."""
        draw = random.Random(self.name)  # noqa: S311 - a draw
        client = Client(self.world, LOGIN)
        while not over.is_set():
            number = draw.choice(YOUNG)
            self.pushed_well(client, number)
            if draw.random() < 0.7:
                self.delete(client, number)

    def forget(self, over: list[float]) -> None:
        """Delete the old ones, one after the other, and write down when: until then gc keeps what they need."""
        client = Client(self.world, LOGIN)
        for number in OLD:
            self.delete(client, number)
            over.append(time.time() + GRACE)
            time.sleep(APART)

    def once(self, over: list[float]) -> None:
        """Push each of the old ones again in the moment in which gc may take it."""
        draw = random.Random(self.name)  # noqa: S311 - a draw
        client = Client(self.world, LOGIN)
        for number, when in zip(OLD, over, strict=True):
            time.sleep(max(0.0, when + draw.random() * APART - time.time()))
            self.pushed_well(client, number)

    def pushed_well(self, client: Client, number: int) -> None:
        """Push, and look whether all of it is there."""
        if why := self.push(number):
            self.failed.append(why)
            if why := self.push(number):
                self.lost.append(f"nor when it was repeated: {why}")
                return
        self.pushed += 1
        if why := client.pull(f"gc/{self.name}", f"{number}"):
            # docs/images.md: its own old manifest was moved while it was pushed again, and comes back.
            time.sleep(3)
            self.failed.append(f"a moment later: {why}")
            if why := client.pull(f"gc/{self.name}", f"{number}"):
                self.lost.append(why)

    def delete(self, client: Client, number: int) -> None:
        """As the API does it: the image, with all its tags."""
        place = f"/v2/gc/{self.name}/manifests/"
        if digest := client.ask("HEAD", f"{place}{number}")[1].get("docker-content-digest"):
            client.ask("DELETE", f"{place}{digest}")

    def told(self, what: str) -> tuple[list[str], list[str]]:
        """Print the counts, and forget them. Returns what failed, and what was lost."""
        print(f"{what}: {self.name}: {self.pushed} pushed, {len(self.failed)} failed, {len(self.lost)} lost")
        print("\n".join([*self.failed[:3], *self.lost[:3]]))
        assert self.pushed > 5
        found = self.failed, self.lost
        self.pushed, self.failed, self.lost = 0, [], []
        return found


@pytest.fixture
def pushers(deployed: World) -> list[Pusher]:
    """The clients with their images, logged in."""
    client = deployed.sandbox.container("client")
    count = OLD.stop

    def typed(script: str, content: bytes = b"") -> None:
        argv = ["docker", "exec", "-i", client, "sh", "-ec", script]
        done = subprocess.run(argv, input=content, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    typed("mkdir -p /root/gc && tar -xC /root/gc", contexts(count))
    for name in ("docker", "podman", "skopeo"):
        typed(f"cat >/root/gc/{name}.tar", archive(name, count))
    typed("docker load --quiet --input /root/gc/docker.tar; podman load --quiet --input /root/gc/podman.tar")
    for program in ("docker", "podman", "skopeo"):
        typed(f"{program} login -u {USER} --password-stdin {DOMAIN}", PASSWORD.encode())
    return [Pusher(deployed, name) for name in PUSH]


@contextmanager
def together(works: Iterable[Callable[[], None]]) -> Iterator[list[threading.Thread]]:
    """All at once; at the end of the block they are waited for."""
    threads = [threading.Thread(target=each) for each in works]
    for each in threads:
        each.start()
    try:
        yield threads
    finally:
        for each in threads:
            each.join()


@pytest.mark.long
def test_every_client_pushes_while_gc_runs(deployed: World, pushers: list[Pusher]) -> None:
    """First where gc takes what was deleted two seconds ago, and what a slow push asked for; then as `gc --now` has it,
    with layers that nobody used for a quarter of an hour and that are pushed again just now.
    """
    with together(each.prepare for each in pushers):
        pass
    collector, over = Collector(deployed, 1), threading.Event()
    end = time.monotonic() + SECONDS
    with together([functools.partial(each.again, over) for each in pushers]):
        try:
            while time.monotonic() < end:
                collector.once(untagged=2.0, now=collector.draw.random() < 0.3)
        finally:
            over.set()
    print(f"grace 2 s: gc {collector.runs} times, took {collector.counts}")
    found = [each.told("grace 2 s") for each in pushers]
    times: list[list[float]] = [[] for _ in pushers]
    with together(functools.partial(each.forget, when) for each, when in zip(pushers, times, strict=True)):
        pass
    first = min(min(each) for each in times)
    wait_until(lambda: time.time() > first - 5, "the first of them may go", GRACE)
    collector = Collector(deployed, 2)
    works = [functools.partial(each.once, when) for each, when in zip(pushers, times, strict=True)]
    with together(works) as threads:
        while any(each.is_alive() for each in threads):
            collector.once(grace=GRACE, now=collector.draw.random() < 0.3)
    print(f"grace {GRACE:.0f} s: gc {collector.runs} times, took {collector.counts}")
    found += [each.told(f"grace {GRACE:.0f} s") for each in pushers]
    # Of some it took layers before they were pushed again, and some it was too late for.
    assert collector.counts["blob"] > len(OLD)
    assert [lost for _, lost in found] == [[]] * len(found)
    assert [failed for failed, _ in found[len(pushers) :]] == [[]] * len(pushers)
