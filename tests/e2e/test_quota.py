"""Quotas and the nearly full disk, with real clients: what is refused, in which words, and what goes on."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .history import Client as Raw
from .history import sha
from .test_disks import DISK, disk
from .test_roles import CLIENTS, Client
from .world import DEPLOY_DIR, PASSWORD, USER, World, wait_until

__all__ = ["disk"]

LOGIN = f"{USER}:{PASSWORD}"
DATA = f"{DEPLOY_DIR}/registry/data"
FULL = f"{DEPLOY_DIR}/nginx/full"
MB = 1_000_000
# So long somebody waits for a refusal: docker tries what it may five times, 50 seconds in all.
PATIENCE = 20


def minute(world: World) -> None:
    """What cron runs, to its end: one that cron itself began looked before, and while it runs ours does nothing."""
    world.server(f"""cd {DEPLOY_DIR} && mkdir -p log && flock log/quota.running touch /tmp/minute
        until [ log/quota.seen -nt /tmp/minute ]; do sh ./each-minute.sh; done""")


def refused(client: Client, tool: str, name: str) -> str:
    """What a push says that is refused, without its line breaks."""
    begun = time.monotonic()
    done, words = client.push(tool, name)
    assert not done, words
    assert time.monotonic() - begun < PATIENCE, words
    print(f"{tool}, {time.monotonic() - begun:.1f} s: {words}")
    return words


def status(world: World, name: str) -> tuple[str, str]:
    """Mark and text of a line of `status`."""
    shown = re.sub(r"\n {10,}", " ", world.fab("status", ok=None).stdout)
    found = re.search(rf"(?m)^(\S+) +{name} +(.*)$", shown)
    assert found, shown
    return found[1], found[2]


@pytest.fixture
def client(deployed: World) -> Client:
    client = Client(deployed)
    for tool in CLIENTS:
        assert client.login(tool, USER, PASSWORD)[0]
    return client


@contextmanager
def ruled(world: World, rules: Path, text: str) -> Iterator[None]:
    rules.write_text(text)
    try:
        world.fab("sync", "up")
        yield
    finally:
        rules.unlink()
        world.fab("sync", "up")


def test_d8_a_push_over_a_quota_is_refused_and_all_else_goes_on(deployed: World, rules: Path, client: Client) -> None:
    raw = Raw(deployed, LOGIN)
    with ruled(deployed, rules, "[quota/*]\nquota = 3M\n"):
        layer = os.urandom(3 * MB)
        assert raw.image("quota/large", "1", [layer])[0] == 201
        begun = raw.ask("POST", "/v2/quota/running/blobs/uploads/")
        assert begun[0] == 202
        # Cron's own minute.
        wait_until(lambda: deployed.server(f"ls {FULL}") != "", "cron has looked", 90)
        for tool in CLIENTS:
            words = refused(client, tool, f"quota/{tool}")
            assert "the quota of quota/* is reached: 3.0 MB used of 3.0 MB; pulls and deletes go on" in words, words
            assert client.push(tool, f"elsewhere/{tool}")[0]
        assert raw.pull("quota/large", "1") == ""
        assert raw.has("quota/large", sha(layer))
        assert raw.bring("quota/large", layer), "nothing is asked for what is there"
        # What runs may end, but the next layer of the same push is refused.
        place = "/" + begun[1]["location"].split("/", 3)[3]
        patched = raw.ask("PATCH", place, b"the rest", "application/octet-stream")
        assert patched[0] == 202
        place = "/" + patched[1]["location"].split("/", 3)[3]
        assert raw.ask("PUT", f"{place}&digest={sha(b'the rest')}")[0] == 201
        code, _, body = raw.ask("POST", "/v2/quota/running/blobs/uploads/")
        assert (code, json.loads(body)["errors"][0]["code"]) == (403, "DENIED")
        # Another tag of the same image.
        content = raw.ask("GET", "/v2/quota/large/manifests/1")
        assert raw.ask("PUT", "/v2/quota/large/manifests/2", content[2], content[1]["content-type"])[0] == 201
        assert "quota of quota/*: 3.0 MB of 3.0 MB, so pushes are refused" in deployed.fab("images").stdout
        assert status(deployed, "pushes") == ("warn", "quota/*: 3.0 MB of 3.0 MB, so pushes are refused")

        # More room, at once.
        rules.write_text("[quota/*]\nquota = 30M\n")
        deployed.fab("sync")
        assert client.push("docker", "quota/docker")[0]
        # A mistake stops before anything is sent.
        rules.write_text("[quota/*]\nuntagged = 1d\nquota = 30 gigabytes\n")
        wrong = deployed.fab("sync", ok=False).stderr
        assert "deploy/retention.ini:3: quota: 30 gigabytes: expected a size" in wrong
        # Less room, and what deletes bring.
        rules.write_text("[quota/*]\nquota = 1M\n")
        deployed.fab("sync")
        assert raw.ask("POST", "/v2/quota/new/blobs/uploads/")[0] == 403
        digest = content[1]["docker-content-digest"]
        deployed.fab("images", "--delete", f"quota/large@{digest}", "--yes")
        # Layers that were pushed today count, as an image may still come of them.
        assert raw.ask("POST", "/v2/quota/new/blobs/uploads/")[0] == 403
        links = f"{DATA}/docker/registry/v2/repositories/quota/large/_layers"
        deployed.server(f"find {links} -name link -exec touch -d '2 days ago' {{}} +")
        minute(deployed)
        assert raw.ask("POST", "/v2/quota/new/blobs/uploads/")[0] == 202
    assert deployed.server(f"ls {FULL}") == ""


@pytest.mark.long
def test_a_quota_is_reached_while_somebody_pushes(deployed: World, rules: Path) -> None:
    """Layer after layer, as one client does: what was begun ends, and then the push is told."""
    raw = Raw(deployed, LOGIN)
    with ruled(deployed, rules, "[quota/*]\nquota = 2M\n"):
        minute(deployed)
        came = 0
        while raw.bring("quota/layers", os.urandom(MB // 2)):
            came += 1
            minute(deployed)
        assert came == 4
        code, _, body = raw.ask("POST", "/v2/quota/layers/blobs/uploads/")
        assert code == 403
        assert "2.0 MB used of 2.0 MB" in json.loads(body)["errors"][0]["message"]


def test_d8_where_cron_stands_still_status_says_so(deployed: World) -> None:
    minute(deployed)
    assert status(deployed, "pushes")[0] == "ok"
    deployed.server(f"touch -d '2 hours ago' {DEPLOY_DIR}/log/quota.seen; sed -i 's/\"when\": [0-9.]*/\"when\": 5/' "
                    f"{DEPLOY_DIR}/log/quota.json; service cron stop")  # fmt: skip
    try:
        mark, text = status(deployed, "pushes")
        assert (mark, "that was 2 h ago, and cron did not look since" in text) == ("warn", True), text
    finally:
        deployed.server("service cron start")
    minute(deployed)
    assert status(deployed, "pushes")[0] == "ok"


@pytest.mark.long
def test_d8_a_nearly_full_disk_takes_no_push_and_pulls_go_on(disk: World) -> None:
    disk.server(f"mkdir -p {DATA} && chmod 700 {DEPLOY_DIR}/registry && mount --bind {DISK} {DATA}")
    disk.bootstrap(ALERT_COMMAND="cat >>/tmp/alerts")
    client, raw = Client(disk), Raw(disk, LOGIN)
    for tool in CLIENTS:
        assert client.login(tool, USER, PASSWORD)[0]
    assert raw.image("app", "1", [b"small"])[0] == 201
    begun = raw.ask("POST", "/v2/app/blobs/uploads/")
    # Of 1500 MB a tenth must be free.
    free = int(disk.server(f"rm -f /tmp/alerts; df --output=avail -B1 {DISK} | tail -1"))
    disk.server(f"fallocate -l {free - 100 * MB} {DISK}/ballast")
    try:
        minute(disk)
        for tool in CLIENTS:
            words = refused(client, tool, f"new/{tool}")
            assert "the registry's disk is nearly full: 100.0 MB free, pushes need 15" in words, words
        place = "/" + begun[1]["location"].split("/", 3)[3]
        assert raw.ask("PATCH", place, b"more", "application/octet-stream")[0] == 403
        assert raw.ask("PUT", f"{place}&digest={sha(b'')}")[0] == 201
        assert raw.pull("app", "1") == ""
        disk.server(f"{DEPLOY_DIR}/inv renew")
        mark, text = status(disk, "pushes")
        assert (mark, text.startswith("refused: ")) == ("failed", True), text
        assert "gc --now" in text
        alerts = disk.server("cat /tmp/alerts")
        assert alerts.count("pushes are refused") == 1, alerts
        assert "gc --now" in alerts
    finally:
        disk.server(f"rm {DISK}/ballast")
    # Within a minute, by cron.
    wait_until(lambda: disk.server(f"ls {FULL}") == "", "cron has looked", 90)
    for tool in CLIENTS:
        assert client.push(tool, f"new/{tool}")[0]
    assert status(disk, "pushes")[0] == "ok"
