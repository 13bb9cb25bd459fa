"""What is measured, of whom, and how often. A round measures each contender once, so that what
happens on the machine meanwhile hits all of them alike.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .contenders import BENCH, NO_PAGE, NO_USES, Contender, named
from .deploy import wipe
from .server import Server, peak

LAYER, IMAGE = f"{BENCH}/client/layer", f"{BENCH}/client/image"
REPOSITORY = "bench/image"
SECONDS_OF_REQUESTS = 5
Values = dict[str, float]


@dataclass(frozen=True)
class Field:
    """Where it takes place. megabytes: of the one big layer; 1024 is the standard."""

    server: Server
    login: str
    megabytes: int = 1024

    def scaled(self, megabytes: int) -> int:
        """Bytes of what has so many megabytes when the big layer has 1024."""
        return max(1, megabytes * self.megabytes * 1024)

    def ask(self, order: str, contender: Contender, **job: object) -> dict[str, Any]:
        """Let the client do this to a contender."""
        common = {"url": contender.url, "user": self.login, "curl": contender.curl}
        return self.server.ask(order, **(common | job))

    def settle(self) -> None:
        """Let what the last measurement wrote reach the disk: its own time is over."""
        self.server.sh("sync")


@dataclass(frozen=True)
class Run:
    """Measures that are taken together. units: of each. content: makes what a round works on, new each
    time, since a registry takes no layer twice.
    """

    units: dict[str, str]
    contenders: tuple[Contender, ...]
    rounds: int
    content: Callable[[Field], str]
    measure: Callable[[Field, Contender, str], Values]


def new_layer(megabytes: int) -> Callable[[Field], str]:
    """Makes a layer in the client, gives its digest."""

    def content(field: Field) -> str:
        made = field.server.ask("layer", file=LAYER, bytes=field.scaled(megabytes))
        return str(made["digest"])

    return content


def new_image(layers: int, megabytes: int) -> Callable[[Field], str]:
    """Makes an image in the client, gives its directory."""

    def content(field: Field) -> str:
        size = field.scaled(megabytes) if megabytes else 1024
        field.server.ask("image", directory=IMAGE, layers=layers, bytes=size)
        return IMAGE

    return content


def nothing(field: Field) -> str:
    """For what works on nothing."""
    return ""


def big(field: Field, contender: Contender, digest: str) -> Values:
    """One layer in and out."""
    if contender.kind == "file":
        pulled = field.ask("pull", contender, path="/layer", bytes=field.scaled(1024))
        return {"pull-1g": pulled["seconds"]}
    pushed = push(field, contender, digest)
    field.settle()
    pulled = field.ask("pull", contender, path=blob(digest), bytes=field.scaled(1024))
    return {"push-1g": pushed, "pull-1g": pulled["seconds"]}


def many_layers(field: Field, contender: Contender, directory: str) -> Values:
    """An image in and out, by skopeo."""
    pushed = field.ask("copy", contender, **copying(field, contender, directory, out=False))
    field.settle()
    pulled = field.ask("copy", contender, **copying(field, contender, f"{IMAGE}-back", out=True))
    field.server.sh('rm -rf "$1"', f"{IMAGE}-back")
    return {"push-40x5m": pushed["seconds"], "pull-40x5m": pulled["seconds"]}


def requests(field: Field, contender: Contender, directory: str) -> Values:
    """One small manifest, again and again."""
    field.ask("copy", contender, **copying(field, contender, directory, out=False))
    path = f"/v2/{REPOSITORY}/manifests/latest"
    found = field.ask("requests", contender, path=path, duration=SECONDS_OF_REQUESTS)
    return {"requests": found["rate"], "requests-p99": found["p99"]}


def many_pulls(count: int) -> Callable[[Field, Contender, str], Values]:
    """One layer for so many at once, with the memory that it takes."""

    def measure(field: Field, contender: Contender, digest: str) -> Values:
        push(field, contender, digest)
        field.settle()
        watcher = field.server.watch_memory(contender.containers)
        try:
            job = {"path": blob(digest), "bytes": field.scaled(20), "count": count}
            pulled = field.ask("pulls", contender, **job)
        finally:
            memory = peak(watcher)
        if pulled["told"]:
            print(f"{contender.name} failed: {pulled['told']}", file=sys.stderr, flush=True)
        name = f"pulls-{count}"
        return {
            name: pulled["seconds"],
            f"{name}-errors": pulled["failed"],
            f"{name}-memory": memory,
        }

    return measure


def idle(field: Field, contender: Contender, _: str) -> Values:
    """What it takes to do nothing."""
    return {"idle-memory": peak(field.server.watch_memory(contender.containers))}


def push(field: Field, contender: Contender, digest: str) -> float:
    job = {"repository": REPOSITORY, "file": LAYER, "digest": digest}
    return float(field.ask("push", contender, **job)["seconds"])


def copying(field: Field, contender: Contender, directory: str, *, out: bool) -> dict[str, object]:
    """skopeo's arguments, for a pull or a push."""
    there, here = f"docker://{contender.host}/{REPOSITORY}:latest", f"dir:{directory}"
    side = "src" if out else "dest"
    options = [f"--{side}-creds", field.login]
    if not contender.tls:
        options.append(f"--{side}-tls-verify=false")
    return {"from": there, "to": here, "options": options} if out else {"from": here, "to": there, "options": options}


def blob(digest: str) -> str:
    return f"/v2/{REPOSITORY}/blobs/{digest}"


def measured(run: Run, field: Field, contender: Contender, content: str) -> Values:
    """One measurement, and nothing of it left."""
    field.settle()
    try:
        return run.measure(field, contender, content)
    finally:
        if contender.kind != "file":
            wipe(field.server, contender)


RUNS = (
    Run({"idle-memory": "MB"}, named("ours", "tutorial-h1", "caddy-h1", "registry-tls"), 3, nothing, idle),
    Run(
        {"push-1g": "s", "pull-1g": "s"},
        named(
            "ours", "tutorial-h1", "tutorial-h2", "caddy-h1", "caddy-h2", "registry-tls", "registry-plain", "file-tls"
        ),
        5, new_layer(1024), big,
    ),
    # skopeo speaks HTTP/1.1 alone, so the others would be measured twice.
    Run(
        {"push-40x5m": "s", "pull-40x5m": "s"},
        named("ours", "tutorial-h1", "caddy-h1", "registry-tls", "registry-plain"),
        3, new_image(40, 5), many_layers,
    ),
    # So does wrk.
    Run(
        {"requests": "1/s", "requests-p99": "ms"},
        named(
            "ours", "ours-no-auth", NO_USES, NO_PAGE, "tutorial-h1", "caddy-h1", "registry-cost-5", "registry-cost-12",
            "registry-plain",
        ),
        5, new_image(1, 0), requests,
    ),
    Run(
        {"pulls-100": "s"},
        named("ours", NO_USES, NO_PAGE, "tutorial-h1", "tutorial-h2", "caddy-h1", "caddy-h2", "registry-tls"),
        3, new_layer(20), many_pulls(100),
    ),
    Run(
        {"pulls-1000": "s", "pulls-1000-errors": "count", "pulls-1000-memory": "MB"},
        named("ours", "tutorial-h1", "caddy-h1", "registry-tls"),
        1, new_layer(20), many_pulls(1000),
    ),
)  # fmt: skip
