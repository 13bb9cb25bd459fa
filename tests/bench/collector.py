"""Our collector and listing beside the registry's own collector, on one store: seconds, CPU, the peak of memory.

`python3 -m tests.bench.collector IMAGE…`, each the image of a registry; without one, the sandbox's. All of it only
looks: dry runs. Each runs in the sandbox's image of a server, with what that server would have, one after the other.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fabfile.machine import remote_call
from fabfile.store.onhost import collect, images
from tests.sandbox.commands import output
from tests.sandbox.engine import ensure_engine
from tests.sandbox.images import PREFIX, ensure_image, source_image
from tests.unit.stores import Store

ROUNDS = 3
MANIFESTS, LAYERS, REPOSITORIES = 10_000, 8, 300
DEPLOY_DIR = "/docker-registry"
CONFIG = f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {DEPLOY_DIR}/registry/data\n"
# In the container: what it took, of a child; its input is the file after the first argument.
MEASURE = """
import json, os, subprocess, sys, time
begun = time.monotonic()
child = subprocess.Popen(sys.argv[2:], stdin=open(sys.argv[1]), stdout=open("/tmp/out", "w"), stderr=subprocess.STDOUT)
_, status, used = os.wait4(child.pid, 0)
if status:
    sys.exit(open("/tmp/out").read()[-2000:])
cpu = used.ru_utime + used.ru_stime
print(json.dumps([time.monotonic() - begun, cpu, used.ru_maxrss / 1024, os.path.getsize("/tmp/out")]))
"""


class Quick(Store):
    """A store of which all is written just now, as quickly as can be: it has a few hundred thousand files."""

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self.made: set[Path] = set()

    def write(self, path: Path, content: bytes) -> None:
        if path.parent not in self.made:
            os.makedirs(path.parent, exist_ok=True)  # noqa: PTH103 - it is quicker
            self.made.add(path.parent)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(file, content)
        os.close(file)


def fill(store: Store, manifests: int = MANIFESTS) -> None:
    """With ten blobs a manifest: its own, its configuration, and eight layers, which its repository's next image
    shares half of. Every fifth has lost its tag, as where CI pushes one tag again and again.
    """
    for number in range(manifests):
        name = f"team-{number % 10}/app-{number % REPOSITORIES}"
        after = number + REPOSITORIES if number + REPOSITORIES < manifests else number
        layers = [b"layer %d of %d" % (each, number) for each in range(LAYERS)]
        shared = [b"layer %d of %d" % (each, after) for each in range(LAYERS // 2)] if after != number else []
        tags = [] if number // REPOSITORIES % 5 == 4 else [f"1.{number}"]
        config = {"os": "linux", "architecture": "amd64", "created": str(number)}
        store.image(name, [*layers, *shared], *tags, config=config)


def ours(top: Path) -> dict[str, list[str]]:
    """What we measure of ours: name -> the command, its input first."""
    calls: dict[str, remote_call.Call] = {
        "gc --dry-run": (collect.collect, [DEPLOY_DIR], {"dry": True, "grace": 0.0}),
        "gc --dry-run --untagged 0s": (collect.collect, [DEPLOY_DIR], {"dry": True, "grace": 0.0, "untagged": 0.0}),
        "images": (images.listed, [DEPLOY_DIR], {}),
    }
    found = {}
    for number, (name, call) in enumerate(calls.items()):
        (top / f"job-{number}").write_text(remote_call.packed([call]))
        found[name] = [f"/bench/job-{number}", "python3", "-I", "-B", "-c", remote_call.LOADER]
    return found


def theirs(top: Path, chosen: Sequence[str]) -> dict[str, list[str]]:
    """The registries' own collectors, out of these images."""
    (top / "config.yml").write_text(CONFIG)
    found = {}
    for number, image in enumerate(chosen):
        container = output("docker", "create", image).strip()
        try:
            output("docker", "cp", "--follow-link", f"{container}:/bin/registry", str(top / f"registry-{number}"))
        finally:
            output("docker", "rm", "--volumes", container)
        program = f"/bench/registry-{number}"
        asked = ("docker", "run", "--rm", "--volume", f"{top}:/bench", f"{PREFIX}/machine", program, "--version")
        version = output(*asked).split()[2]
        for option in ([], ["--delete-untagged"]):
            name = " ".join([f"registry {version} garbage-collect --dry-run", *option])
            found[name] = ["/dev/null", program, "garbage-collect", "--dry-run", *option, "/bench/config.yml"]
    return found


def measured(top: Path, store: Path, command: Sequence[str]) -> tuple[float, float, float]:
    """Seconds, those of CPU (which others at work on this machine change less), and the peak in MB."""
    volumes = ("--volume", f"{top}:/bench", "--volume", f"{store}:{DEPLOY_DIR}")
    asked = ("docker", "run", "--rm", "--network", "none", *volumes, f"{PREFIX}/machine", "python3", "-c", MEASURE)
    seconds, cpu, megabytes, printed = json.loads(output(*asked, *command))
    if not printed:
        raise AssertionError(f"{command} said nothing")
    return seconds, cpu, megabytes


def main(chosen: Sequence[str], say: Callable[[str], None] = print) -> None:
    """Make a store, measure all on it in turn, and print a table."""
    ensure_engine(say)
    ensure_image("machine", say)
    with tempfile.TemporaryDirectory(prefix="registry-bench-") as name:
        top, deployed = Path(name, "bench"), Path(name, "deployed")
        top.mkdir()
        begun = time.monotonic()
        store = Quick(deployed / "registry/data")
        fill(store)
        blobs = int(subprocess.check_output(["sh", "-c", 'find "$0" -name data | wc -l', str(store.top / "blobs")]))
        say(f"{MANIFESTS} manifests and {blobs} blobs in {REPOSITORIES} repositories: {time.monotonic() - begun:.0f} s")
        commands = ours(top) | theirs(top, chosen or [source_image("registry")])
        found: dict[str, list[tuple[float, float, float]]] = {each: [] for each in commands}
        # The first round brings the files into the machine's memory.
        for number in range(ROUNDS + 1):
            for each, command in commands.items():
                row = measured(top, deployed, command)
                say(f"round {number}: {each}: {row[0]:.2f} s, {row[1]:.2f} of CPU, {row[2]:.0f} MB")
                found[each] += [row] if number else []
        say("| command | s | of CPU | MB |\n|---|---|---|---|")
        for each, rounds in found.items():
            seconds, cpu, megabytes = map(statistics.median, zip(*rounds, strict=True))
            say(f"| `{each}` | {seconds:.1f} | {cpu:.1f} | {megabytes:.0f} |")


if __name__ == "__main__":
    main(sys.argv[1:])
