"""A registry that the old scripts set up, with an image in it, becomes one of ours; and the way back."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fabfile.accounts.passwords import hashed
from fabfile.secret import Secret
from tests.sandbox.commands import output
from tests.sandbox.demo import DOMAIN

from .test_certificates import A
from .world import DEPLOY_DIR, USER, World, wait_until

OLD_PASSWORD = "old: $word"
OLD = [f"docker-registry_{name}_1" for name in ("certbot", "nginx", "registry")]

COMPOSE = """\
services:
  registry:
    image: registry-sandbox/registry
    restart: always
    environment:
      REGISTRY_AUTH: htpasswd
      REGISTRY_AUTH_HTPASSWD_REALM: Registry
      REGISTRY_AUTH_HTPASSWD_PATH: /auth/registry.password
      REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: /data
    volumes: [./registry/auth:/auth, ./registry/data:/data]
  nginx:
    image: registry-sandbox/nginx
    restart: always
    ports: ["80:80", "443:443"]
    volumes:
      - ./nginx:/etc/nginx/conf.d
      - ./certbot/conf:/etc/letsencrypt
      - ./certbot/www:/var/www/certbot
  certbot:
    image: registry-sandbox/certbot
    restart: unless-stopped
    environment: {REQUESTS_CA_BUNDLE: /ca.pem}
    volumes:
      - ./certbot/conf:/etc/letsencrypt
      - ./certbot/www:/var/www/certbot
      - ./ca.pem:/ca.pem:ro
    entrypoint: "/bin/sh -c 'trap exit TERM; while :; do certbot renew; sleep 12h & wait $${!}; done;'"
"""
PLAIN = """\
server {
    listen 80;
    server_name registry.test;
    location /.well-known/acme-challenge/ { root /var/www/certbot; }
    location / { return 301 https://$host$request_uri; }
}
"""
TLS = """\
server {
    listen 443 ssl;
    server_name registry.test;
    ssl_certificate /etc/letsencrypt/live/registry.test/fullchain.pem;
    ssl_certificate_key /etc/letsencrypt/live/registry.test/privkey.pem;
    client_max_body_size 0;
    location / {
        proxy_pass http://registry:5000;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
    }
}
"""
SET_UP = f"""\
set -e
cd {DEPLOY_DIR}
old() {{ docker compose --compatibility --project-name docker-registry --file docker-compose.yml "$@"; }}
old up --detach nginx registry 2>&1
old run --rm --entrypoint certbot certbot certonly --webroot -w /var/www/certbot --non-interactive \\
    --agree-tos -m old@registry.test --server {A} -d registry.test 2>&1
mv tls nginx/nginx.conf
old up --detach 2>&1
old exec nginx nginx -s reload 2>&1
echo '0 5 * * * cd {DEPLOY_DIR} && docker-compose exec nginx nginx -s reload
7 5 * * * echo {DEPLOY_DIR}-backup' | crontab -
"""


class Old:
    """The old registry: what it served before anything of ours touched it."""

    def __init__(self, world: World) -> None:
        self.world = world
        write = f"mkdir -p {DEPLOY_DIR}/$(dirname $1) && cat >{DEPLOY_DIR}/$1"
        bundle = (world.sandbox.directory / "acme-ca.pem").read_text()
        for name, text in {
            "docker-compose.yml": COMPOSE, "nginx/default.conf": PLAIN, "tls": TLS, "ca.pem": bundle,
            "registry/auth/registry.password": hashed("anna", Secret(OLD_PASSWORD)) + "\n",
        }.items():  # fmt: skip
            world.sandbox.exec("server", "sh", "-c", write, "sh", name, input=text)
        world.server(SET_UP)
        wait_until(lambda: world.status("/v2/") == 401, "the old registry answers")
        self.digest = self.push("old-image")

    def docker(self, *args: str, input: str | None = None) -> str:
        client = f"unix://{self.world.sandbox.client_socket}"
        return output("docker", "--host", client, *args, stdin=input)

    def push(self, name: str) -> str:
        """Push an image as anna; its digest."""
        image = f"{DOMAIN}/{name}:1"
        self.docker("login", DOMAIN, "--username", "anna", "--password-stdin", input=OLD_PASSWORD)
        self.docker("import", "-", image, input="")
        found = re.search(r"digest: (sha256:\w+)", self.docker("push", image))
        assert found is not None
        return found[1]

    def pull(self) -> None:
        """Pull the old image by its digest with the old password."""
        self.docker("image", "rm", "--force", f"{DOMAIN}/old-image:1")
        self.docker("login", DOMAIN, "--username", "anna", "--password-stdin", input=OLD_PASSWORD)
        self.docker("pull", f"{DOMAIN}/old-image@{self.digest}")

    def states(self) -> dict[str, str]:
        listing = self.world.server("docker ps --all --format '{{.Names}} {{.State}}'").splitlines()
        return dict(line.split(" ") for line in listing)


@pytest.fixture
def old(clean: World) -> Iterator[Old]:
    old = Old(clean)
    yield old
    clean.server("crontab -r", check=False)


@contextmanager
def gap(world: World) -> Iterator[list[float]]:
    """The longest time in seconds in which port 443 did not answer /v2/, once it is over."""
    longest = [0.0]
    ended = threading.Event()

    def look() -> None:
        last = time.monotonic()
        while not ended.is_set():
            if world.status("/v2/") == 401:
                longest[0] = max(longest[0], time.monotonic() - last)
                last = time.monotonic()
            time.sleep(0.05)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield longest
    finally:
        ended.set()
        looking.join()


def test_adopt_and_back(old: Old) -> None:
    world = old.world
    serial, files, containers = world.serial(), world.files(), world.containers()
    plan = world.fab("adopt").stdout
    for line in (
        r"images +1 repository: old-image +stay where they are",
        r"accounts +anna +keep their passwords",
        r"certificate +valid .* +stays; nothing is ordered",
        r"files +nginx/nginx.conf +copied",
        rf"container +{OLD[1]} .*runs until ours is ready",
        rf"crontab +0 5 \* \* \* cd {DEPLOY_DIR} ",
        "Nothing was changed",
    ):
        assert re.search(line, plan), plan
    assert (world.files(), world.containers()) == (files, containers)

    # Ours does not start: the old one goes on.
    world.configure(REGISTRY_IMAGE="registry-sandbox/nginx:latest")
    refused = world.fab("adopt", "--yes", ok=False)
    assert "adopt --yes stopped at up" in refused.stderr
    assert "started again" in refused.stderr
    assert "shown this once" not in refused.stdout
    assert old.states() == dict.fromkeys(OLD, "running")
    old.pull()

    # Another authority is not asked by accident.
    world.configure(ACME_SERVER="production")
    refused = world.fab("adopt", "--yes", ok=False)
    assert refused.returncode == 2
    assert f"write ACME_SERVER={A} into .env" in refused.stderr
    world.configure()

    with gap(world) as longest:
        done = world.fab("adopt", "--yes").stdout
    assert "1 accounts keep their passwords" in done
    assert "nothing to order" in done
    print(f"port 443 was without an answer for {longest[0]:.1f} s")
    assert longest[0] < 30
    old.pull()
    assert world.serial() == serial
    assert world.certificates() == 1
    assert {name: old.states()[name] for name in OLD} == dict.fromkeys(OLD, "exited")
    crontab = world.server("crontab -l").splitlines()
    assert [line.startswith("#") for line in crontab] == [True, False]
    # What a later run cannot do is no reason to go back.
    world.sandbox.dns(DOMAIN)
    refused = world.fab("adopt", "--yes", ok=False)
    assert "stopped at check" in refused.stderr
    assert "as it was before" not in refused.stderr
    assert {name: old.states()[name] for name in OLD} == dict.fromkeys(OLD, "exited")
    world.sandbox.dns(DOMAIN, world.sandbox.address("server"))
    old.pull()
    for task in (("adopt", "--yes"), ("bootstrap",)):
        output = world.fab(*task).stdout
        assert not re.search(r"^ok +[\d.]+ s  (sync|htpasswd|up|init-letsencrypt|schedule) ", output, re.M), output
    new = old.push("new-image")

    # As a way back that was cut off would leave it: it can be gone again.
    world.server(f"rm {DEPLOY_DIR}/compose.yml")
    assert "started" in world.fab("adopt", "--back").stdout
    assert old.states() == dict.fromkeys(OLD, "running")
    assert world.containers() == containers
    left = set(world.files()) - set(files)
    assert {path for path in left if not path.startswith(("./certbot/", "./registry/"))} == set()
    assert {path: world.files()[path].split(" ")[-1] for path in files} == {
        path: facts.split(" ")[-1] for path, facts in files.items()
    }
    assert not any(line.startswith("#") for line in world.server("crontab -l").splitlines())
    old.pull()
    old.docker("pull", f"{DOMAIN}/new-image@{new}")
    assert "nothing was adopted" in world.fab("adopt", "--back", ok=False).stderr


ODD = (
    b"# Gr\xfc\xdfe, in Latin-1\n"
    b"# taken over by private-docker-registry: these are somebody's own words\n"
    b"1 5 * * * cd %d && echo a line of Windows\r\n"
    b"2 5 * * * echo a form feed \x0c, a vertical tab \x0b and \xe2\x80\xa8 in %d\n"
    b"\n"
    b"3 5 * * * echo \xff somewhere else\n"
).replace(b"%d", DEPLOY_DIR.encode())


def crontab(world: World) -> bytes:
    """Its bytes, past cron's own three lines. `crontab -l` shows a carriage return as two characters."""
    return base64.b64decode(world.server("tail -n +4 /var/spool/cron/crontabs/root | base64"))


@pytest.mark.long
def test_a_crontab_of_any_bytes_comes_back(old: Old) -> None:
    world = old.world
    world.server(f"echo {base64.b64encode(ODD).decode()} | base64 -d | crontab -")
    before = crontab(world)
    assert before == ODD
    plan = world.fab("adopt").stdout
    assert re.search(rf"crontab +1 5 \* \* \* cd {DEPLOY_DIR} && echo a line of Windows +becomes", plan), plan
    assert crontab(world) == before
    world.fab("adopt", "--yes")
    assert crontab(world).count(b"# taken over by private-docker-registry: ") == 3
    assert [line for line in crontab(world).split(b"\n") if line.endswith(b"\r")] != []
    world.fab("adopt", "--back")
    assert crontab(world) == before
    assert old.states() == dict.fromkeys(OLD, "running")
    assert "no such file" in world.server("ls /etc/private-docker-registry 2>&1", check=False).lower()

    # One that cron does not take, though it is there: nothing was stopped for it.
    world.server("printf 'no line of cron\\n1 1 * * * ls /docker-registry\\n' >>/var/spool/cron/crontabs/root")
    containers = world.containers()
    with gap(world) as longest:
        refused = world.fab("adopt", "--yes", ok=False)
    assert "cron does not take root's crontab" in refused.stderr, refused.stderr
    assert "crontab -e" in refused.stderr
    assert {name: world.containers().get(name) for name in containers} == containers
    assert old.states() == dict.fromkeys(OLD, "running")
    assert longest[0] < 2


def test_nothing_to_adopt(clean: World) -> None:
    refused = clean.fab("adopt", ok=False)
    assert refused.returncode == 1
    assert "nothing to adopt" in refused.stderr
    assert json.loads(clean.fab("check", "--json").stdout)
    assert clean.login(USER, OLD_PASSWORD) == 0


@pytest.mark.long
def test_images_in_schema_1_are_named_before_a_version_3_takes_them_over(old: Old) -> None:
    """One is put on the disk by hand, as an old client would have pushed it: the registry of version 2 serves it."""
    manifest = json.dumps(
        {
            "schemaVersion": 1, "name": "old-image", "tag": "ancient", "architecture": "amd64",
            "fsLayers": [{"blobSum": f"sha256:{'0' * 64}"}], "history": [{"v1Compatibility": "{}"}],
        }
    ).encode()  # fmt: skip
    digest = hashlib.sha256(manifest).hexdigest()
    store = f"{DEPLOY_DIR}/registry/data/docker/registry/v2"
    manifests = f"{store}/repositories/old-image/_manifests"
    old.world.sandbox.exec(
        "server", "sh", "-ec",
        "for file in $2/revisions/sha256/$3 $2/tags/ancient/current $2/tags/ancient/index/sha256/$3; do "
        "mkdir -p $file; printf sha256:$3 >$file/link; done; blob=$1/blobs/sha256/$(echo $3 | cut -c1-2)/$3; "
        "mkdir -p $blob; cat >$blob/data", "sh", store, manifests, digest, input=manifest.decode(),
    )  # fmt: skip
    old.pull()
    found = "1 in schema 1: old-image:ancient"
    for task in ("check", "adopt"):
        # For `check` alone the ports of the old containers are taken.
        line = next(line for line in old.world.fab(task, ok=None).stdout.splitlines() if "old images" in line)
        assert line.startswith("warn")
        assert found in line
        assert "REGISTRY_IMAGE=registry:2.8.3" in line
    old.world.configure(REGISTRY_IMAGE="registry:2.8.3")
    assert "old images" not in old.world.fab("check", ok=False).stdout + old.world.fab("adopt").stdout
    old.world.configure()
    assert found in old.world.fab("adopt", "--yes").stdout
    # Ours runs that image by now, so the question is answered.
    assert "old images" not in old.world.fab("check").stdout
    # The image of the sandbox is a version 2 all the same.
    login = ("-u", f"anna:{OLD_PASSWORD}")
    assert old.world.status("/v2/old-image/manifests/ancient", *login) == 200
