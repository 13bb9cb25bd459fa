"""A container that was taken over, and other users of the host: what they can do by way of root's own commands.

Each plays what its container may: as its user, in its own mounts, without a capability.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.sandbox.demo import DOMAIN

from .world import DEPLOY_DIR, PASSWORD, PROJECT, USER, World, wait_until

VICTIM = "/victim"
LOGIN = ("-u", f"{USER}:{PASSWORD}")


@pytest.fixture
def victim(deployed: World) -> Iterator[World]:
    """Something of the host's own, root's alone; as it was, in the end."""
    deployed.server(
        f"rm -rf {VICTIM}; mkdir -m 700 {VICTIM}; cd {VICTIM}; mkdir -m 711 acme-challenge a.test; "
        "for name in file other fullchain.pem letsencrypt.log; do "
        "echo precious >$name; chmod 640 $name; chown 7:7 $name; done"
    )
    before = look(deployed)
    yield deployed
    assert look(deployed) == before
    deployed.server(f"rm -rf {VICTIM}")


def look(world: World) -> str:
    return world.server(
        f"find {VICTIM} -printf '%p %U:%G %m %s %l\\n' | sort; find {VICTIM} -type f -exec sha256sum {{}} + | sort"
    )


def inside(world: World, service: str, script: str) -> str:
    """As the service's own user; nginx as one of its workers."""
    option = "--user 61102:61102" if service == "nginx" else ""
    return world.server(f'docker exec {option} {PROJECT}-{service}-1 sh -c "$1"', script)


def as_certbot(world: World, script: str) -> None:
    """In a container as certbot's: root without a capability, with the same mounts."""
    world.server(
        f"docker compose --project-name {PROJECT} --file {DEPLOY_DIR}/compose.yml --env-file /dev/null run --rm "
        '--no-deps --no-TTY --entrypoint sh certbot -c "$1" </dev/null 2>&1',
        script,
    )


@contextlib.contextmanager
def certbots_aside(world: World) -> Iterator[None]:
    """certbot's files come back as they were, in the directories that containers have mounted."""
    world.server(f"rm -rf /root/aside; cp -a {DEPLOY_DIR}/certbot /root/aside")
    try:
        yield
    finally:
        world.server(
            f"cd {DEPLOY_DIR}/certbot && find . -mindepth 2 -delete && cp -a /root/aside/. . && rm -rf /root/aside"
        )


def test_a_worker_of_nginx_leads_root_nowhere(victim: World) -> None:
    """Finding 2: a link in the place of a directory, put there while root looks through it."""
    # What was made last is listed first: so when that is gone, the list is read, and the rest is still to come.
    swap = (
        "cd /run/accounts && mkdir -p d && cd d && touch file other && seq -f f%g 20000 | xargs touch && cd .. && "
        "touch /tmp/going; "
        f"while [ -e d/f20000 ] && [ -e /tmp/going ]; do :; done; mv d e; ln -s {VICTIM} d; "
        "while [ -e /tmp/going ]; do sleep 0.1; done"
    )
    with subprocess.Popen(
        ["docker", "exec", victim.sandbox.container("server"), "docker", "exec", "--user", "61102:61102",
         f"{PROJECT}-nginx-1", "sh", "-c", swap],
        stderr=subprocess.DEVNULL,
    ) as running:  # fmt: skip
        try:
            going = f"docker exec {PROJECT}-nginx-1 ls /tmp/going 2>/dev/null"
            wait_until(lambda: bool(victim.server(going, check=False)), "it swaps them")
            for _ in range(3):
                victim.fab("htpasswd", "--user", "changing", input="secret\n")
            victim.fab("htpasswd", "--remove", "changing")
        finally:
            inside(victim, "nginx", "rm -f /tmp/going")
            running.wait(60)
            inside(victim, "nginx", "rm -rf /run/accounts/d /run/accounts/e")


CERTBOTS = {
    "links to files": f"cd /etc/letsencrypt/live/{DOMAIN} && for n in cert chain fullchain privkey; do "
    f"ln -sfn {VICTIM}/file $n.pem; done; ln -sfn {VICTIM}/letsencrypt.log /var/log/letsencrypt/letsencrypt.log",
    "links to directories": f"cd /etc/letsencrypt && mv live live.old && ln -s {VICTIM} live; mv archive archive.old; "
    f"ln -s {VICTIM} archive; cd /var/www/certbot && rm -rf .well-known && ln -s {VICTIM} .well-known",
    "a link for the challenges": f"cd /var/www/certbot && rm -rf .well-known && ln -s {VICTIM} .well-known",
    "fifos": f"cd /etc/letsencrypt/live/{DOMAIN} && "
    "for n in cert chain fullchain privkey; do rm $n.pem; mkfifo $n.pem; done; "
    "cd /var/log/letsencrypt; rm -f letsencrypt.log; mkfifo letsencrypt.log",
    "a fifo for its settings": f"cd /etc/letsencrypt/renewal && rm {DOMAIN}.conf && mkfifo {DOMAIN}.conf",
    "huge files": f"cd /etc/letsencrypt/archive/{DOMAIN} && for n in *.pem; do rm $n; truncate -s 900G $n; done; "
    "truncate -s 900G /var/log/letsencrypt/letsencrypt.log",
    "depth and names": "cd /etc/letsencrypt && i=0; "
    "while [ $i -lt 3000 ]; do mkdir d && cd d || break; i=$((i+1)); done; "
    "cd /var/www/certbot; mkdir \"$(printf 'a\\nb\\033[31m')\" \"$(printf '%0255d' 0)\"; touch -- -rf '$(id)'",
    "a set-user-ID shell": "cp /bin/sh /var/www/certbot/sh && chmod 4755 /var/www/certbot/sh",
}


# Each of these takes half a minute, and is much like another one.
ALIKE = (
    "links to directories", "a fifo for its settings", "depth and names", "fifos", "huge files",
    "a link for the challenges",
)  # fmt: skip


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.long) if way in ALIKE else way for way in CERTBOTS]
)
def test_a_certbot_that_was_taken_over(victim: World, way: str) -> None:
    """Root of the host reads nothing else, changes nothing else and waits for nothing; nginx goes on as it was."""
    serial = victim.serial()
    with certbots_aside(victim):
        if way == "a link for the challenges":
            # So an order is due, and a probe is put there first.
            victim.expire()
        as_certbot(victim, CERTBOTS[way])
        for command in (("renew",), ("status",), ("check",), ("init-letsencrypt",), ("up",)):
            started = time.monotonic()
            done = victim.fab(*command, ok=None)
            assert "unexpected" not in done.stderr, (command, done.stderr)
            assert "precious" not in done.stdout + done.stderr
            assert time.monotonic() - started < 60, command
        # An expired one was put there for one of the ways.
        assert victim.status("/v2/", "-k", *LOGIN) == 200
        if way == "a set-user-ID shell":
            tried = victim.server(f"su -s /bin/sh daemon -c '{DEPLOY_DIR}/certbot/www/sh -p -c id' 2>&1", check=False)
            assert "euid=0" not in tried
            assert "Permission denied" in tried
        changed = victim.serial() != serial
    if changed:
        # A new one was ordered, as certbot's files were gone; the old ones are back.
        victim.fab("init-letsencrypt", ok=None)
    victim.fab("up")
    assert victim.status("/v2/", *LOGIN) == 200


@pytest.mark.long
def test_a_registry_that_was_taken_over(victim: World) -> None:
    """Links, depth and a great many files in its data: status, check, up and a new owner get through."""
    digest = victim.push_blob("taken/over", b"a layer", *LOGIN)
    inner = "/var/lib/registry"
    many = "i=0; while [ $i -lt 300 ]; do mkdir m$i; ( cd m$i; seq 1000 | xargs touch ); i=$((i+1)); done"
    deep = "i=0; while [ $i -lt 3000 ]; do mkdir d && cd d || break; i=$((i+1)); done"
    inside(
        victim,
        "registry",
        f"mkdir {inner}/made && cd {inner}/made && ln -s {VICTIM} l && ln -s /etc/shadow s && mkfifo f && "
        f"({many}) && {deep}",
    )
    try:
        for command in (("status",), ("check",)):
            started = time.monotonic()
            victim.fab(*command)
            assert time.monotonic() - started < 60, command
        # As after an update from a version with another owner: the whole tree is given away.
        victim.server(f"chown 65534:65534 {DEPLOY_DIR}/registry/data")
        victim.server(f"touch {DEPLOY_DIR}/registry/data/new && sed -i 's/^# Written.*/& /' {DEPLOY_DIR}/compose.yml")
        victim.fab("up")
        owners = victim.server(f"find {DEPLOY_DIR}/registry/data ! -uid 61100 -o ! -gid 61102 | head -3")
        assert owners == ""
        # A layer as a link: nginx sends none of its own files.
        path = f"{inner}/docker/registry/v2/blobs/sha256/{digest[7:9]}/{digest[7:]}"
        assert victim.status(f"/v2/taken/over/blobs/{digest}", *LOGIN) == 200
        inside(victim, "registry", f"cd {path} && mv data kept && ln -s /etc/passwd data")
        answer = victim.curl(f"/v2/taken/over/blobs/{digest}", *LOGIN)
        assert "root:" not in answer
        inside(victim, "registry", f"cd {path} && mv kept data")
        assert victim.status(f"/v2/taken/over/blobs/{digest}", *LOGIN) == 200
    finally:
        victim.server(f"rm -rf {DEPLOY_DIR}/registry/data/made {DEPLOY_DIR}/registry/data/new")
        victim.fab("sync")
        victim.fab("up")


def test_a_process_whose_name_is_no_text_stops_nothing(victim: World) -> None:
    """Root looks through all processes of the host for nginx's workers, and for cron."""
    victim.fab("htpasswd", "--user", "leaver", input="secret\n")
    assert victim.login("leaver", "secret") == 200
    name = r"printf '\377\376' >/proc/self/comm; while [ ! -e /tmp/over ]; do sleep 0.2; done; rm /tmp/over"
    command = [
        "docker",
        "exec",
        victim.sandbox.container("server"),
        "docker",
        "exec",
        f"{PROJECT}-registry-1",
        "sh",
        "-c",
        name,
    ]
    with subprocess.Popen(command) as running:
        try:
            there = r"grep -lsP '^\xff' /proc/[0-9]*/comm"
            wait_until(lambda: bool(victim.server(there, check=False)), "it has its name")
            victim.fab("htpasswd", "--remove", "leaver")
            assert victim.login("leaver", "secret") == 401
            victim.fab("up")
            victim.fab("status")
            victim.fab("renew")
        finally:
            inside(victim, "registry", "touch /tmp/over")
            running.wait(60)


def test_a_certbot_that_was_taken_over_publishes_no_image(victim: World) -> None:
    """Port 80 asks nobody who they are, and the images are within nginx's reach."""
    digest = victim.push_blob("taken/private", b"a private layer", *LOGIN)
    target = f"/blobs/docker/registry/v2/blobs/sha256/{digest[7:9]}/{digest[7:]}/data"
    with certbots_aside(victim):
        place = "/var/www/certbot/.well-known/acme-challenge"
        as_certbot(
            victim,
            f"mkdir -p {place} && ln -s {target} {place}/blob && echo answer >{place}/answer",
        )
        assert victim.status("/.well-known/acme-challenge/answer", port=80) == 200
        assert victim.status("/.well-known/acme-challenge/blob", port=80) in (403, 404)
    victim.fab("up")


def test_data_that_only_its_owner_may_read_is_put_right(victim: World) -> None:
    """As after `cp -r` under a umask of 077: nginx reads layers as the group."""
    digest = victim.push_blob("taken/closed", b"a layer of a closed directory", *LOGIN)
    victim.server(f"chmod -R go-rwx {DEPLOY_DIR}/registry/data && chown -R 0:0 {DEPLOY_DIR}/registry/data")
    victim.fab("up")
    assert victim.status(f"/v2/taken/closed/blobs/{digest}", *LOGIN) == 200
    victim.server(f"chmod 700 {DEPLOY_DIR}/registry/data")
    victim.fab("up")
    assert victim.status(f"/v2/taken/closed/blobs/{digest}", *LOGIN) == 200


@pytest.mark.parametrize("service", ["registry", "auth"])
def test_sockets_of_one_that_was_taken_over(victim: World, service: str) -> None:
    """What it makes where its socket is: nothing that root does goes through it."""
    place = f"/sockets/{service}"
    inside(
        victim,
        service,
        f"cd {place} && ln -s {VICTIM} l && ln -s {VICTIM}/file {service}.bak && mkfifo f && "
        f"mv {service}.sock old.sock && ln -s /run/docker.sock {service}.sock",
    )
    try:
        for command in (("status",), ("up",), ("check",)):
            done = victim.fab(*command, ok=None)
            assert "unexpected" not in done.stderr
    finally:
        inside(
            victim,
            service,
            f"cd {place} && rm -f l f {service}.bak {service}.sock && mv old.sock {service}.sock",
        )
    victim.fab("up")
    assert victim.status("/v2/", *LOGIN) == 200


def test_no_other_user_of_the_host_sees_into_the_containers(deployed: World) -> None:
    """Finding 7: `nobody` is many programs of a host; ours have numbers that nobody else has."""
    assert deployed.status("/v2/_catalog", *LOGIN) == 200
    pids = {
        service: deployed.server(f"docker inspect --format '{{{{.State.Pid}}}}' {PROJECT}-{service}-1").strip()
        for service in ("registry", "auth", "nginx")
    }
    worker = deployed.server(f"pgrep -P {pids['nginx']} -f 'worker process' | head -n 1").strip()
    things = {
        "hashes": f"cat /proc/{pids['auth']}/root/auth/htpasswd",
        "secret": f"cat /proc/{pids['registry']}/root/secrets/http-secret",
        "environment": f"cat /proc/{pids['registry']}/environ",
        "registry past nginx": f"curl -sS --unix-socket /proc/{pids['registry']}/root/sockets/registry/registry.sock "
        "http://x/v2/_catalog",
        "passwords": f"cat /proc/{worker}/root/run/accounts/????????????????????????????????",
        "memory": f"head -c 1 /proc/{worker}/mem",
        "by the path": f"ls {DEPLOY_DIR}/registry {DEPLOY_DIR}/certbot",
    }
    for user in ("65534", "1000"):
        for what, command in things.items():
            run = [
                "setpriv",
                "--reuid",
                user,
                "--regid",
                user,
                "--clear-groups",
                "sh",
                "-c",
                command,
            ]
            seen = deployed.sandbox.exec("server", "sh", "-c", '"$@" 2>&1; echo "status $?"', "sh", *run)
            assert not seen.rstrip().endswith("status 0"), (user, what, seen)
            assert "denied" in seen or "Could not connect" in seen, (user, what, seen)
    # They are there, so the rows above can fail.
    assert "$2" in deployed.server(things["hashes"])
    assert base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() in deployed.server(things["passwords"])


def test_nginx_has_no_more_of_certbot_than_the_challenges(deployed: World) -> None:
    """Finding 12: it runs copies of the certificate; the ACME account's key is none of its business."""
    found = json.loads(deployed.server(f"docker inspect {PROJECT}-nginx-1"))[0]["Mounts"]
    sources = {mount.get("Source", "").removeprefix(f"{DEPLOY_DIR}/") for mount in found}
    assert {name for name in sources if name.startswith("certbot")} == {"certbot/www"}
