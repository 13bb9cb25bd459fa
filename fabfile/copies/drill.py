"""A copy is served by a real registry, in a container of its own, and every tag is pulled and compared."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import StepError
from ..layout import DATA, PROJECT, STORE, Service
from ..machine.host import here
from ..stack.onhost import source
from ..store.onhost import handles, walk
from ..store.onhost.manifests import DIGEST
from . import place

# It reads alone; nobody else reaches it.
CONFIG = """\
version: 0.1
storage:
  filesystem: {rootdirectory: /var/lib/registry}
  maintenance: {readonly: {enabled: true}}
http: {addr: ":5000"}
"""
# And images of before 2017.
ACCEPT = f"{source.ACCEPT}, application/vnd.docker.distribution.manifest.v1+prettyjws"
# Both have the same name.
PROGRAM = Service.REGISTRY
SECONDS = 60
BLOCK = 1 << 20
AT_ONCE = 4


def drill(path: Path, snapshot: place.Snapshot, image: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Serve a snapshot by that image of the registry, with this machine's Docker; pull every tag; remember it beside.

    Returns (image, digest) of all that was pulled, and what is wrong, in words. Nothing of the copy is changed. Raises
    StepError where there is no Docker, or the registry does not start.
    """
    with handles.top(str(path / STORE)) as top:
        wanted = {
            (name, tag): digest
            for name, repository in walk.repositories(top).repositories.items()
            for tag, (digest, _) in repository.tags.items()
        }
    pulled: list[tuple[str, str]] = []
    problems: list[str] = []
    with _served(path, image) as port, ThreadPoolExecutor(AT_ONCE) as pool:
        known: dict[str, str] = {}
        rows = {key: pool.submit(_pull, port, *key, digest, known) for key, digest in sorted(wanted.items())}
        for (name, tag), row in rows.items():
            if why := row.result():
                problems.append(f"{name}:{tag}: {why}")
            else:
                pulled.append((f"{name}:{tag}", wanted[name, tag]))
    with place.held(path.parent):
        place.remember_drill(path.parent, snapshot, len(pulled), problems)
    return pulled, problems


@contextlib.contextmanager
def _served(path: Path, image: str) -> Iterator[int]:
    """The port of 127.0.0.1 at which a registry serves it, for as long as the block runs."""
    machine, name = here(), f"{PROJECT}-drill-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="fab-") as directory:
        config = Path(directory) / "config.yml"
        config.write_text(CONFIG)
        config.chmod(0o644)
        argv = [
            "docker", "run", "--detach", "--name", name, "--label", f"{PROJECT}.drill=1", "--read-only",
            # The copy is its maker's alone.
            "--user", f"{os.getuid()}:{os.getgid()}", "--cap-drop", "ALL", "--env", "OTEL_TRACES_EXPORTER=none",
            "--publish", "127.0.0.1::5000", "--volume", f"{path / DATA}:/var/lib/registry:ro",
            "--volume", f"{config}:/config.yml:ro", "--tmpfs", "/tmp", "--entrypoint", PROGRAM, image,  # noqa: S108
            "serve", "/config.yml",
        ]  # fmt: skip
        try:
            machine.run(argv, remedy="a drill takes a Docker on this machine, and the image of the registry")
            port = int(machine.run(["docker", "port", name, "5000/tcp"]).stdout.split()[0].rpartition(":")[2])
            _wait(port, name)
            yield port
        finally:
            machine.run(["docker", "rm", "--force", "--volumes", name], check=False)


def _wait(port: int, name: str) -> None:
    end = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if _ask(port, "/v2/")[0] == 200:
                return
        if time.monotonic() > end or here().run(["docker", "inspect", "-f", "{{.State.Running}}", name], check=False
                                                ).stdout.strip() != "true":  # fmt: skip
            said = here().run(["docker", "logs", name], check=False)
            last = (said.stderr or said.stdout).strip().rpartition("\n")[2]
            raise StepError(f"the registry that should serve the copy does not start: {last[:300]}", "is it the image?")
        time.sleep(0.1)


def _ask(port: int, path: str) -> tuple[int, str, bytes]:
    """Status, the digest of the content, and the content where it is small."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path, headers={"Accept": ACCEPT})
        answer = connection.getresponse()
        found, content = hashlib.sha256(), b""
        while block := answer.read(BLOCK):
            found.update(block)
            content = content + block if len(content) <= 4 * BLOCK else content
        return answer.status, f"sha256:{found.hexdigest()}", content
    finally:
        connection.close()


def _pull(port: int, name: str, reference: str, digest: str, known: dict[str, str]) -> str:
    """Why a manifest with all that it names cannot be pulled; '' where it can. known: of what was pulled already."""
    try:
        status, found, content = _ask(port, f"/v2/{name}/manifests/{reference}")
        if status != 200:
            return f"the manifest: status {status}"
        if digest.startswith("sha256:") and found != digest:
            return f"the manifest is {found}, and should be {digest}"
        manifest = json.loads(content)
        for child in manifest.get("manifests") or ():
            if why := _pull(port, name, child["digest"], child["digest"], known):
                return f"in the index: {why}"
        listed = [*(manifest.get("layers") or ()), *([manifest["config"]] if manifest.get("config") else ())]
        named = [each["digest"] for each in listed if not each.get("urls")]
        for each in [*named, *(layer["blobSum"] for layer in manifest.get("fsLayers") or ())]:
            if each not in known:
                known[each] = _blob(port, name, each)
            if known[each]:
                return known[each]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _blob(port: int, name: str, digest: str) -> str:
    if not DIGEST.match(digest):
        return f"{digest[:80]} is no digest"
    status, found, _ = _ask(port, f"/v2/{name}/blobs/{digest}")
    if status != 200:
        return f"layer {digest}: status {status}"
    return "" if found == digest or not digest.startswith("sha256:") else f"layer {digest} is {found}"
