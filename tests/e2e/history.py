"""Clients that push, mount, tag, delete and pull at random, and know what was acknowledged."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import random
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.sandbox.demo import DOMAIN

from .world import World

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
# What Docker's own are called: version 2 of the registry would make something older of them for who does not say this.
DOCKERS = "application/vnd.docker.distribution.manifest"
DOCKER = f"{DOCKERS}.v2+json, {DOCKERS}.list.v2+json"
# Only these tags: a delete takes all tags of a digest, those that somebody pushes just now, too.
DELETED = ("t6", "t7")


def sha(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Client:
    """One connection to the registry, as one account."""

    def __init__(self, world: World, login: str) -> None:
        self.port = world.sandbox.port(443)
        self.context = ssl.create_default_context(cafile=str(world.sandbox.directory / "ca.pem"))
        self.login = base64.b64encode(login.encode()).decode()
        self.connection: http.client.HTTPConnection | None = None
        # The last request was sent more than once: the first may have been obeyed and only its answer be lost.
        self.repeated = False

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, dict[str, str], bytes]:
        """As `_ask`, again for half a minute where nobody answers: the registry is killed now and then."""
        self.repeated = False
        for _ in range(100):
            answer = self._ask(method, path, body, kind)
            if answer[0] not in (0, 503) or "/uploads/" in path:
                break
            self.repeated = True
            time.sleep(0.3)
        return answer

    def _ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; once more where a connection that was kept had been closed."""
        headers = {"Authorization": f"Basic {self.login}", "Host": f"{DOMAIN}:{self.port}"}
        headers |= {"Content-Type": kind} if kind else {"Accept": f"{IMAGE}, {INDEX}, {DOCKER}"}
        for again in (True, True, False):
            try:
                if self.connection is None:
                    self.connection = _Named(self.port, self.context)
                self.connection.request(method, path, body or None, headers)
                answer = self.connection.getresponse()
                content = answer.read()
                return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content
            except (OSError, http.client.HTTPException):
                if self.connection:
                    self.connection.close()
                self.connection = None
                self.repeated = True
                if not again:
                    return 0, {}, b""
        raise AssertionError

    def has(self, repository: str, digest: str) -> bool:
        return self.ask("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200

    def bring(self, repository: str, content: bytes, source: str = "") -> bool:
        """A layer, as docker brings it: not at all where it is there, by a mount, or by an upload."""
        digest = sha(content)
        if self.has(repository, digest):
            return True
        query = f"?mount={digest}&from={source}" if source else ""
        status, headers, _ = self.ask("POST", f"/v2/{repository}/blobs/uploads/{query}")
        if status == 201:
            return True
        if status != 202:
            return False
        place = "/" + headers["location"].split("/", 3)[3]
        status, headers, _ = self.ask("PATCH", place, content, "application/octet-stream")
        if status != 202:
            return False
        place = "/" + headers["location"].split("/", 3)[3]
        return self.ask("PUT", f"{place}&digest={digest}")[0] == 201

    def put(self, repository: str, reference: str, manifest: dict[str, object]) -> tuple[int, str]:
        """Status, and the manifest's digest."""
        content = json.dumps(manifest).encode()
        kind = str(manifest["mediaType"])
        return self.ask("PUT", f"/v2/{repository}/manifests/{reference or sha(content)}", content, kind)[0], sha(
            content
        )

    def image(
        self, repository: str, tag: str, layers: list[bytes], source: str = "", **more: object
    ) -> tuple[int, str]:
        """Push an image; tag '' for one by its digest."""
        config = b'{"os": "linux", "architecture": "amd64"}'
        for content in (*layers, config):
            if not self.bring(repository, content, source):
                return 0, ""
        listed = [{"digest": sha(each), "size": len(each), "mediaType": "application/octet-stream"} for each in layers]
        about = {"digest": sha(config), "size": len(config), "mediaType": "application/vnd.oci.image.config.v1+json"}
        found = {"schemaVersion": 2, "mediaType": IMAGE, "config": about, "layers": listed}
        return self.put(repository, tag, found | more)

    def index(self, repository: str, tag: str, children: list[str]) -> tuple[int, str]:
        """Push an index of what is there."""
        listed = [{"digest": each, "size": 1, "mediaType": IMAGE, "platform": {"os": "linux", "architecture": "amd64"}}
                  for each in children]  # fmt: skip
        return self.put(repository, tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})

    def pull(self, repository: str, reference: str) -> str:
        """All of an image, each digest compared; why not, or ''. `gone` where there is no such tag."""
        path = f"/v2/{repository}/manifests/{reference}"
        status, headers, content = self.ask("GET", path)
        if status != 200:
            return "gone" if status == 404 else f"{path}: {status}"
        if sha(content) != headers["docker-content-digest"]:
            return f"{path}: the content is another one"
        found = json.loads(content)
        for child in found.get("manifests", ()):
            if why := self.pull(repository, child["digest"]):
                return f"{path}: child {child['digest'][:15]}: {why}"
        for each in (*found.get("layers", ()), *([found["config"]] if "config" in found else ())):
            status, _, content = self.ask("GET", f"/v2/{repository}/blobs/{each['digest']}")
            if status != 200 or sha(content) != each["digest"]:
                return f"{path}: layer {each['digest'][:15]}: {status}"
        return ""


class _Named(http.client.HTTPSConnection):
    """To this machine's port, under the registry's name."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__("127.0.0.1", port, context=context, timeout=60)
        self.tls = context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self.tls.wrap_socket(self.sock, server_hostname=DOMAIN)


class History:
    """What several clients did. acknowledged: (repository, tag) -> digest, with a lock of each."""

    def __init__(self, world: World, login: str, seed: int, repositories: int = 6, digests: int = 24) -> None:
        self.world, self.login = world, login
        self.names = [f"history/{number}" for number in range(repositories)]
        self.layers = [b"layer %d of %d " % (number, seed) * 40 for number in range(digests)]
        self.seed = seed
        self.acknowledged: dict[tuple[str, str], str] = {}
        self.locks: dict[tuple[str, str], threading.Lock] = {}
        self.guard = threading.Lock()
        self.over = threading.Event()
        self.pushed = self.repeated = self.pulled = self.late = self.deleted = 0
        self.refused: list[str] = []
        self.problems: list[str] = []

    @contextmanager
    def going(self, clients: int) -> Iterator[None]:
        """The clients are at work for as long as the block runs."""
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def _client(self, number: int) -> None:
        draw = random.Random(self.seed * 1000 + number)  # noqa: S311 - a draw
        client = Client(self.world, self.login)
        while not self.over.is_set():
            name, tag = draw.choice(self.names), f"t{draw.randrange(8)}"
            with self.guard:
                lock = self.locks.setdefault((name, tag), threading.Lock())
            with lock:
                what = draw.random()
                if what < 0.45:
                    self._push(client, draw, name, tag)
                elif what < 0.9:
                    self._pull(client, name, tag)
                else:
                    self._delete(client, name, tag)

    def _push(self, client: Client, draw: random.Random, name: str, tag: str) -> None:
        layers = draw.sample(self.layers, draw.randrange(1, 4))
        source = draw.choice(["", *self.names])
        index = draw.random() < 0.3
        # Few, so that the same is pushed again and again; one of its own where it will be deleted.
        nonce = draw.getrandbits(60) if tag in DELETED else draw.randrange(30)
        for attempt in range(20):
            if index:
                status, child = client.image(name, "", layers, source, annotations={"n": str(nonce)})
                if status == 201:
                    status, digest = client.index(name, tag, [child])
            else:
                status, digest = client.image(name, tag, layers, source, annotations={"n": str(nonce)})
            if status == 201:
                self.acknowledged[name, tag] = digest
                self.pushed += 1
                return
            self.repeated += 1
            self.refused.append(f"{name}:{tag} {status} (attempt {attempt + 1})")
            time.sleep(0.3)
        self.problems.append(f"push {name}:{tag}: never: {status}")

    def _pull(self, client: Client, name: str, tag: str) -> None:
        why = client.pull(name, tag)
        if (name, tag) in self.acknowledged and why:
            # docs/images.md: its own old manifest was moved while it was pushed again, and comes back.
            time.sleep(3)
            self.late += 1
            why = client.pull(name, tag)
        if (name, tag) in self.acknowledged and why:
            self.problems.append(f"pull {name}:{tag}: {why}")
        elif not why:
            self.pulled += 1

    def _delete(self, client: Client, name: str, tag: str) -> None:
        digest = self.acknowledged.get((name, tag))
        if digest is None or tag not in DELETED:
            return
        for attempt in range(5):
            status = client.ask("DELETE", f"/v2/{name}/manifests/{digest}")[0]
            if status < 500:
                break
            # Version 2 of the registry reads all tags for it, also one that is being written just now.
            self.refused.append(f"delete {name}:{tag} {status} (attempt {attempt + 1})")
            time.sleep(0.3)
        del self.acknowledged[name, tag]
        self.deleted += 1
        if status != 202 and not (status == 404 and (client.repeated or attempt)):
            self.problems.append(f"delete {name}:{tag}: {status}")

    def check(self) -> None:
        """Pull all that was acknowledged, once more."""
        client = Client(self.world, self.login)
        for (name, tag), digest in self.acknowledged.items():
            if why := client.pull(name, tag):
                self.problems.append(f"at the end: {name}:{tag}: {why}")
            elif (headers := client.ask("HEAD", f"/v2/{name}/manifests/{tag}")[1]).get(
                "docker-content-digest"
            ) != digest:
                self.problems.append(f"at the end: {name}:{tag} is {headers.get('docker-content-digest')}")
