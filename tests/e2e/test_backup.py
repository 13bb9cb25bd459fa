"""`backup` and `restore` against the real registry: while people push, and on another server."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fabric import Config, Connection

from fabfile import layout
from fabfile.copies import checked
from fabfile.machine import ssh
from fabfile.machine.door import Door
from tests.sandbox.commands import ROOT
from tests.sandbox.demo import fab

from .history import Client, History
from .test_care import push_image
from .test_store import Collector
from .world import DEPLOY_DIR, PASSWORD, USER, World, wait_until, with_mirror

LOGIN = f"{USER}:{PASSWORD}"
DATA = f"{DEPLOY_DIR}/registry/data"
STORE = f"{DATA}/docker/registry/v2"


def begun(world: World, *args: str) -> subprocess.Popen[str]:
    argv = [*fab(world.sandbox, world.settings), *args]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def newest(directory: Path) -> Path:
    return max(path for path in directory.iterdir() if path.name.endswith("Z"))


def test_a_copy_is_restored_on_an_empty_server(deployed: World, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    push_image(deployed, "copy/kept", b"a layer that somebody needs")
    serial, certificates = deployed.serial(), deployed.certificates()
    print(deployed.fab("backup", "--to", str(copies)).stdout)
    found = json.loads((newest(copies) / "snapshot.json").read_text())
    assert found["tags"] >= 1
    assert newest(copies).stat().st_mode & 0o777 == 0o700
    deployed.clean()
    print(deployed.fab("restore", "--from", str(copies)).stdout)
    assert (deployed.serial(), deployed.certificates()) == (serial, certificates)
    assert Client(deployed, LOGIN).pull("copy/kept", "1") == ""


def backups_during_a_history(world: World, directory: Path, seed: int, count: int) -> None:
    """Random pushes, moves, deletes and gc, and each snapshot is complete by its files, digests right."""
    history, collector = History(world, LOGIN, seed), Collector(world, seed)
    world.server(f"touch -d '2 days ago' {DEPLOY_DIR}/log/uses/begun")
    over = threading.Event()

    def collect() -> None:
        while not over.is_set():
            collector.once(untagged=3.0)

    cleaner = threading.Thread(target=collect)
    with history.going(6):
        cleaner.start()
        try:
            for _ in range(count):
                world.fab("backup", "--to", str(directory), "--keep", "100")
        finally:
            over.set()
            cleaner.join()
    assert not history.problems, history.problems[:5]
    tags = 0
    for path in sorted(directory.glob("*Z")):
        found = json.loads((path / "snapshot.json").read_text())
        assert checked.incomplete(path) == []
        assert found["damaged"] == found["missing"] == {}
        assert checked.check(path, every=True).damaged == {}
        assert checked.same_references(path, found["references"])
        tags += found["tags"]
    print(
        f"seed {seed}: {count} snapshots, {tags} tags, all complete; {history.pushed} pushed, {history.deleted} "
        f"deleted, {history.pulled} pulled, gc {collector.runs} times, took {collector.counts}"
    )
    assert len(list(directory.glob("*Z"))) == count
    assert tags > count


def restored_elsewhere(world: World, directory: Path) -> int:
    """Every tag of the newest snapshot, pulled from a server that had nothing. Returns how many."""
    world.clean()
    world.fab("restore", "--from", str(directory))
    path = newest(directory)
    client = Client(world, LOGIN)
    tags = list((path / layout.STORE).rglob("current/link"))
    for link in tags:
        name, _, tag = str(link.relative_to(path / layout.STORE / "repositories")).partition("/_manifests/tags/")
        assert client.pull(name, tag.partition("/")[0]) == "", link
        digest = client.ask("HEAD", f"/v2/{name}/manifests/{tag.partition('/')[0]}")[1]["docker-content-digest"]
        assert digest == link.read_text()
    return len(tags)


@pytest.mark.long
def test_copies_while_everybody_works_are_complete(deployed: World, tmp_path: Path) -> None:
    backups_during_a_history(deployed, tmp_path, 1, 3)
    print(f"{restored_elsewhere(deployed, tmp_path)} tags pulled elsewhere")


@pytest.mark.long
def test_twenty_copies_while_everybody_works_are_complete(deployed: World, tmp_path: Path) -> None:
    backups_during_a_history(deployed, tmp_path, 2, 20)
    print(f"{restored_elsewhere(deployed, tmp_path)} tags pulled elsewhere")


@pytest.mark.long
def test_a_layer_that_has_rotted_comes_back(deployed: World, tmp_path: Path) -> None:
    """A flipped bit in a live blob, and an image that somebody deleted."""
    manifest, layer = push_image(deployed, "copy/kept", b"a layer that somebody needs")
    deployed.fab("backup", "--to", str(tmp_path))
    name = layer.partition(":")[2]
    file = f"{STORE}/blobs/sha256/{name[:2]}/{name}/data"
    deployed.server(f"printf X | dd of={file} conv=notrunc status=none; touch {file}")
    failed = deployed.fab("backup", "--to", str(tmp_path), ok=False)
    assert failed.returncode == 1
    assert f"{layer} has rotted on the server" in failed.stderr
    assert "restore --from" in failed.stderr
    assert Client(deployed, LOGIN).pull("copy/kept", "1") != ""
    deployed.fab("restore", "--from", str(tmp_path), "--only", "copy/kept")
    assert Client(deployed, LOGIN).pull("copy/kept", "1") == ""
    owner = deployed.server(f"stat -c '%u:%g %a' {file}").strip()
    assert owner == "61100:61102 640"

    assert deployed.status(f"/v2/copy/kept/manifests/{manifest}", "-X", "DELETE", "-u", LOGIN) == 202
    refused = deployed.fab("restore", "--from", str(tmp_path), ok=False)
    assert "the server is not empty" in refused.stderr
    deployed.fab("restore", "--from", str(tmp_path), "--merge")
    assert Client(deployed, LOGIN).pull("copy/kept", "1") == ""
    assert deployed.fab("restore", "--from", str(tmp_path), "--merge").stdout.startswith("same")
    deployed.fab("gc", "--yes")
    assert Client(deployed, LOGIN).pull("copy/kept", "1") == ""


@pytest.mark.long
def test_a_connection_that_is_cut_is_gone_on_with(deployed: World, tmp_path: Path) -> None:
    """In the middle of the bytes; and a restore whose command is killed there."""
    for number in range(3):
        push_image(deployed, "copy/large", os.urandom(40_000_000), tag=str(number))
    running = begun(deployed, "backup", "--to", str(tmp_path))
    wait_until(lambda: bool(list(tmp_path.glob("*.part/registry/data/**/data"))), "the first blob")
    deployed.cut(running)
    assert not list(tmp_path.glob("*Z"))
    done = deployed.fab("backup", "--to", str(tmp_path)).stdout
    assert not list(tmp_path.glob("*.part"))
    print(done)

    deployed.clean()
    running = begun(deployed, "restore", "--from", str(tmp_path))
    wait_until(lambda: deployed.server(f"ls -A {DATA}/.copy/in", check=False) != "", "the first bytes", 120)
    running.kill()
    running.communicate()
    wait_until(lambda: "nobody" in deployed.fab("unlock", "--yes").stdout, "the lock is free")
    deployed.fab("restore", "--from", str(tmp_path))
    assert all(Client(deployed, LOGIN).pull("copy/large", str(number)) == "" for number in range(3))


RESTIC = "restic --repo /srv/restic --password-file /srv/restic-password"


@pytest.fixture
def nightly(clean: World) -> Iterator[World]:
    """A server with a disk for copies, and restic of its distribution."""
    with_mirror(clean)
    clean.server(
        "mkdir -p /mnt/copies && mount -t tmpfs -o size=200m tmpfs /mnt/copies && "
        "{ command -v restic || { apt-get -qq update && apt-get -qq install -y --no-install-recommends restic; }; } "
        ">/dev/null 2>&1 && rm -rf /srv/restic /tmp/alerts && echo secret >/srv/restic-password && "
        f"{RESTIC} init >/dev/null"
    )
    yield clean
    clean.server("umount /mnt/copies; rm -rf /mnt/copies /srv/restic /srv/restic-password /tmp/alerts", check=False)


def night(world: World) -> str:
    """As cron runs it; what it wrote into its log."""
    line = world.server("grep 'inv backup' /etc/cron.d/private-docker-registry").strip()
    command = line.partition(" root ")[2]
    script = f'rm -f {DEPLOY_DIR}/log/backup.log; env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c "$1" || true'
    world.server(script, command)
    return world.server(f"cat {DEPLOY_DIR}/log/backup.log")


def row(world: World) -> str:
    return next(line for line in world.fab("status", ok=None).stdout.splitlines() if " backup " in line)


@pytest.mark.long
def test_the_server_copies_by_itself(nightly: World, tmp_path: Path) -> None:
    nightly.bootstrap(
        BACKUP_TO="/mnt/copies/registry", BACKUP_COMMAND=f"{RESTIC} backup --ignore-ctime .", BACKUP_KEEP="2",
        ALERT_COMMAND="cat >>/tmp/alerts",
    )  # fmt: skip
    _, layer = push_image(nightly, "copy/kept", b"a layer that somebody needs")
    assert "not yet" in row(nightly)
    said = night(nightly)
    assert "drilled: 1 tag pulled from it" in said
    assert "BACKUP_COMMAND took 1 tag" in said
    assert row(nightly).startswith("ok ")
    assert "now: 1 tag" in row(nightly)
    # The directory that restic has is a snapshot, too.
    back = "/srv/restic/back"
    nightly.server(f"{RESTIC} restore latest --target {back} >/dev/null")
    tar = nightly.sandbox.directory / "copies.tar"
    with tar.open("wb") as file:
        argv = ["docker", "exec", nightly.sandbox.container("server"), "tar", "-C", back, "-c", "."]
        subprocess.run(argv, stdout=file, check=True)
    snapshot = tmp_path / "20270101T000000Z"
    snapshot.mkdir()
    subprocess.run(["tar", "-x", "-C", str(snapshot), "-f", str(tar)], check=True)
    assert checked.incomplete(snapshot) == []
    assert nightly.status(f"/v2/copy/kept/blobs/{layer}", "-u", LOGIN) == 200
    # Three nights, and two are kept; gc finds what nobody needs any more though it was linked.
    for _ in range(2):
        assert "error" not in night(nightly)
    assert len(nightly.server("ls -d /mnt/copies/registry/*Z").split()) == 2

    nightly.server("umount /mnt/copies")
    said = night(nightly)
    assert "the disk of BACKUP_TO=/mnt/copies/registry is not mounted, and it was" in said
    assert nightly.server("ls -A /mnt/copies") == ""
    # All else was done.
    assert len(nightly.server(f"{RESTIC} snapshots --json | grep -o short_id | wc -l").split()) == 1
    assert "is not mounted" in nightly.server("cat /tmp/alerts")
    night(nightly)
    assert nightly.server("grep -c 'is not mounted' /tmp/alerts").strip() == "1"
    assert row(nightly).startswith("warn")
    nightly.server("mount -t tmpfs -o size=200m tmpfs /mnt/copies")
    assert "error" not in night(nightly)
    assert row(nightly).startswith("ok ")


def test_a_drill_finds_what_is_wrong(deployed: World, tmp_path: Path) -> None:
    _, layer = push_image(deployed, "copy/kept", b"a layer that somebody needs")
    deployed.fab("backup", "--to", str(tmp_path))
    own = {"DOCKER_HOST": ""}
    drill = ["env", f"ENV_FILE={deployed.settings}", str(ROOT / "fab"), "restore", "--drill", "--from", str(tmp_path)]
    done = subprocess.run(drill, capture_output=True, text=True, check=False, env={**os.environ, **own})
    print(done.stdout)
    assert re.search(r"\d tags? pulled by", done.stdout), done.stderr
    assert "all digests right" in done.stdout
    assert json.loads((tmp_path / "drill.json").read_text())["problems"] == []
    name = layer.partition(":")[2]
    blob = newest(tmp_path) / layout.STORE / f"blobs/sha256/{name[:2]}/{name}/data"
    blob.write_bytes(b"a layer that somebody feeds")
    failed = subprocess.run(drill, capture_output=True, text=True, check=False, env={**os.environ, **own})
    print(failed.stderr)
    assert failed.returncode == 1
    assert f"copy/kept:1: layer {layer} is sha256:" in failed.stderr


@pytest.mark.long
def test_what_a_second_copy_costs(deployed: World, tmp_path: Path) -> None:
    """1 GB, then 1 MB more: beside plain rsync of the data directory over ssh, and beside restic on the server."""
    for number in range(10):
        push_image(deployed, f"copy/of{number}", os.urandom(100_000_000))
    own = f"ssh -F {deployed.sandbox.directory}/ssh_config"
    plain = [
        "rsync",
        "-a",
        "--stats",
        "--no-human-readable",
        "-e",
        own,
        f"server:{DATA}/docker",
        str(tmp_path / "plain"),
    ]
    restic = f"{RESTIC} backup --ignore-ctime {DATA}/docker"
    deployed.sandbox.dns("deb.debian.org", socket.gethostbyname("deb.debian.org"))
    deployed.server(
        "{ command -v restic || { apt-get -qq update && apt-get -qq install -y --no-install-recommends restic; }; } "
        f">/dev/null 2>&1; rm -rf /srv/restic; echo secret >/srv/restic-password && {RESTIC} init >/dev/null"
    )
    for what in ("first", "second"):
        rows = []
        for name in ("fab", "rsync", "restic"):
            start = time.monotonic()
            if name == "fab":
                done = deployed.fab("backup", "--to", str(tmp_path / "copies"))
                rows.append(done.stdout.rpartition("copies/")[2].strip())
            elif name == "rsync":
                plainly = subprocess.run(plain, capture_output=True, text=True, check=True)
                rows.append(re.findall(r"Total bytes received: (\d+)", plainly.stdout)[0])
            else:
                said = deployed.server(restic)
                rows.append(re.findall(r"Added to the repo\w*: ([^(]*)", said)[0].strip())
            rows.append(f"{name} {time.monotonic() - start:.1f} s")
        print(what, rows)
        push_image(deployed, "copy/new", os.urandom(1_000_000))
    deployed.server("rm -rf /srv/restic /srv/restic-password")
    host = ssh.remote(Connection("server", config=Config(runtime_ssh_path=f"{deployed.sandbox.directory}/ssh_config")))
    for what in ("ssh", "door", "ssh", "door"):
        with Door(host).open() as command:
            way = command if what == "door" else own
            for source, target in (
                (f"server:{DATA}/docker/", f"{tmp_path}/{what}/"),
                (f"{tmp_path}/{what}/", "server:/srv/x/"),
            ):
                start = time.monotonic()
                subprocess.run(["rsync", "-a", "-e", way, source, target], capture_output=True, check=True)
                print(f"{what} {source.partition(':')[0][:6]}: {1000 / (time.monotonic() - start):.0f} MB/s")
            deployed.server("rm -rf /srv/x")
            shutil.rmtree(tmp_path / what)
