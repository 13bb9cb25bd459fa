"""Disks of their own, for DEPLOY_DIR or for the images: links, mounts, late ones, full ones, ones without owners."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_care import cleaned_up, push_image
from .test_directory import rows
from .world import DEPLOY_DIR, PASSWORD, PROJECT, USER, World, first, wait_until

LOGIN = ("-u", f"{USER}:{PASSWORD}")
DATA = f"{DEPLOY_DIR}/registry/data"
DISK = "/mnt/disk"
ASKED = "is its disk mounted?"


@pytest.fixture
def disk(clean: World) -> Iterator[World]:
    """A server with another file system at DISK."""
    clean.server(f"mkdir -p {DISK} && mount -t tmpfs -o size=1500m,mode=755 tmpfs {DISK}")
    try:
        yield clean
    finally:
        clean.server("docker ps --all --quiet | xargs -r docker rm --force >/dev/null")
        clean.server(f"umount -l {DATA}; umount -l {DEPLOY_DIR}; umount -l {DISK}; rmdir {DISK}", check=False)
        clean.clean()


def status_rows(world: World) -> dict[str, str]:
    shown = world.fab("status", ok=None).stdout.splitlines()
    return {row[1]: line for line in shown if len(row := re.split(" {2,}", line)) > 2}


def test_d7_a_directory_whose_disk_is_away_is_left_alone(disk: World, tmp_path: Path) -> None:
    """Nothing is born over it, whatever is typed; cron tells; and it serves again once the disk is there."""
    alerts = "/root/alerts"
    disk.server(f"mkdir {DEPLOY_DIR} && mount --bind {DISK} {DEPLOY_DIR}")
    disk.bootstrap(RENEW_SCHEDULE="* * * * *", ALERT_COMMAND=f"cat >>{alerts}")
    try:
        blob = disk.push_blob("away/kept", b"was there before", *LOGIN)
        disk.server(f"service docker stop; umount -l {DEPLOY_DIR}; service docker start")
        wait_until(lambda: bool(disk.server("docker ps -q", check=False)), "Docker runs without the disk")
        for command in (
            ["bootstrap"], ["sync"], ["sync", "--diff"], ["up"], ["down"], ["htpasswd", "--list"], ["renew"],
            ["htpasswd", "--remove", "nobody"], ["status"], ["logs"], ["init-letsencrypt"], ["schedule"],
            ["push-test"], ["adopt"], ["adopt", "--yes"],
        ):  # fmt: skip
            refused = disk.fab(*command, ok=False)
            assert ASKED in refused.stderr, (command, refused.stderr)
            assert f"/etc/cron.d/{PROJECT} and the containers {PROJECT}-" in refused.stderr
        assert rows(disk)["directory"]["mark"] == "failed"
        assert ASKED in rows(disk)["directory"]["remedy"]
        wait_until(lambda: ASKED in disk.server(f"cat {alerts}", check=False), "cron told somebody", 130)
        assert disk.server(f"find {DEPLOY_DIR} -type f") == ""
        # As cron does a minute later.
        disk.server(f"sh /etc/{PROJECT}/away")
        assert disk.server(f"grep -c . {alerts}").strip() == "1"
        disk.server(f"mount --bind {DISK} {DEPLOY_DIR}")
        wait_until(lambda: disk.login(USER, PASSWORD) == 200, "it serves by itself", 120)
        disk.fab("up")
        assert disk.status(f"/v2/away/kept/blobs/{blob}", *LOGIN) == 200
        disk.fab("status")
    finally:
        disk.server(f"rm -f {alerts}")


@pytest.mark.long
def test_an_old_line_of_cron_is_known_too_and_one_may_begin_anew(clean: World) -> None:
    line = f"1 1 * * * root cd {DEPLOY_DIR} && mkdir -p log && ./inv renew --log log/renew.log >>log/renew.log 2>&1"
    clean.server(
        f"echo '{line}' >/etc/cron.d/{PROJECT}; mkdir -p {DEPLOY_DIR}/log; echo old >{DEPLOY_DIR}/log/renew.log"
    )
    refused = clean.fab("sync", ok=False)
    assert ASKED in refused.stderr
    command = refused.stderr.partition("gone for good, ")[2].partition(" lets you")[0]
    assert command == f"rm /etc/cron.d/{PROJECT}"
    clean.server(command)
    clean.fab("sync")


@pytest.mark.long
def test_d7_the_images_disk_comes_late(disk: World) -> None:
    """Nothing is pushed below its place; afterwards all is there again."""
    disk.server(f"mkdir -p {DATA} && chmod 700 {DEPLOY_DIR}/registry && mount --bind {DISK} {DATA}")
    disk.bootstrap()
    blob = disk.push_blob("late/kept", b"was there before", *LOGIN)
    path = f"/v2/late/kept/blobs/{blob}"
    disk.server(f"service docker stop; umount -l {DATA}; service docker start")
    wait_until(lambda: disk.status("/v2/", *LOGIN) == 503, "the registry waits for its disk")
    for command in (["up"], ["bootstrap"]):
        refused = disk.fab(*command, ok=False)
        assert f"findmnt -T {DATA}" in refused.stderr, refused.stderr
        assert ASKED in refused.stderr
    assert "failed" in status_rows(disk)["images"]
    assert rows(disk)["images"]["mark"] == "failed"
    assert disk.server(f"ls -A {DATA}") == ""
    disk.server(f"mount --bind {DISK} {DATA}")
    wait_until(lambda: disk.status("/v2/", *LOGIN) == 200, "it has found its disk", 90)
    assert "mounted later" in status_rows(disk)["nginx"]
    # What is there is never said to be gone.
    assert disk.status(path, *LOGIN) == 503
    disk.fab("up")
    assert disk.curl(path, *LOGIN) == "was there before"
    disk.fab("status")
    # An old copy that was left below is not taken for it.
    disk.fab("down")
    disk.server(f"umount {DATA} && cp -a {DISK}/. {DATA}/ && echo 'the disk of DEPLOY_DIR' >{DATA}/.store")
    assert ASKED in disk.fab("up", ok=False).stderr
    # Unless somebody says so.
    disk.server(f"rm {DEPLOY_DIR}/registry/secrets/store")
    disk.fab("up")
    assert disk.curl(path, *LOGIN) == "was there before"


@pytest.mark.long
def test_the_images_lie_behind_a_link(disk: World, tmp_path: Path) -> None:
    """Made by root with nothing but `mkdir` and `ln`; backup, restore and clean-up follow it."""
    target = f"{DISK}/images"
    disk.server(f"mkdir -p {DEPLOY_DIR}/registry {target} && ln -s {target} {DATA}")
    disk.bootstrap()
    owners = disk.server(f"stat -c %u:%g {DATA} {target}").split()
    assert owners == ["0:0", "61100:61102"]
    _, layer = push_image(disk, "care/kept", b"a layer that somebody needs")
    disk.begin_upload("care/kept", *LOGIN)
    assert "images' disk" in status_rows(disk)
    disk.fab("backup", "--to", str(tmp_path))
    cleaned_up(disk, tmp_path)
    assert disk.server(f"find {target} -path '*/_uploads/*'") == ""
    assert disk.server(f"find {target}/.trash -mindepth 1") == ""
    # Onto a server that has the same link, and one that has none.
    for link in (f"ln -s {target} {DATA}", "true"):
        disk.clean()
        disk.server(f"rm -rf {target} && mkdir -p {DEPLOY_DIR}/registry {target} && {link}")
        assert "nothing to order" in disk.fab("restore", "--from", str(tmp_path)).stdout
        assert disk.status(f"/v2/care/kept/blobs/{layer}", *LOGIN) == 200
        assert bool(disk.server(f"ls -A {target}")) == (link != "true")
    # Where its disk is away, there is no backup without images.
    disk.fab("down")
    disk.server(f"mv {DATA} {DATA}.away && mkdir {DATA}")
    refused = disk.fab("backup", "--to", str(tmp_path), ok=False)
    assert "is not the store that was there before" in refused.stderr
    assert len(list(tmp_path.glob("*Z"))) == 1


@pytest.mark.long
def test_the_directory_is_a_link(disk: World) -> None:
    disk.server(f"mkdir {DISK}/registry && ln -s {DISK}/registry {DEPLOY_DIR}")
    disk.bootstrap()
    assert "0 lines" not in disk.fab("up").stdout
    log = disk.server(f"cat {DISK}/registry/log/audit.log")
    assert "\tbootstrap\tok" in log
    assert "\tup\tok" in log
    disk.fab("renew")
    disk.fab("status")


@pytest.mark.long
@pytest.mark.parametrize("name", first(["images' disk", "free disk"]))
def test_a_disk_without_room_for_more_files_is_named(disk: World, name: str) -> None:
    """A push or an order fails there, whatever df -h says."""
    place = DEPLOY_DIR if name == "free disk" else DATA
    disk.server(f"mkdir -p {place} && mount -t tmpfs -o size=1400m,mode=755,nr_inodes=5000 tmpfs {place}")
    disk.server(f"chmod 700 {DEPLOY_DIR}/registry", check=False)
    disk.bootstrap()
    disk.server(f"cd {place} && mkdir many && cd many && seq 6000 | xargs touch 2>/dev/null", check=False)
    row = rows(disk)[name]
    assert (row["mark"], "only 0 more files" in row["found"]) == ("failed", True)
    shown = status_rows(disk)[name.removeprefix("free ")]
    assert shown.startswith("failed")
    assert "only 0 more files" in shown
    space = json.loads(disk.fab("status", "--json", ok=None).stdout)["disk"]
    assert (space if name == "free disk" else space["images"])["inodes"] == 0
    if name == "free disk":
        for command, stdin in ((["htpasswd", "--user", "late"], "secret\n"), (["init-letsencrypt", "--force"], "")):
            refused = disk.fab(*command, input=stdin, ok=False)
            assert "df -i" in refused.stderr, refused.stderr
            assert "--debug" not in refused.stderr
    disk.server(f"rm -rf {place}/many")
    disk.fab("htpasswd", "--user", "late", input="secret\n")
    # As cron does each minute: it opens pushes again.
    disk.server(f"cd {DEPLOY_DIR} && flock -w 60 log/quota.running true; sh ./each-minute.sh")
    disk.fab("status")


@pytest.mark.long
def test_the_images_disk_is_full(disk: World) -> None:
    disk.server(f"mkdir -p {DATA} && chmod 700 {DEPLOY_DIR}/registry && mount --bind {DISK} {DATA}")
    disk.bootstrap()
    disk.server(f"cat /dev/zero >{DATA}/full 2>/dev/null", check=False)
    assert rows(disk)["images' disk"]["mark"] == "failed"
    assert "0.0 GB free" in status_rows(disk)["images' disk"]
    assert rows(disk)["free disk"]["mark"] == "ok"


FLAG = """
import fcntl, os, struct, sys
flag, path = sys.argv[1:]
fcntl.ioctl(os.open(path, os.O_RDONLY), 0x40086602, struct.pack("l", int(flag)))
"""
IMMUTABLE = "16"


@pytest.mark.long
def test_a_disk_that_takes_no_owner(disk: World) -> None:
    """As CIFS does, the kernel says EPERM to chown; here of what is marked as immutable (ioctl_iflags(2))."""

    def flag(path: str, value: str) -> None:
        disk.server('python3 -c "$1" "$2" "$3"', FLAG, value, path)

    disk.server(f"mkdir -p {DATA} && chmod 700 {DEPLOY_DIR}/registry && mount --bind {DISK} {DATA}")
    flag(DISK, IMMUTABLE)
    try:
        refused = disk.fab("bootstrap", ok=False)
        assert f"{DATA}: its disk takes no owner (chown: " in refused.stderr, refused.stderr
        assert "user 61100 cannot write there" in refused.stderr
        assert "uid=61100,gid=61102" in refused.stderr
        assert "--debug" not in refused.stderr
    finally:
        flag(DISK, "0")
    # Where they can do all that they must, it goes on.
    disk.server(f"echo theirs >{DISK}/pinned")
    flag(f"{DISK}/pinned", IMMUTABLE)
    try:
        disk.bootstrap()
        disk.fab("up")
        blob = disk.push_blob("odd/kept", os.urandom(1000), *LOGIN)
        assert disk.status(f"/v2/odd/kept/blobs/{blob}", *LOGIN) == 200
        disk.fab("status")
        # One that nginx cannot read is none.
        flag(f"{DISK}/pinned", "0")
        disk.server(f"chmod 600 {DISK}/pinned && chown 0:0 {DISK} {DISK}/pinned")
        flag(f"{DISK}/pinned", IMMUTABLE)
        assert "cannot use ./pinned" in disk.fab("up", ok=False).stderr
    finally:
        flag(f"{DISK}/pinned", "0")
    disk.fab("up")
