"""What happens to images when the disk, the registry or the whole machine fails: D1, D2, D4."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from .test_care import cleaned_up
from .world import DEPLOY_DIR, PASSWORD, PROJECT, USER, World, first, wait_until

LOGIN = ("-u", f"{USER}:{PASSWORD}")
DATA = f"{DEPLOY_DIR}/registry/data"


def test_d1_the_disk_is_full_during_a_push(deployed: World, tmp_path: Path) -> None:
    """The push fails in clear words, pulls go on, and what docs/care.md says makes room again."""
    file = tmp_path / "large"
    file.write_bytes(os.urandom(40_000_000))
    deployed.fab("down")
    # Another, empty store is right here.
    record = f"{DEPLOY_DIR}/registry/secrets/store"
    deployed.server(f"mount -t tmpfs -o size=24m,uid=61100,gid=61102,mode=750 tmpfs {DATA} && rm {record}")
    try:
        deployed.fab("up")
        small = deployed.push_blob("data/small", b"was there before", *LOGIN)
        answer, _ = deployed.pushing("data/large", file).communicate(timeout=60)
        assert int(answer.split()[-1]) >= 500, answer
        assert "no space left on device" in answer
        assert deployed.status(f"/v2/data/small/blobs/{small}", *LOGIN) == 200
        cleaned_up(deployed, tmp_path)
        deployed.push_blob("data/small", b"comes afterwards", *LOGIN)
    finally:
        deployed.fab("down")
        deployed.server(f"umount {DATA} && rm {record}")


def test_d2_the_registry_is_killed_during_a_push(deployed: World, tmp_path: Path) -> None:
    """Docker starts it again; the client's next try has the exact digest."""
    content = os.urandom(20_000_000)
    file = tmp_path / "large"
    file.write_bytes(content)
    slow = deployed.pushing("data/large", file, "--limit-rate", "4M")
    wait_until(lambda: deployed.arrived("data/large") > 1_000_000, "the push is under way")
    deployed.server(f"kill -9 $(docker inspect --format '{{{{.State.Pid}}}}' {PROJECT}-registry-1)")
    answer, _ = slow.communicate(timeout=60)
    assert not answer.endswith("202")
    wait_until(lambda: deployed.login(USER, PASSWORD) == 200, "the registry is back")
    # push_blob names the digest, which the registry compares with what came.
    digest = deployed.push_blob("data/large", content, *LOGIN)
    blob = f"{DATA}/docker/registry/v2/blobs/sha256/{digest[7:9]}/{digest[7:]}/data"
    assert deployed.server(f"sha256sum <{blob}").split()[0] == digest[7:]
    assert deployed.status(f"/v2/data/large/blobs/{digest}", *LOGIN) == 200


@pytest.mark.parametrize("what", first(["server", "docker"]))
def test_d4_everything_comes_back_by_itself(deployed: World, what: str) -> None:
    digest = deployed.push_blob("data/kept", b"is there afterwards", *LOGIN)
    before = deployed.containers()
    if what == "docker":
        deployed.server("service docker restart")
    else:
        container = deployed.sandbox.container("server")
        subprocess.run(["docker", "restart", container], check=True, capture_output=True)
    wait_until(lambda: deployed.login(USER, PASSWORD) == 200, "it is back", 120)
    assert deployed.status(f"/v2/data/kept/blobs/{digest}", *LOGIN) == 200
    assert deployed.containers() == before
    wait_until(deployed.sandbox.ready, "cron and sshd are back")
    deployed.fab("status")
