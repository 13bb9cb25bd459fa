"""Roles, limits to repositories and anonymous pulls: on the wire, and with the clients that people use."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator

import pytest

from tests.sandbox.demo import DOMAIN

from .world import DEPLOY_DIR, PASSWORD, PROJECT, USER, World, first, wait_until

ACCOUNTS = {
    "puller": ["--role", "pull"],
    "ci": ["--role", "push", "--repository", "team-a/*", "--repository", "base"],
    "pusher": ["--role", "push"],
    "boss": ["--role", "admin"],
}
SECRET = "of-the-tests"
CLIENTS = ("docker", "skopeo", "podman")
IMAGE = "private/image"


class Client:
    """Somebody's machine with the three clients. Every command's output and exit status as one text."""

    def __init__(self, world: World) -> None:
        self.world = world

    def run(self, script: str, *args: str) -> tuple[bool, str]:
        wrapped = f"export PODMAN_IGNORE_CGROUPSV1_WARNING=1; {{ {script}; }} 2>&1; echo status $?"
        output = self.world.sandbox.exec("client", "sh", "-c", wrapped, "sh", *args)
        text, _, status = output.rstrip().rpartition("status ")
        return status == "0", text

    def login(self, client: str, user: str, password: str = SECRET) -> tuple[bool, str]:
        return self.run(f'printf %s "$2" | {client} login -u "$1" --password-stdin {DOMAIN}', user, password)

    def logout(self, client: str) -> None:
        self.run(f"{client} logout {DOMAIN}")

    def push(self, client: str, name: str) -> tuple[bool, str]:
        """Push a new image, of a layer that nobody has."""
        made = (
            "rm -rf /tmp/made; mkdir /tmp/made; head -c 2000 /dev/urandom >/tmp/made/random; "
            "tar -C /tmp/made -cf /tmp/made.tar random; "
            f"docker import /tmp/made.tar {DOMAIN}/{name} >/dev/null; "
        )
        archive = f"docker save {DOMAIN}/{name}:latest -o /tmp/made.tar; "
        return self.run(
            made
            + {
                "docker": f"docker push {DOMAIN}/{name}",
                "skopeo": f"{archive} skopeo copy docker-archive:/tmp/made.tar docker://{DOMAIN}/{name}",
                "podman": f"{archive} podman load -qi /tmp/made.tar; podman push {DOMAIN}/{name}",
            }[client]
        )

    def pull(self, client: str, name: str) -> tuple[bool, str]:
        return self.run(
            {
                "docker": f"docker image rm {DOMAIN}/{name}; docker pull {DOMAIN}/{name}",
                "skopeo": f"rm -rf /tmp/pulled; skopeo copy docker://{DOMAIN}/{name} dir:/tmp/pulled",
                "podman": f"podman image rm {DOMAIN}/{name}; podman pull {DOMAIN}/{name}",
            }[client]
        )


@pytest.fixture(scope="module")
def team(world: World) -> Iterator[World]:
    """A server with an account for each role."""
    world.standard()
    for user, options in ACCOUNTS.items():
        world.fab("htpasswd", "--user", user, *options, input=SECRET + "\n")
    yield world
    for user in ACCOUNTS:
        world.fab("htpasswd", "--remove", user)


@pytest.fixture(scope="module")
def client(team: World) -> Client:
    return Client(team)


def as_user(user: str, password: str = SECRET) -> tuple[str, str]:
    return "-u", f"{user}:{password}"


ALLOWED = [
    ("GET", "/v2/", "puller ci pusher boss"),
    ("GET", "/v2/other/x/manifests/1", "puller pusher boss"),
    ("HEAD", "/v2/team-a/x/manifests/1", "puller ci pusher boss"),
    ("GET", "/v2/team-a/x/tags/list", "puller ci pusher boss"),
    ("GET", f"/v2/base/blobs/sha256:{'0' * 64}", "puller ci pusher boss"),
    ("GET", "/v2/base/more/tags/list", "puller pusher boss"),
    ("POST", "/v2/team-a/x/blobs/uploads/", "ci pusher boss"),
    ("POST", "/v2/other/x/blobs/uploads/", "pusher boss"),
    ("PUT", "/v2/other/x/manifests/1", "pusher boss"),
    ("PATCH", "/v2/other/x/blobs/uploads/none", "pusher boss"),
    ("DELETE", "/v2/other/x/blobs/uploads/none", "pusher boss"),
    ("DELETE", f"/v2/team-a/x/manifests/sha256:{'0' * 64}", "boss"),
    ("DELETE", f"/v2/team-a/x/blobs/sha256:{'0' * 64}", "boss"),
    ("GET", "/v2/_catalog", "boss"),
    ("GET", "/v2/%5fcatalog", "boss"),
    ("GET", "//v2//_catalog", "boss"),
    ("OPTIONS", "/v2/other/x/manifests/1", "boss"),
]


def test_roles(team: World) -> None:
    for method, path, allowed in ALLOWED:
        how = ("-I", "--path-as-is") if method == "HEAD" else ("-X", method, "--path-as-is")
        for user in ACCOUNTS:
            status = team.status(path, *how, *as_user(user))
            assert (status != 403) == (user in allowed.split()), (method, path, user, status)
            assert status not in (0, 401, 500, 502, 503), (method, path, user, status)
        # A wrong password is never told what the right one could do. (One a path: they are counted.)
        assert team.status(path, *how, *as_user("boss", "wrong")) == 401, (method, path)
        assert team.status(path, *how) == 401, (method, path)


def test_whoever_asks_while_the_registry_restarts_is_told_to_try_again(team: World) -> None:
    """A limited account, too, whose uploads begin by another way."""
    team.server(f"docker stop {PROJECT}-registry-1")
    try:
        answers = {}
        for user in ("ci", "pusher", "boss"):
            for path in ("/v2/team-a/x/blobs/uploads/", "/v2/team-a/x/blobs/uploads/none", "/v2/team-a/x/manifests/1"):
                how = {"/": ("-X", "POST"), "e": ("-X", "PATCH")}.get(path[-1], ())
                head, _, body = team.curl(path, *how, "-D", "-", *as_user(user)).partition("\n\n")
                lines = [line for line in head.splitlines() if not line.startswith(("Date:", "Content-Length:"))]
                answers[user, path] = (*sorted(lines), body)
    finally:
        team.server(f"docker start {PROJECT}-registry-1")
    assert len(set(answers.values())) == 1, answers
    (answer,) = set(answers.values())
    assert "HTTP/1.1 503 Service Temporarily Unavailable" in answer
    assert "Retry-After: 5" in answer
    assert "Content-Type: application/json" in answer
    assert json.loads(answer[-1])["errors"][0]["code"] == "UNAVAILABLE"
    wait_until(lambda: team.status("/v2/", *as_user("ci")) == 200, "it is back")


def test_a_refusal_is_a_registry_error(team: World) -> None:
    url = "/v2/other/x/blobs/uploads/"
    refused = team.curl(url, "-X", "POST", "-D", "-", *as_user("puller"))
    head, _, body = refused.partition("\n\n")
    assert "Content-Type: application/json" in head
    (error,) = json.loads(body)["errors"]
    assert error == {"code": "DENIED", "message": "the account puller may only pull"}
    told = team.curl(url, "-X", "POST", *as_user("ci"))
    assert "the account ci is limited to team-a/*" in told


SPELLINGS = [
    "/v2/team-a/../other/x/blobs/uploads/",
    "/v2/team-a%2f..%2fother/x/blobs/uploads/",
    "/v2/team-a/%2e%2e/other/x/blobs/uploads/",
    "/v2/team-a//../other/x/blobs/uploads/",
    "/v2//other/x/blobs/uploads/",
    "/v2/other%2fteam-a/x/blobs/uploads/",
    "/v2/team-a//x/blobs/uploads/",
    "/v2/team-a%2fx/blobs/uploads/",
    "/v2/team-a/x%00/blobs/uploads/",
    "/v2/team-a/x/blobs/uploads/%0a",
    "/v2/team-a/x/../../../other/x/blobs/uploads/",
    "/v2/TEAM-A/x/blobs/uploads/",
    "/v2/base/blobs/evil/blobs/uploads/",
    "/v2/team-a/x%20/v2/team-a/x%3f/blobs/uploads/",
    "/v2/team-a./x/blobs/uploads/?/v2/team-a/x/blobs/uploads/",
]


def test_no_spelling_leads_out_of_the_repositories_of_an_account(team: World) -> None:
    for spelling in SPELLINGS:
        how = ("-X", "POST", "--path-as-is", *as_user("ci"))
        assert team.status(spelling, *how) in (400, 403, 404), spelling


@pytest.mark.parametrize("way", ["query", "form", "form and query"])
def test_no_mount_brings_in_what_an_account_may_not_read(team: World, way: str) -> None:
    digest = team.push_blob("other/secret", f"secret of {way}".encode(), *as_user("pusher"))
    mount = f"mount={digest}&from=other/secret"
    query = f"?{mount}" if "query" in way else ""
    form = ("-d", mount) if "form" in way else ()
    for user, mounted in (("ci", 202), ("pusher", 201)):
        url = f"/v2/team-a/stolen-{user}/blobs/uploads/{query}"
        assert team.status(url, "-X", "POST", *form, *as_user(user)) == mounted
        there = team.status(f"/v2/team-a/stolen-{user}/blobs/{digest}", "-I", *as_user("boss"))
        assert there == (200 if mounted == 201 else 404)


def test_many_patterns_are_no_matter(team: World) -> None:
    """nginx takes no parameter of more than 4096 bytes."""
    many = [part for n in range(20) for part in ("--repository", f"{'r' * 220}{n}/*")]
    team.fab("htpasswd", "--user", "many", *many, input="secret\n")
    url = f"/v2/{'r' * 220}19/x/tags/list"
    assert team.status(url, *as_user("many", "secret")) == 404
    assert team.status("/v2/other/tags/list", *as_user("many", "secret")) == 403
    team.fab("htpasswd", "--remove", "many")


@pytest.mark.parametrize("name", first(CLIENTS))
def test_clients_by_role(client: Client, name: str) -> None:
    assert client.login(name, "pusher", "wrong")[0] is False
    assert client.login(name, "pusher")[0]
    done, words = client.push(name, IMAGE)
    assert done, words
    assert client.login(name, "puller")[0]
    done, words = client.pull(name, IMAGE)
    assert done, words
    done, words = client.push(name, f"{IMAGE}-{name}")
    assert not done
    assert "denied: the account puller may only pull" in words
    assert client.login(name, "ci")[0]
    done, words = client.push(name, "team-a/image")
    assert done, words
    done, words = client.pull(name, "team-a/image")
    assert done, words
    for try_it in (client.push, client.pull):
        done, words = try_it(name, IMAGE)
        assert not done
        # podman begins with a HEAD, and an answer to that has no words.
        assert re.search("denied: the account ci is limited to team-a/|StatusCode: 403", words)
    client.logout(name)
    done, words = client.pull(name, IMAGE)
    assert not done


def test_deleting_takes_an_admin(client: Client) -> None:
    client.login("skopeo", "pusher")
    done, words = client.push("skopeo", "team-a/gone")
    assert done, words
    for user, allowed in (("pusher", False), ("puller", False), ("boss", True)):
        done, words = client.run(f'skopeo delete --creds "$1:$2" docker://{DOMAIN}/team-a/gone', user, SECRET)
        assert done == allowed, words
        if not allowed:
            assert f"denied: the account {user} may" in words
    client.logout("skopeo")


def test_a_role_is_changed_at_once_and_the_password_stays(team: World) -> None:
    catalogue = ("/v2/_catalog", *as_user("pusher"))
    assert team.status(*catalogue) == 403
    told = team.fab("htpasswd", "--user", "pusher", "--role", "admin", "--keep").stdout
    assert "account pusher changed" in told
    assert team.status(*catalogue) == 200
    team.fab("htpasswd", "--user", "pusher", "--role", "push", "--keep")
    assert team.status(*catalogue) == 403
    rows = {row["user"]: row for row in json.loads(team.fab("htpasswd", "--list", "--json").stdout)}
    assert (rows["pusher"]["role"], rows["pusher"]["cost"]) == ("push", 12)
    assert rows["ci"]["repositories"] == ["team-a/*", "base"]
    assert rows["ci"]["changed"].startswith("20")
    shown = team.fab("htpasswd", "--list").stdout
    assert "team-a/*, base" in shown
    log = team.server(f"tail -3 {DEPLOY_DIR}/log/audit.log")
    assert "htpasswd pusher" in log


def test_import(team: World) -> None:
    theirs = team.sandbox.directory / "theirs"
    hashes = team.server(f"sed -n 's/^{USER}://p' {DEPLOY_DIR}/registry/auth/htpasswd").strip()
    theirs.write_text(f"# of the old server\nanna:{hashes}\nbert:$apr1$x$yz\ncarl:{hashes}\n")
    failed = team.fab("htpasswd", "--import", str(theirs), "--role", "pull", ok=False)
    assert failed.returncode == 1
    assert "theirs:3: bert: a hash (MD5) that the registry does not take" in failed.stdout
    assert "1 of 3 lines were not taken (2 added, 0 changed)" in failed.stderr
    assert team.login("anna", PASSWORD) == 200
    assert team.login("bert", PASSWORD) == 401
    assert team.status("/v2/x/blobs/uploads/", "-X", "POST", *as_user("carl", PASSWORD)) == 403
    for user in ("anna", "carl"):
        team.fab("htpasswd", "--remove", user)


@pytest.fixture(scope="module")
def public(team: World, client: Client) -> Iterator[World]:
    """The same with ANONYMOUS_PULL, and an image that everyone may have."""
    team.configure(ANONYMOUS_PULL="public/* base push*")
    team.fab("sync", "up")
    assert client.login("docker", "pusher")[0]
    for name in ("public/image", IMAGE):
        done, words = client.push("docker", name)
        assert done, words
    client.logout("docker")
    yield team
    team.configure()
    team.fab("sync", "up")


@pytest.mark.parametrize("name", first(CLIENTS))
def test_anonymous_pulls(public: World, client: Client, name: str) -> None:
    done, words = client.pull(name, "public/image")
    assert done, words
    done, words = client.pull(name, IMAGE)
    assert not done
    assert "not for everyone: log in first" in words
    done, words = client.push(name, "public/mine")
    assert not done
    assert "log in first" in words
    done, words = client.login(name, "pusher", "wrong")
    assert not done
    assert client.login(name, "pusher")[0]
    for name_of_image in ("public/image", IMAGE):
        done, words = client.push(name, name_of_image)
        assert done, words
        done, words = client.pull(name, name_of_image)
        assert done, words
    client.logout(name)


OF_NOBODY = [
    ("GET", "/v2/", 200),
    ("GET", "/v2/public/image/tags/list", 200),
    ("GET", "/v2/base/tags/list", 404),
    ("GET", "/v2/base/more/tags/list", 401),
    ("GET", "/v2/pushed/tags/list", 404),
    ("GET", "/v2/push-test/tags/list", 401),
    ("GET", "/v2/publicly/image/manifests/latest", 401),
    ("GET", f"/v2/{IMAGE}/manifests/latest", 401),
    ("GET", f"/v2/public/../{IMAGE}/manifests/latest", 401),
    ("GET", f"/v2/public%2f..%2f{IMAGE}/manifests/latest", 401),
    ("GET", "/v2/public//image/manifests/latest", 401),
    ("GET", "/v2/_catalog", 401),
    ("POST", "/", 401),
    ("GET", "/v2", 401),
    ("POST", "/v2/public/image/blobs/uploads/", 401),
    ("PUT", "/v2/public/image/manifests/latest", 401),
    ("DELETE", "/v2/public/image/manifests/latest", 401),
]


def test_what_nobody_in_particular_may_do(public: World) -> None:
    for (method, path, status), user in zip(OF_NOBODY, itertools.cycle(ACCOUNTS), strict=False):
        how = ("-X", method, "--path-as-is")
        anonymous = ("-H", "Authorization: Bearer anonymous")
        assert public.status(path, *how, *anonymous) == status, (method, path)
        # Without even that, a client is told where to get it.
        assert public.status(path, *how) == 401, (method, path)
        # Each time another account: wrong passwords are counted.
        assert public.status(path, *how, *as_user(user, "wrong")) == 401, (method, path)


def test_the_challenge_and_the_token(public: World) -> None:
    head = public.curl("/v2/", "-I").lower()
    port = public.sandbox.port(443)
    assert f'www-authenticate: bearer realm="https://{DOMAIN}:{port}/token"' in head
    assert "www-authenticate: basic realm=" in public.curl("/v2/", "-I", "-H", "Accept: text/html").lower()
    assert json.loads(public.curl("/token"))["token"] == "anonymous"
    assert public.status("/token", *as_user("puller", "wrong")) == 401
    assert public.status("/token", "-X", "POST", "-d", "grant_type=password") == 404
    token = json.loads(public.curl("/token", *as_user("puller")))["token"]
    bearer = ("-H", f"Authorization: Bearer {token}")
    assert public.status(f"/v2/{IMAGE}/tags/list", *bearer) == 200
    assert public.status("/v2/_catalog", *bearer) == 403
    assert public.status("/v2/", "-H", "Authorization: Bearer bm9ib2R5Om5vcGU=") == 401
    # An account that is limited to others may have what everyone may have, and no more of it.
    assert public.status("/v2/public/image/tags/list", *as_user("ci")) == 200
    assert public.status("/v2/public/image/blobs/uploads/", "-X", "POST", *as_user("ci")) == 403


def test_off_nothing_of_it_is_in_the_configuration(team: World) -> None:
    team.configure()
    team.fab("sync", "up")
    found = team.server(
        # The page has tokens of its own, and its files may be kept by whoever.
        f"grep -rniE 'anonymous|bearer|token|public' --exclude=page.conf --exclude=addresses.conf "
        f"--exclude=sessions.conf {DEPLOY_DIR}/nginx/live/ | grep -v server_tokens",
        check=False,
    )
    assert found == ""
    assert team.status("/token") == 401
    assert team.status("/v2/", "-H", "Authorization: Bearer anonymous") == 401
