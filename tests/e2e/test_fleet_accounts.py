"""Accounts of three servers on one real store, and servers that go while people push and pull."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import re
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest

from tests.sandbox.demo import DOMAIN
from tests.sandbox.store import Store

from .three import ALL, Three, three
from .world import DEPLOY_DIR, World, wait_until

PASSWORD = "of-the-fleet"


@pytest.fixture(scope="module")
def fleet(world: World, store: Store) -> Iterator[Three]:
    """Three servers, bootstrapped, with an account `ci`."""
    with three(world, store) as found:
        found.clean()
        found.configure()
        print(found.fab("bootstrap").stdout)
        found.fab("htpasswd", "--user", "ci", input=PASSWORD + "\n")
        yield found


def login(user: str) -> Sequence[str]:
    return ("-u", f"{user}:{PASSWORD}")


def answers(fleet: Three, user: str) -> list[int]:
    return [fleet.status(name, "/v2/", *login(user)) for name in ALL]


def healthy(fleet: Three) -> list[int]:
    return [fleet.status(name, "/health") for name in ALL]


@contextlib.contextmanager
def cut_off(fleet: Three, name: str) -> Iterator[None]:
    """Nobody reaches it by SSH, and its cron stands still."""
    fleet.shell(name, "pkill -x cron; iptables -I INPUT -p tcp --dport 22 -j REJECT --reject-with tcp-reset")
    try:
        yield
    finally:
        fleet.shell(name, "iptables -D INPUT -p tcp --dport 22 -j REJECT --reject-with tcp-reset; cron")


@pytest.mark.long
def test_a10_a_removal_counts_where_nobody_reaches_the_server(fleet: Three) -> None:
    fleet.fab("htpasswd", "--user", "bob", input=PASSWORD + "\n")
    assert answers(fleet, "bob") == [200] * 3 == answers(fleet, "ci")
    with cut_off(fleet, "third"):
        # All serve that are asked at the same time, and the one that is cut off is asked all the time.
        seen: list[tuple[float, int]] = []
        done = threading.Event()

        def asking() -> None:
            while not done.is_set():
                seen.append((time.monotonic(), fleet.status("third", "/v2/", *login("bob"))))

        thread = threading.Thread(target=asking)
        thread.start()
        try:
            told = fleet.fab("htpasswd", "--remove", "bob", ok=None)
            ended = time.monotonic()
            wait_until(lambda: bool(seen) and seen[-1][1] == 503, "the one that is cut off refuses", 20)
        finally:
            done.set()
            thread.join()
        print(told.stdout, told.stderr)
        assert "account bob removed on 2 of 3 servers" in told.stdout
        late = [when - ended for when, status in seen if status == 200 and when > ended]
        print(f"served the removed account for {max(late, default=0):.2f} s after the command had ended")
        assert max(late, default=0) < 2
        assert answers(fleet, "bob") == [401, 401, 503]
        assert answers(fleet, "ci") == [200, 200, 503]
        assert healthy(fleet) == [200, 200, 503]
        # As cron does it.
        fleet.shell("third", f"cd {DEPLOY_DIR} && ./inv accounts")
        wait_until(lambda: healthy(fleet) == [200] * 3, "it has the accounts, and serves", 20)
        assert answers(fleet, "bob") == [401] * 3
        assert answers(fleet, "ci") == [200] * 3


@dataclass
class Traffic:
    """People who push small images and pull them, and who know all addresses: the next one where one refuses."""

    ports: Sequence[int]
    authority: str
    stopped: threading.Event = field(default_factory=threading.Event)
    pushed: dict[str, bytes] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    requests: int = 0

    def has(self, count: int) -> bool:
        """Whether more than so many images were acknowledged."""
        return len(self.pushed) > count

    def run(self, me: int) -> None:
        number = 0
        while not self.stopped.is_set():
            number += 1
            with contextlib.suppress(ConnectionError):
                self._push_and_pull(f"load/{me}", f"t{number}", f"layer {me} {number} {time.time()}".encode())

    def _push_and_pull(self, repository: str, tag: str, layer: bytes) -> None:
        digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
        status, headers, _ = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        place = headers.get("Location", "").partition(DOMAIN)[2].partition("/v2/")[2]
        if status != 202 or not place:
            return
        half = len(layer) // 2
        # Each part through another server.
        for part in (layer[:half], layer[half:]):
            status, headers, _ = self.ask("PATCH", f"/v2/{place}", part, {"Content-Type": "application/octet-stream"})
            if status != 202:
                return
            place = headers["Location"].partition(DOMAIN)[2].partition("/v2/")[2]
        if self.ask("PUT", f"/v2/{place}&digest={digest}", b"")[0] != 201:
            return
        kind = "application/vnd.oci.image.manifest.v1+json"
        blob = f'{{"mediaType":"application/octet-stream","digest":"{digest}","size":{len(layer)}}}'
        manifest = f'{{"schemaVersion":2,"mediaType":"{kind}","config":{blob},"layers":[{blob}]}}'.encode()
        if self.ask("PUT", f"/v2/{repository}/manifests/{tag}", manifest, {"Content-Type": kind})[0] != 201:
            return
        self.pushed[f"{repository}:{tag}"] = layer
        status, _, found = self.ask("GET", f"/v2/{repository}/blobs/{digest}")
        if status == 200 and found != layer:
            self.failed.append(f"{repository}:{tag} is other bytes")

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Of the first server that takes the connection, from another one on each time."""
        token = base64.b64encode(f"ci:{PASSWORD}".encode()).decode()
        self.requests += 1
        problems = []
        for turn in range(len(self.ports)):
            port = self.ports[(self.requests + turn) % len(self.ports)]
            context = ssl.create_default_context(cafile=self.authority)
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
            context.check_hostname = False
            try:
                connection.connect()
            except OSError as error:
                problems.append(f"{port}: {error}")
                connection.close()
                continue
            with contextlib.closing(connection):
                given = {"Authorization": f"Basic {token}", "Host": DOMAIN, **(headers or {})}
                try:
                    connection.request(method, path, body, given)
                    answer = connection.getresponse()
                    content = answer.read()
                except (OSError, http.client.HTTPException) as error:
                    self.failed.append(f"{method} {path}: {error!r}")
                    raise ConnectionError from None
                if answer.status >= 400:
                    self.failed.append(f"{method} {path}: {answer.status} {content[:200]!r}")
                return answer.status, dict(answer.getheaders()), content
        self.failed.append(f"{method} {path}: nobody takes a connection: {problems}")
        raise ConnectionError


@contextlib.contextmanager
def traffic(fleet: Three, people: int = 3) -> Iterator[Traffic]:
    found = Traffic([fleet.port(name) for name in ALL], str(fleet.sandbox.directory / "ca.pem"))
    threads = [threading.Thread(target=found.run, args=(number,)) for number in range(people)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(found.pushed) >= 5, "people push", 60)
        yield found
    finally:
        found.stopped.set()
        for thread in threads:
            thread.join()


def lost(found: Traffic) -> list[str]:
    """Images that were acknowledged, and are not there or are other bytes."""
    gone = []
    for image, layer in found.pushed.items():
        repository, tag = image.split(":")
        digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
        manifest = found.ask("GET", f"/v2/{repository}/manifests/{tag}")
        blob = found.ask("GET", f"/v2/{repository}/blobs/{digest}")
        if manifest[0] != 200 or blob[0] != 200 or blob[2] != layer:
            gone.append(image)
    return gone


@pytest.mark.long
def test_each_server_in_turn_is_killed_while_people_push(fleet: Three) -> None:
    with traffic(fleet) as found:
        for name in ALL:
            goal = len(found.pushed) + 5
            fleet.shell(name, "docker kill $(docker ps --quiet) >/dev/null")
            wait_until(partial(found.has, goal), f"the others go on without {name}", 60)
            fleet.shell(name, f"cd {DEPLOY_DIR} && docker compose start >/dev/null 2>&1")
            wait_until(lambda: healthy(fleet) == [200] * 3, f"{name} is back", 60)
    gone = lost(found)
    print(f"{len(found.pushed)} images were acknowledged, lost: {len(gone)}; failed requests: {len(found.failed)}")
    print("\n".join(found.failed[:10]))
    assert not gone


@pytest.mark.long
def test_three_servers_are_upgraded_while_people_push(fleet: Three) -> None:
    """Another image of nginx, of the same content: each server is replaced in turn."""
    for name in ALL:
        fleet.shell(
            name,
            "image=$(docker ps --format '{{.Image}}' | grep nginx | head -n 1); printf 'FROM %s\\nLABEL again=1\\n' "
            '"$image" | DOCKER_BUILDKIT=0 docker build -q -t "$image" - >/dev/null',
        )
    with traffic(fleet) as found:
        told = fleet.fab("upgrade", ok=None)
        print(told.stdout, told.stderr)
        assert told.returncode == 0
    assert len(re.findall(r"proven; what ran before ends", told.stdout)) == 3
    print(f"{found.requests} requests while three servers were upgraded, failed: {len(found.failed)}")
    print("\n".join(found.failed[:10]))
    assert not found.failed
    assert not lost(found)
    assert healthy(fleet) == [200] * 3
