"""What the client does to a registry, or gets ready for it: one order, one JSON object as the answer.

Copied to the client and run by the Python there: `load.py ORDER JOB`, the job as JSON. Times are taken
here, so that what it takes to start this program does not count.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import math
import os
import re
import resource
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

MEGABYTE = 1024 * 1024
AT_ONCE = 250  # transfers of one curl, which does 300 at most
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
Answer = dict[str, Any]


def layer(job: Answer) -> Answer:
    """Random bytes in a file. One that is there gets a new beginning: that is another layer, too."""
    path, size = Path(job["file"]), int(job["bytes"])
    if not path.exists() or path.stat().st_size != size:
        with path.open("wb") as file:
            for start in range(0, size, MEGABYTE):
                file.write(os.urandom(min(MEGABYTE, size - start)))
    with path.open("r+b") as file:
        file.write(os.urandom(64))
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(MEGABYTE):
            digest.update(block)
    return {"digest": f"sha256:{digest.hexdigest()}"}


def image(job: Answer) -> Answer:
    """An image of so many random layers, as skopeo's directory of it."""
    directory = Path(job["directory"])
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    layers, plain = [], []
    for _ in range(job["layers"]):
        archive = tar_of_random(job["bytes"])
        plain.append(f"sha256:{hashlib.sha256(archive).hexdigest()}")
        # Packed, or skopeo would pack it; but with no effort, as it is random.
        layers.append(stored(directory, LAYER, gzip.compress(archive, compresslevel=0)))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": plain},
    }
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": stored(directory, CONFIG, json.dumps(config).encode()), "layers": layers,
    }  # fmt: skip
    (directory / "manifest.json").write_text(json.dumps(manifest))
    (directory / "version").write_text("Directory Transport Version: 1.1\n")
    return {}


def tar_of_random(size: int) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("random")
        member.size = size
        tar.addfile(member, io.BytesIO(os.urandom(size)))
    return archive.getvalue()


def stored(directory: Path, kind: str, content: bytes) -> Answer:
    """Its descriptor, after it was written."""
    digest = hashlib.sha256(content).hexdigest()
    (directory / digest).write_bytes(content)
    return {"mediaType": kind, "size": len(content), "digest": f"sha256:{digest}"}


def push(job: Answer) -> Answer:
    """Upload one blob: the seconds of its bytes and of the registry's check of them."""
    begun = curl(job, f"/v2/{job['repository']}/blobs/uploads/", "-X", "POST", "-d", "", status=202)
    kind = ("-H", "Content-Type: application/octet-stream")
    sent = curl(job, begun["location"], "-X", "PATCH", *kind, "-T", job["file"], status=202)
    joint = "&" if "?" in sent["location"] else "?"
    end = f"{sent['location']}{joint}digest={job['digest']}"
    done = curl(job, end, "-X", "PUT", *kind, "-d", "", status=201)
    return {"seconds": sent["seconds"] + done["seconds"], "http": sent["http"]}


def pull(job: Answer) -> Answer:
    """Fetch one path to nowhere."""
    got = curl(job, job["path"], "-L", status=200)
    if got["bytes"] != job["bytes"]:
        sys.exit(f"{job['url']}{job['path']}: {got['bytes']} bytes instead of {job['bytes']}")
    return {"seconds": got["seconds"], "http": got["http"]}


def curl(job: Answer, path: str, *options: str, status: int) -> Answer:
    form = "%{http_code} %{time_total} %{http_version} %{size_download} %header{location}"
    argv = ["curl", "-sS", "-o", "/dev/null", "-w", form, "-u", job["user"], *job["curl"], *options]
    done = subprocess.run([*argv, urljoin(job["url"], path)], capture_output=True, text=True, check=False)
    code, seconds, version, size, location = (done.stdout.split(" ", 4) + [""] * 5)[:5]
    if done.returncode or int(code) != status:
        sys.exit(f"{path}: {code} instead of {status}: {done.stderr}")
    return {
        "seconds": float(seconds), "http": version, "bytes": int(size),
        "location": urljoin(job["url"], location),
    }  # fmt: skip


def copy(job: Answer) -> Answer:
    """Copy an image with skopeo; it has its own ideas of HTTP, the same for all."""
    argv = [
        "skopeo",
        "copy",
        "--quiet",
        "--insecure-policy",
        *job["options"],
        job["from"],
        job["to"],
    ]
    started = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(f"{job['from']} to {job['to']}: {done.stderr}")
    return {"seconds": seconds}


def requests(job: Answer) -> Answer:
    """Ask for one thing again and again over 16 connections: how many a second, how slow the slowest."""
    credentials = base64.b64encode(job["user"].encode()).decode()
    done = subprocess.run(
        ["wrk", "-t2", "-c16", f"-d{job['duration']}s", "--timeout", "30s", "--latency",
         "-H", f"Authorization: Basic {credentials}", "-H", f"Accept: {MANIFEST}", job["url"] + job["path"]],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    if "Non-2xx" in done or "Socket errors" in done:
        sys.exit(done)
    rate = re.search(r"Requests/sec: +([\d.]+)", done)
    slow = re.search(r"99% +([\d.]+)(us|ms|s)", done)
    if not rate or not slow:
        sys.exit(done)
    return {
        "rate": float(rate[1]),
        "p99": float(slow[1]) * {"us": 0.001, "ms": 1, "s": 1000}[slow[2]],
    }


def pulls(job: Answer) -> Answer:
    """Fetch one path so many times at once: the seconds until the last one is through, the failures,
    and the most frequent of them as status and bytes."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    count = int(job["count"])
    share = math.ceil(count / math.ceil(count / AT_ONCE))
    one = f'url = "{job["url"]}{job["path"]}"\noutput = "/dev/null"\n'
    argv = ["curl", "-sS", "-Z", "--parallel-immediate", "--parallel-max", str(AT_ONCE), "-u", job["user"],
            *job["curl"], "--connect-timeout", "120", "--max-time", "300",
            "-w", "%{http_code} %{size_download}\n", "-K", "-"]  # fmt: skip
    started = time.monotonic()
    running = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(0, count, share)
    ]
    for number, each in enumerate(running):
        assert each.stdin is not None
        each.stdin.write(one * min(share, count - number * share))
        each.stdin.close()
    answers = [line for each in running if each.stdout for line in each.stdout.read().splitlines()]
    seconds = time.monotonic() - started
    bad = Counter(answer for answer in answers if answer != f"200 {job['bytes']}")
    told = ", ".join(f"{number} x {answer}" for answer, number in bad.most_common(5))
    return {"seconds": seconds, "failed": count - len(answers) + bad.total(), "told": told}


ORDERS = {"layer": layer, "image": image, "push": push, "pull": pull, "copy": copy,
          "requests": requests, "pulls": pulls}  # fmt: skip

print(json.dumps(ORDERS[sys.argv[1]](json.loads(sys.argv[2]))))
