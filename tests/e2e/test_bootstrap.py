"""The product: bootstrap, each step alone, and that the second time changes nothing."""

from __future__ import annotations

import json
import re

import pytest

from fabfile.layout import OUTSIDE, USES
from tests.sandbox.demo import DOMAIN

from .world import DEPLOY_DIR, PASSWORD, PROJECT, USER, World, wait_until

# What a network namespace with nothing but the loopback device has.
NOWHERE = {"0.0.0.0", "127.0.0.0", "127.0.0.1", "127.255.255.255"}  # noqa: S104 - nobody binds here


def test_check_changes_nothing(clean: World) -> None:
    changed = (
        "find / -xdev -newer /root/mark -type f ! -path '/proc/*' ! -path '/sys/*' ! -path '/var/log/*' "
        "! -path '/run/*'"
    )
    clean.server("touch /root/mark")
    before = clean.containers()
    rows = json.loads(clean.fab("check", "--json").stdout)
    assert clean.server(changed) == ""
    assert clean.containers() == before
    # Nothing listens yet, so nobody looked from outside.
    unseen = {"port 80 from here", "port 443 from here"}
    assert {row["mark"] for row in rows if row["name"] not in unseen} == {"ok"}
    assert {row["mark"] for row in rows if row["name"] in unseen} == {"unseen"}
    assert {"system", "free disk", "docker", "compose", "port 80", f"A {DOMAIN}"} <= {row["name"] for row in rows}


@pytest.mark.long
def test_each_step_alone(clean: World) -> None:
    assert "new files in /docker-registry" in clean.fab("sync").stdout
    assert "is up to date" in clean.fab("sync").stdout
    assert f"account {USER} added" in clean.fab("htpasswd", "--user", USER, input=PASSWORD + "\n").stdout
    assert "started auth, nginx, registry" in clean.fab("up").stdout
    # No certificate yet: port 80 answers all the same, 443 does not (C13).
    assert clean.status("/", port=80) == 308
    assert clean.status("/.well-known/acme-challenge/none", port=80) == 404
    assert clean.status("/v2/") == 0
    assert "nothing to change" in clean.fab("up").stdout

    ordered = clean.fab("init-letsencrypt").stdout
    assert "ordered, valid 90 days" in ordered
    assert clean.login(USER, PASSWORD) == 200
    assert "nothing to order" in clean.fab("init-letsencrypt").stdout
    assert "nothing due" in clean.fab("renew").stdout
    assert "rehearsed" in clean.fab("renew", "--dry-run").stdout
    assert clean.certificates() == 1

    assert clean.fab("schedule").stdout.startswith("ok")
    assert clean.fab("schedule").stdout.startswith("same")
    assert re.search("pull: sha256:[0-9a-f]{12}, equal\n", clean.fab("push-test", "--verbose").stdout)
    status = json.loads(clean.fab("status", "--json").stdout)
    assert [row["health"] for row in status["containers"]] == ["healthy", "healthy", "healthy"]
    assert status["certificate"]["on_disk"]["serial"] == status["certificate"]["served"]["serial"]
    assert "registry-1" in clean.fab("logs", "--lines", "3").stdout

    assert "containers removed" in clean.fab("down").stdout
    assert clean.containers() == {}
    clean.fab("up")
    assert clean.login(USER, PASSWORD) == 200


@pytest.mark.parametrize("task", ["status", "logs"])
def test_a_look_is_one_trip(deployed: World, task: str) -> None:
    """paramiko says of each channel that it opens how much fits into it."""
    told = deployed.fab("--debug", task).stderr
    assert len(re.findall(r"\[chan \d+\] Max packet out", told)) == 1


def test_bootstrap_a_second_time_changes_nothing(deployed: World) -> None:
    # Once more: what the tests before made it forget, it learns again.
    deployed.bootstrap()
    accounts = f"./{DEPLOY_DIR[1:]}/registry/auth/htpasswd".replace(f"{DEPLOY_DIR[1:]}/", "")
    files, containers, serial = deployed.files(), deployed.containers(), deployed.serial()
    content = deployed.server(f"cat {DEPLOY_DIR}/registry/auth/htpasswd")
    before = deployed.server(f"readlink {DEPLOY_DIR}/nginx/live").partition(".")[0]
    output = deployed.bootstrap()
    assert "shown this once" not in output
    assert [line.split()[3] for line in output.splitlines() if line.startswith("same")] == [
        "check", "provision", "sync", "htpasswd", "up", "init-letsencrypt", "schedule",
    ]  # fmt: skip
    assert deployed.containers() == containers
    assert deployed.serial() == serial
    changed = {name for name, facts in deployed.files().items() if files.get(name) != facts}
    # push-test makes an account and removes it, and nginx is told twice; cron makes the page's lists.
    by_itself = ("./nginx/run/", "./nginx/loaded", "./page/")
    assert {name for name in changed if not name.startswith(by_itself)} == {accounts}
    assert deployed.server(f"readlink {DEPLOY_DIR}/nginx/live").startswith(f"{before}.")
    assert deployed.server(f"cat {DEPLOY_DIR}/registry/auth/htpasswd") == content


def test_what_clients_get(deployed: World) -> None:
    assert deployed.curl("/v2/", "-u", f"{USER}:{PASSWORD}") == "{}"
    assert deployed.status("/v2/") == 401
    assert deployed.login(USER, "wrong") == 401
    assert deployed.login("nobody", PASSWORD) == 401
    for path in ("/v2/_catalog", "/v1/", "/metrics", "/debug/vars", "/index.html"):
        assert deployed.status(path) == 401, path
    assert '<script type="module" src="/-/assets/' in deployed.curl("/")
    assert deployed.status("/index.html", "-u", f"{USER}:{PASSWORD}") == 404
    assert deployed.curl("/v2", "-u", f"{USER}:{PASSWORD}") == "{}"


def test_upload_location_keeps_the_port(deployed: World) -> None:
    headers = deployed.curl(
        "/v2/some/image/blobs/uploads/", "-X", "POST", "-D", "-", "-o", "/dev/null", "-u", f"{USER}:{PASSWORD}",
    )  # fmt: skip
    location = re.search(r"^Location: (\S+)", headers, re.M | re.I)
    assert location is not None
    assert location[1].startswith(f"https://{DOMAIN}:{deployed.sandbox.port(443)}/v2/some/image/")


def test_foreign_names_are_refused_and_never_echoed(deployed: World) -> None:
    """A9: an unknown server name, none at all, a foreign Host header."""
    port = deployed.sandbox.port(443)
    with pytest.raises(Exception, match="returned non-zero exit status 35"):
        deployed.curl("/v2/", "-k", name="other.test")
    with pytest.raises(Exception, match="returned non-zero exit status 35"):
        deployed.curl("/v2/", "-k", "--connect-to", f"{DOMAIN}:{port}:127.0.0.1:{port}", name="127.0.0.1")
    assert deployed.status("/v2/", "-H", "Host: evil.example") == 0
    assert deployed.status("/", "-H", "Host: evil.example", port=80) == 0


def test_a_changed_setting_is_served_after_sync_and_up(deployed: World) -> None:
    assert "strict-transport-security" not in deployed.curl("/v2/", "-I").lower()
    deployed.configure(HSTS_MAX_AGE="123456")
    diff = deployed.fab("sync", "--diff").stdout
    assert '+    add_header Strict-Transport-Security "max-age=123456" always;' in diff
    assert "strict-transport-security" not in deployed.curl("/v2/", "-I").lower()
    containers = deployed.containers()
    output = deployed.fab("sync", "up").stdout
    assert "changed  nginx/https.conf" in output
    assert "nginx reloaded" in output
    assert "strict-transport-security: max-age=123456" in deployed.curl("/v2/", "-I").lower()
    assert deployed.containers() == containers


def test_the_first_password_is_made_and_shown_once_at_the_end(clean: World) -> None:
    output = clean.fab("bootstrap", input="not-this-one\n").stdout
    shown = re.search(r"account demo, password \(shown this once\): (\S+)", output)
    assert shown is not None
    assert len(shown[1]) >= 20
    assert clean.login(USER, shown[1]) == 200
    assert clean.login(USER, "not-this-one") == 401
    assert f"\nReady: docker login {DOMAIN} -u {USER}\n  docker tag app {DOMAIN}/team-a/app:1.0\n" in output
    assert output.endswith(f"\n\n{shown[0]}\n")
    assert re.search(r"push-test +strangers refused, sha256:[0-9a-f]{12} pushed, pulled, equal, deleted\n", output)


def test_docker_compose_works_there_as_it_is(deployed: World) -> None:
    listed = deployed.server(f"cd {DEPLOY_DIR} && docker compose ps --services")
    assert set(listed.split()) == {"auth", "nginx", "registry"}


def test_the_secret_is_in_no_inspect_and_in_no_synced_file(deployed: World) -> None:
    secret = deployed.server(f"cat {DEPLOY_DIR}/registry/secrets/http-secret").strip()
    assert re.fullmatch("[0-9a-f]{64}", secret)
    assert secret not in deployed.server("docker inspect $(docker ps --quiet)")
    environment = deployed.server(
        f"cat /proc/$(docker inspect --format '{{{{.State.Pid}}}}' {PROJECT}-registry-1)/environ"
    )
    assert f"REGISTRY_HTTP_SECRET={secret}" in environment
    found = deployed.server(f"grep -rlF {secret} {DEPLOY_DIR}")
    assert found.split() == [f"{DEPLOY_DIR}/registry/secrets/http-secret"]


def test_an_upload_survives_a_restart_of_the_registry(deployed: World) -> None:
    """The secret is there and stays: without it the second request is a 404."""
    login = ("-u", f"{USER}:{PASSWORD}")
    started = deployed.curl("/v2/some/image/blobs/uploads/", "-X", "POST", "-D", "-", *login)
    location = re.search(r"^Location: https://[^/]+(\S+)", started, re.M | re.I)
    assert location is not None
    deployed.server(f"docker restart {PROJECT}-registry-1")
    wait_until(lambda: deployed.login(USER, PASSWORD) == 200, "the registry is back")
    patched = deployed.status(
        location[1],
        "-X",
        "PATCH",
        "-H",
        "Content-Type: application/octet-stream",
        "-d",
        "x",
        *login,
    )
    assert patched == 202


def test_a_very_long_name_is_taken(deployed: World) -> None:
    deployed.configure(REGISTRY_ALIASES=f"{'a' * 63}.{'b' * 63}.{'c' * 63}.registry.test")
    assert "nginx reloaded" in deployed.fab("sync", "up").stdout
    deployed.configure()
    deployed.fab("sync", "up")


@pytest.mark.long
def test_a_broken_override_is_refused_and_the_old_configuration_goes_on(deployed: World) -> None:
    """C8: for the running nginx, for its next start, and for a renewal too."""
    override = f"{DEPLOY_DIR}/nginx/override.conf"

    def marked() -> str:
        found = re.search(r"x-mine: (\S+)", deployed.curl("/v2/", "-I", *login).lower())
        return found[1] if found else ""

    login = ("--retry", "9", "--retry-all-errors", "-u", f"{USER}:{PASSWORD}")
    deployed.server(f"echo 'add_header X-Mine one;' >{override}")
    assert "nginx reloaded" in deployed.fab("up").stdout
    assert marked() == "one"

    try:
        deployed.server(f"echo 'no_such_directive;' >{override}")
        failed = deployed.fab("up", ok=False)
        assert failed.returncode == 1
        assert 'unknown directive "no_such_directive" in nginx/override.conf:1' in failed.stderr
        assert marked() == "one"
        deployed.server(f"docker restart {PROJECT}-nginx-1")
        assert marked() == "one"
        # A certificate is renewed and served in spite of it.
        serial = deployed.serial()
        deployed.fab("init-letsencrypt", "--force")
        assert deployed.serial() != serial
        assert marked() == "one"
    finally:
        deployed.server(f"rm {override}")
    deployed.fab("up")
    assert marked() == ""


@pytest.mark.long
def test_a_start_file_that_prints_something_disturbs_nothing(deployed: World) -> None:
    deployed.server(
        "cp -a /root/.bashrc /root/kept 2>/dev/null; "
        "sed -i '1i echo Welcome' /root/.bashrc || echo 'echo Welcome' >/root/.bashrc"
    )
    try:
        for task in ("check", "sync", "up", "status", "push-test"):
            deployed.fab(task)
    finally:
        deployed.server("rm -f /root/.bashrc; mv /root/kept /root/.bashrc 2>/dev/null; true")


def test_the_registry_is_found_again_after_it_was_replaced(deployed: World) -> None:
    """D3: another container, nginx untouched; within 5 seconds."""
    workers = f"pgrep -P {deployed.nginx_pid()}"
    before = deployed.server(workers)
    deployed.server(
        f"docker rm -f {PROJECT}-registry-1 >/dev/null; "
        f"cd {DEPLOY_DIR} && docker compose -p {PROJECT} up -d registry 2>&1"
    )
    wait_until(lambda: deployed.login(USER, PASSWORD) == 200, "it is served again", 5)
    assert deployed.server(workers) == before


def test_a_container_that_does_not_start_is_named_with_its_reason(deployed: World) -> None:
    file = f"{DEPLOY_DIR}/compose.yml"
    deployed.server(f"cp -p {file} /tmp/compose.yml; sed -i s,/auth.yml,/nothing.yml, {file}")
    try:
        told = deployed.fab("up", ok=False)
    finally:
        deployed.server(f"mv /tmp/compose.yml {file}")
    assert told.returncode == 1
    assert re.search(
        rf"container {PROJECT}-auth-\d+ does not start: configuration error: open .*; what ran before goes on",
        told.stderr,
    )
    assert deployed.login(USER, PASSWORD) == 200
    assert "nothing to change" in deployed.fab("up").stdout
    # At once, though Docker itself has not looked yet.
    status = json.loads(deployed.fab("status", "--json").stdout)
    assert {row["health"] for row in status["containers"]} == {"healthy"}


def test_containers_have_no_more_than_they_need(deployed: World) -> None:
    needs = {
        "registry": (None, "61100:61102"),
        "auth": (None, "61101:61102"),
        "nginx": (["CHOWN", "NET_BIND_SERVICE", "SETGID", "SETUID"], "0:0"),
    }
    names = [f"{PROJECT}-{service}-1" for service in needs]
    found = dict(zip(needs, json.loads(deployed.server(f"docker inspect {' '.join(names)}")), strict=True))
    for service, (capabilities, user) in needs.items():
        each = found[service]
        limits = each["HostConfig"]
        assert limits["CapDrop"] == ["ALL"]
        added = [name.removeprefix("CAP_") for name in limits["CapAdd"] or ()]
        assert added == (capabilities or [])
        assert limits["SecurityOpt"] == ["no-new-privileges:true"]
        assert limits["ReadonlyRootfs"]
        assert not limits["Privileged"]
        assert limits["PidsLimit"] == 256
        assert 0 < limits["Memory"] <= 4 << 30
        assert limits["MemorySwap"] == limits["Memory"]
        assert each["Config"]["User"] == user
        mounts = [mount.get("Source", "") for mount in each["Mounts"]]
        assert all(source.startswith((f"{DEPLOY_DIR}/", f"{OUTSIDE}/")) for source in mounts)
        written = {mount["Source"] for mount in each["Mounts"] if mount["RW"]}
        assert written == {
            "registry": {f"{DEPLOY_DIR}/registry/data", f"{DEPLOY_DIR}/registry/sockets/registry"},
            "auth": {f"{DEPLOY_DIR}/registry/sockets/auth"},
            "nginx": {f"{DEPLOY_DIR}/{USES}"},
        }.get(service, set())
    for service in ("registry", "auth"):
        assert found[service]["HostConfig"]["NetworkMode"] == "none"
        assert not found[service]["HostConfig"]["PortBindings"]
        variables = {text.partition("=")[0] for text in found[service]["Config"]["Env"]}
        assert variables <= {"OTEL_TRACES_EXPORTER", "PATH"}
        addresses = deployed.server(f"docker exec {PROJECT}-{service}-1 cat /proc/net/fib_trie")
        assert set(re.findall(r"\d+(?:\.\d+){3}", addresses)) <= NOWHERE
    assert set(found["nginx"]["NetworkSettings"]["Networks"]) == {f"{PROJECT}_outside"}
    assert set(found["nginx"]["HostConfig"]["PortBindings"]) == {"80/tcp", "443/tcp"}
    # Nothing in its container but its memory can be written.
    workers = deployed.server(f"docker top {PROJECT}-nginx-1 -o pid,uid,args | awk '/worker process/ {{print $2}}'")
    assert set(workers.split()) == {"61102"}


def test_nobody_else_on_the_server_reaches_the_sockets(deployed: World) -> None:
    """Behind them nobody is asked for a password."""
    for socket in ("registry/registry.sock", "auth/auth.sock"):
        path = f"{DEPLOY_DIR}/registry/sockets/{socket}"
        asked = f"curl -sS --unix-socket {path} http://x/v2/"
        refused = deployed.server(f"su -s /bin/sh nobody -c '{asked}' 2>&1; echo status $?")
        assert not refused.strip().endswith("status 0")
        assert deployed.server(f"{asked} -o /dev/null -w '%{{http_code}}'") in ("200", "401")


def test_nothing_secret_is_readable_by_others(deployed: World) -> None:
    readable = deployed.server(
        f"cd {DEPLOY_DIR} && find . -type f -perm /077 ! -path './registry/data/*' | "
        "xargs grep -lE -e 'BEGIN .*PRIVATE KEY' -e '[$]2y[$]' "
        '-e "$(cat registry/secrets/http-secret)" -e "$(cat registry/secrets/page-secret)"',
        check=False,
    )
    assert set(readable.split()) <= {"./fabfile/accounts/onhost/accounts_file.py"}
