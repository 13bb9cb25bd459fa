"""Another image, or another compose.yml, while people push and pull: nobody is cut off, and a bad one goes back."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Sized
from functools import partial
from pathlib import Path

import pytest

from tests.sandbox.demo import DOMAIN, fab

from .history import Client
from .people import Pushes, load
from .traffic import Slow, traffic
from .world import DEPLOY_DIR, PASSWORD, PROJECT, USER, World, first, wait_until

Record = Callable[[str, object], None]
IMAGES = ("registry", "nginx")


def make(world: World, service: str, *lines: str) -> None:
    """Another image of that name on the server, made of the one that was there at first."""
    text = "\n".join((f"FROM registry-sandbox/{service}:first", "LABEL made=now", *lines))
    world.server(
        "rm -rf /tmp/image && mkdir /tmp/image && cd /tmp/image && printf '%s\\n' \"$1\" >Dockerfile && "
        f"DOCKER_BUILDKIT=0 docker build --quiet --tag registry-sandbox/{service}:latest . 2>&1",
        text,
    )


def running(world: World, service: str) -> str:
    """The ID of the image that serves."""
    return world.server(f"docker inspect --format '{{{{.Image}}}}' {PROJECT}-{service}-1").strip()


def image(world: World, service: str) -> str:
    """The ID of the image that its name means."""
    return world.server(f"docker image inspect --format '{{{{.Id}}}}' registry-sandbox/{service}:latest").strip()


@pytest.fixture
def ours(deployed: World) -> Iterator[World]:
    """The images are put back, and run, in the end."""
    for name in IMAGES:
        deployed.server(f"docker tag registry-sandbox/{name}:latest registry-sandbox/{name}:first")
    yield deployed
    for name in IMAGES:
        deployed.server(f"docker tag registry-sandbox/{name}:first registry-sandbox/{name}:latest")
    deployed.server(f"rm -f {DEPLOY_DIR}/held.yml")
    deployed.fab("up")


def test_a_registry_and_auth_are_replaced_and_nobody_notices(ours: World, record_testsuite_property: Record) -> None:
    """A push of a layer and a pull run through, short requests too; the old ones end once the push has."""
    layer = hashlib.sha256(b"layer").digest() * (1 << 20)
    digest = ours.push_blob("slow/pulled", layer, "-u", f"{USER}:{PASSWORD}")
    make(ours, "registry")
    with traffic(ours, record_testsuite_property, "registry and auth") as seen:
        pushing, pulling = Slow(ours, "slow/pushed", layer[::-1]), Slow(ours, "slow/pulled", layer, digest)
        assert "replaced registry, auth" in ours.fab("up").stdout
        assert {running(ours, name) for name in ("registry", "auth")} == {image(ours, "registry")}
        assert f"{PROJECT}-registry-old-" in ours.server("docker ps --format '{{.Names}}'")
        # A second `up` waits for nobody, and neither does it begin anew.
        assert "nothing to change" in ours.fab("up").stdout
        assert pushing.thread.is_alive()
        pushing.end()
        pulling.end()
    assert seen.lost == []
    wait_until(lambda: "-old-" not in ours.server("docker ps --all --format '{{.Names}}'"), "the old ones are gone")


def test_an_nginx_takes_the_place_of_another_and_nobody_is_refused(
    ours: World, record_testsuite_property: Record
) -> None:
    make(ours, "nginx")
    with traffic(ours, record_testsuite_property, "nginx") as seen:
        done = ours.fab("up").stdout
    assert "replaced nginx" in done
    assert "cut " not in done
    assert seen.lost == []
    assert running(ours, "nginx") == image(ours, "nginx")
    # The door is open again, for both families.
    assert PROJECT not in ours.server("iptables -t raw -S; ip6tables -t raw -S")
    assert "-old-" not in ours.server("docker ps --all --format '{{.Names}}'")


# In the place of the program `registry`, and what is told of it.
PLANTED = {
    "crashes": ("echo panic: planted >&2; exit 2", "panic: planted"),
    "refuses the configuration": (
        "sed s/^storage:/stored:/ $2 >/tmp/c.yml; exec docker-registry serve /tmp/c.yml", "configuration error"),
    # Neither reading nor writing: its own place is read-only.
    "says 500": ("sed s,/var/lib/registry,/nowhere, $2 >/tmp/c.yml; exec docker-registry serve /tmp/c.yml",
                 "the new registry answers "),
}  # fmt: skip


def planted(program: str, script: str) -> str:
    """The line of a Dockerfile that puts a script in the place of a program."""
    return f"RUN rm -f {program} && printf '#!/bin/sh\\n%s\\n' '{script}' >{program} && chmod +x {program}"


@pytest.mark.parametrize("kind", first(PLANTED))
def test_an_image_that_cannot_serve_never_does(ours: World, kind: str, record_testsuite_property: Record) -> None:
    """D9: the one before goes on, and no request is lost; with the cause gone `up` converges."""
    script, why = PLANTED[kind]
    before = ours.containers()
    make(ours, "registry", planted("/bin/registry", script))
    with traffic(ours, record_testsuite_property, kind) as seen:
        told = ours.fab("up", ok=False)
    assert why in told.stderr
    assert "what ran before goes on" in told.stderr
    assert seen.lost == []
    assert ours.containers() == before
    ours.server("docker tag registry-sandbox/registry:first registry-sandbox/registry:latest")
    assert "nothing to change" in ours.fab("up").stdout


@pytest.mark.long
def test_an_nginx_that_does_not_start_never_gets_the_place(ours: World, record_testsuite_property: Record) -> None:
    """One that takes the configuration (`nginx -t`), and ends when it shall serve."""
    script = 'case "$*" in *daemon*) echo planted >&2; exit 1;; esac; exec nginx-real "$@"'
    lines = ("RUN mv /usr/sbin/nginx /usr/sbin/nginx-real", planted("/usr/sbin/nginx", script))
    before = ours.containers()
    make(ours, "nginx", *lines)
    with traffic(ours, record_testsuite_property, "nginx that does not start") as seen:
        told = ours.fab("up", ok=False)
    assert "what ran before goes on" in told.stderr
    assert "planted" in told.stderr
    assert seen.lost == []
    assert ours.containers() == before
    assert ours.login(USER, PASSWORD) == 200


def test_what_starts_by_itself_is_found(ours: World) -> None:
    """Docker begins it again, somebody does by hand, or the server starts anew."""
    for how in (
        f"kill -9 $(docker inspect --format '{{{{.State.Pid}}}}' {PROJECT}-registry-1)",
        f"docker restart {PROJECT}-registry-1 {PROJECT}-auth-1",
        f"cd {DEPLOY_DIR} && docker compose up --detach --force-recreate registry auth 2>&1",
        "service docker restart",
    ):
        ours.server(how)
        wait_until(lambda: ours.status("/v2/_catalog", "-u", f"{USER}:{PASSWORD}") == 200, f"after {how}", 60)
    assert "-old-" not in ours.server("docker ps --all --format '{{.Names}}'")


def test_an_upgrade_is_proven_and_can_be_taken_back(ours: World, record_testsuite_property: Record) -> None:
    first = running(ours, "registry")
    make(ours, "registry")
    newer = image(ours, "registry")
    with traffic(ours, record_testsuite_property, "upgrade and rollback") as seen:
        done = ours.fab("upgrade").stdout
        assert "replaced registry, auth" in done
        assert re.search(rf"registry +registry-sandbox/registry:latest {first[7:19]} -> \S+ {newer[7:19]}", done)
        assert running(ours, "registry") == newer
        # Where nothing is newer, nothing is replaced, nor proven.
        again = ours.fab("upgrade").stdout
        assert "nothing to change" in again
        assert "push-test" not in again
        assert "replaced registry, auth" in ours.fab("rollback").stdout
        assert running(ours, "registry") == first
        # It stays so.
        assert "nothing to change" in ours.fab("sync", "up").stdout
        assert "runs the image of before" in ours.fab("upgrade", "--check").stdout
        assert re.search("warn +images held +auth, registry: that of before", ours.fab("status").stdout)
        assert "replaced registry, auth" in ours.fab("upgrade").stdout
    assert seen.lost == []
    assert running(ours, "registry") == newer
    ours.server(f"test ! -e {DEPLOY_DIR}/held.yml")


@pytest.mark.long
def test_what_is_not_proven_goes_back(ours: World, record_testsuite_property: Record) -> None:
    """D9: it starts and answers, and only the push and the pull at the end find out: it deletes nothing."""
    first = running(ours, "registry")
    script = "sed s/enabled:.true/enabled:\\ false/ $2 >/tmp/c.yml; exec docker-registry serve /tmp/c.yml"
    make(ours, "registry", planted("/bin/registry", script))
    with traffic(ours, record_testsuite_property, "not proven") as seen:
        told = ours.fab("upgrade", ok=False)
    assert "the manifest was not deleted: HTTP 405" in told.stderr
    assert "went back to what ran before upgrade" in told.stderr
    assert seen.lost == []
    assert running(ours, "registry") == first
    assert "nothing to change" in ours.fab("up").stdout


@pytest.mark.long
def test_images_that_version_3_cannot_serve_are_named_first(ours: World) -> None:
    digest = "0" * 63 + "1"
    store = f"{DEPLOY_DIR}/registry/data/docker/registry/v2"
    link = f"{store}/repositories/old/app/_manifests/revisions/sha256/{digest}"
    ours.server(
        f"mkdir -p {link} {store}/blobs/sha256/00/{digest}; printf sha256:{digest} >{link}/link; "
        f'printf \'%s\' \'{{"schemaVersion": 1, "tag": "1.0"}}\' >{store}/blobs/sha256/00/{digest}/data; '
        f"chown -R 61100:61102 {store}"
    )
    script = 'case "$1" in --version) echo "registry github.com/x/v3 v3.1.1";; *) exec docker-registry "$@";; esac'
    make(ours, "registry", planted("/bin/registry", script))
    before = ours.containers()
    try:
        told = ours.fab("upgrade", ok=False)
        assert "nothing was changed: 1 in schema 1: old/app:1.0" in told.stderr
        assert ours.containers() == before
        assert "replaced registry, auth" in ours.fab("upgrade", "--yes").stdout
    finally:
        ours.server(f"rm -rf {store}/repositories/old {store}/blobs/sha256/00/{digest}")


@pytest.mark.long
def test_what_is_newer_is_asked_of_the_image_registry(ours: World, tmp_path: Path) -> None:
    """A registry beside ours, on the server itself: Docker trusts that one without TLS. Then `pin`."""
    name = "localhost:5000/registry:3.1"
    ours.server(
        "printf 'version: 0.1\nstorage: {inmemory: }\nhttp: {addr: 127.0.0.1:5000}\n' >/tmp/source.yml; "
        "docker run -d --name source --network host -v /tmp/source.yml:/source.yml registry-sandbox/registry:first "
        "serve /source.yml >/dev/null; "
        f"docker tag registry-sandbox/registry:first {name}; "
        f"for n in 1 2 3 4 5 6 7 8 9; do docker push -q {name} 2>&1 && break; sleep 1; done"
    )
    try:
        ours.configure(REGISTRY_IMAGE=name)
        # The same image under another name: nothing is replaced.
        assert "nothing to change" in ours.fab("upgrade").stdout.replace("running, nothing", "nothing")
        rows = {row["service"]: row for row in json.loads(ours.fab("upgrade", "--check", "--json").stdout)}
        assert (rows["registry"]["known"], rows["registry"]["newer"]) == (True, "")
        assert rows["registry"]["version"] == "2.8.3"
        assert not rows["nginx"]["known"]
        make(ours, "registry")
        ours.server(f"docker tag registry-sandbox/registry:latest {name}; docker push -q {name}; "
                    f"docker tag {running(ours, 'registry')} {name}")  # fmt: skip
        told = ours.fab("upgrade", "--check").stdout
        assert re.search(r"warn +registry +localhost:5000/registry:3.1 \(version 2.8.3\): \S+ is sha256:\w+ now", told)
        assert "replaced registry, auth" in ours.fab("upgrade").stdout
        assert "wrote 1 images" in ours.fab("pin").stdout
        assert re.search(rf"^REGISTRY_IMAGE={name}@sha256:[0-9a-f]{{64}}$", ours.settings.read_text(), re.M)
        assert "nothing to change" in ours.fab("sync", "up").stdout
    finally:
        ours.server("docker rm -f -v source")


# Of each service, and of what nginx waits for: after so many seconds it is done.
UPGRADES, DONE = 5, 12


@pytest.mark.long
@pytest.mark.parametrize("service", IMAGES)
def test_five_upgrades_while_everybody_works(ours: World, service: str, record_testsuite_property: Record) -> None:
    """docker, skopeo and curl push and pull; a slow push, a slow pull and a push at 5 MB/s run through each."""
    layer = hashlib.sha256(service.encode()).digest() * (1 << 20)
    digest = ours.push_blob("slow/pulled", layer, "-u", f"{USER}:{PASSWORD}")
    file = ours.sandbox.directory / "steady"
    with load(ours) as people, traffic(ours, record_testsuite_property, f"{UPGRADES} of {service}") as seen:
        wait_until(lambda: len(people.pushes) > 1, "the first pushes", 120)
        for number in range(UPGRADES):
            make(ours, service, f"LABEL number={number}")
            file.write_bytes(os.urandom((DONE * 5) << 20))
            slow = (Slow(ours, f"slow/pushed{number}", layer[::-1]), Slow(ours, "slow/pulled", layer, digest))
            steady = ours.pushing(f"slow/steady{number}", file, "--limit-rate", "5M")
            for each in slow if service == "nginx" else ():
                threading.Timer(DONE, each.hurry.set).start()
            begun = len(people.pushes), people.pulls, len(seen.waits)
            told = ours.fab("upgrade").stdout
            print(told)
            assert "replaced " in told
            assert "cut  " not in told
            for each in slow:
                each.end()
            assert steady.communicate()[0].endswith("\n202")
            print(f"{number}: longest wait {max(seen.waits[begun[2]:]):.2f} s; docker and skopeo: "
                  f"{len(people.pushes) - begun[0]} pushes, {people.pulls - begun[1]} pulls")  # fmt: skip
    record_testsuite_property(f"{UPGRADES} of {service}: pushes and pulls of docker and skopeo",
                              f"{len(people.pushes)}, {people.pulls}")  # fmt: skip
    record_testsuite_property(f"{UPGRADES} of {service}: failed", len(people.failed) + len(people.refused))
    assert (people.failed, people.refused, seen.lost) == ([], [], [])


@pytest.mark.long
def test_what_nginx_cuts_off_is_told(ours: World, record_testsuite_property: Record) -> None:
    """A push and a pull that take longer than is waited for."""
    layer = hashlib.sha256(b"cut").digest() * (1 << 20)
    digest = ours.push_blob("slow/pulled", layer, "-u", f"{USER}:{PASSWORD}")
    make(ours, "nginx")
    with traffic(ours, record_testsuite_property, "nginx that does not wait") as seen:
        slow = (Slow(ours, "slow/pushed", layer[::-1]), Slow(ours, "slow/pulled", layer, digest))
        told = ours.fab("upgrade", "--wait", "5").stdout
        for each in slow:
            each.hurry.set()
            each.thread.join(60)
    print(told)
    found = re.search(r"cut +(\d+) connections", told)
    assert found
    assert all(each.error for each in slow)
    # A short one that was at something may be among them: it tries again.
    assert int(found[1]) >= len(slow)
    assert seen.lost == []


# On the client's machine: takes the beginning of a blob, and the rest when it is told; prints what it is.
SIPS = """
import hashlib, socket, ssl, sys
host, path, login = sys.argv[1:]
plain = socket.socket()
plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
plain.connect((host, 443))
tls = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
ask = f"GET {path} HTTP/1.1\\r\\nHost: {host}\\r\\nAuthorization: Basic {login}\\r\\nConnection: close\\r\\n\\r\\n"
tls.sendall(ask.encode())
got = tls.recv(100)
print("begun", flush=True)
sys.stdin.readline()
while part := tls.recv(65536):
    got += part
print("sha256:" + hashlib.sha256(got.partition(b"\\r\\n\\r\\n")[2]).hexdigest())
"""


@pytest.mark.long
def test_what_the_kernel_has_to_send_still_is_waited_for(ours: World) -> None:
    """nginx is done with a pull before a slow client has the end of it."""
    content = os.urandom(300_000)
    digest = ours.push_blob("slow/end", content, "-u", f"{USER}:{PASSWORD}")
    make(ours, "nginx")
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    argv = ["docker", "exec", "-i", ours.sandbox.container("client"), "python3", "-c", SIPS, DOMAIN]
    argv += [f"/v2/slow/end/blobs/{digest}", login]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sips:
        assert sips.stdout
        assert sips.stdout.readline() == "begun\n"
        with subprocess.Popen([*fab(ours.sandbox, ours.settings), "up"], stdout=subprocess.PIPE, text=True) as going:
            wait_until(lambda: "nginx-run-" in ours.server("docker ps --format '{{.Names}}'"), "one stands in", 60)
            with pytest.raises(subprocess.TimeoutExpired):
                going.wait(20)
            assert sips.communicate("\n", timeout=60)[0].strip() == digest
            said = going.communicate(timeout=120)[0]
    assert "replaced nginx" in said
    assert "cut  " not in said


def more(done: Sized, than: int) -> bool:
    return len(done) > than


NEWER = os.environ.get("SANDBOX_NEWER_REGISTRY_IMAGE", "")


@pytest.mark.long
@pytest.mark.skipif(not NEWER, reason="SANDBOX_NEWER_REGISTRY_IMAGE names no registry of version 3")
def test_version_3_and_back_lose_nothing(ours: World, record_testsuite_property: Record) -> None:
    """Whatever was acknowledged, by the old version or by the new one, is served by the other one too."""
    ours.sandbox.carry(NEWER)
    pushes = [Pushes(ours, f"through/app{number}") for number in range(2)]
    try:
        with load(ours) as people, traffic(ours, record_testsuite_property, "version 3 and back") as seen:
            for number in range(UPGRADES):
                ours.server(f"docker tag {NEWER} registry-sandbox/registry:latest")
                for task, version in (("upgrade", "3"), ("rollback", "2")):
                    enough = len(pushes[0].acknowledged) + 5
                    told = ours.fab(task).stdout
                    print(told)
                    assert "replaced registry, auth" in told
                    says = ours.server(f"docker exec {PROJECT}-registry-1 registry --version")
                    assert re.search(rf" v?{version}\.", says)
                    wait_until(partial(more, pushes[0].acknowledged, enough), f"pushes after {task} {number}", 60)
    finally:
        for each in pushes:
            each.stop()
    client = Client(ours, f"{USER}:{PASSWORD}")
    names = [(each.repository, tag) for each in pushes for tag in each.acknowledged]
    names += [(f"load/{name}", tag) for name, _, tag in (each.partition(":") for each in people.pushes)]
    lost = [(*name, why) for name in names if (why := client.pull(*name))]
    record_testsuite_property("version 3 and back: images acknowledged, lost", f"{len(names)}, {len(lost)}")
    assert lost == []
    assert [each.failed for each in pushes] == [[], []]
    assert (people.failed, people.refused, seen.lost) == ([], [], [])


# What is there on the server when `up` is killed.
SIGNS = (
    rf"{PROJECT}-registry-[2-9]", f"{PROJECT}-registry-old-", f"{PROJECT}-auth-old-", "nginx-run-[0-9a-f]{8} Up",
    rf"{PROJECT}-nginx-[2-9][0-9]* Created", rf"{PROJECT}-nginx-1 Exited",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("sign", SIGNS)
def test_killed_while_one_takes_the_place_of_another(ours: World, sign: str) -> None:
    """D10: what serves goes on, or is there again after the seconds for which the door is held."""
    for name in IMAGES:
        make(ours, name, f"LABEL made=before-{sign.replace(' ', '-')}")
    argv = [*fab(ours.sandbox, ours.settings), "up"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as going:
        ours.server(
            "end=$(($(date +%s) + 120)); "
            "until docker ps --all --format '{{.Names}} {{.Status}}' | grep -qE -- \"$1\"; do "
            "[ $(date +%s) -lt $end ] || exit 1; sleep 0.02; done; pkill -KILL -f 'python3 -I -B -[c]'",
            sign,
        )
        going.communicate(timeout=60)
        assert going.returncode == 1
    wait_until(lambda: ours.login(USER, PASSWORD) == 200, "it is served", 30)
    ours.fab("up")
    assert {running(ours, name) for name in ("registry", "auth")} == {image(ours, "registry")}
    assert running(ours, "nginx") == image(ours, "nginx")
    assert ours.login(USER, PASSWORD) == 200
    wait_until(lambda: len(ours.containers()) == 3, "nothing else is left", 30)
    assert "nothing to change" in ours.fab("up").stdout
