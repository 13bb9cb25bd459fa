"""`move`: a registry goes to another server, and back, while people push and pull."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.sandbox.demo import DOMAIN, fab

from .history import Client
from .people import load
from .second import Second
from .test_care import push_image
from .world import DEPLOY_DIR, PASSWORD, PROJECT, USER, World, wait_until

LOGIN = f"{USER}:{PASSWORD}"
TO = "root@second"
FLAG = f"{DEPLOY_DIR}/nginx/full/moving.json"
STORE = f"{DEPLOY_DIR}/registry/data/docker/registry/v2"


@pytest.fixture
def second(deployed: World) -> Iterator[Second]:
    found = Second(deployed)
    found.start()
    yield found
    found.stop()
    # It has been another one's relay.
    deployed.clean()


def blob(digest: str) -> str:
    name = digest.partition(":")[2]
    return f"{STORE}/blobs/sha256/{name[:2]}/{name}/data"


@pytest.mark.long
def test_a_registry_moves(deployed: World, second: Second) -> None:
    """D17. All goes along, and the old server hands people over, after a restart too. Nothing is ordered."""
    push_image(deployed, "kept/app", b"a layer that somebody needs")
    serial = deployed.serial()
    deployed.sandbox.clear_acme_log()
    print(deployed.fab("move", "--to", TO).stdout)
    client = Client(deployed, LOGIN)
    assert client.pull("kept/app", "1") == ""
    assert deployed.serial() == serial
    deployed.server(f"docker restart {PROJECT}-nginx-1 {PROJECT}-registry-1 {PROJECT}-auth-1")
    wait_until(lambda: deployed.login(USER, PASSWORD) == 200, "the old server hands people over again")
    _, layer = push_image(deployed, "moved/app", b"pushed through the old one")
    assert second.shell(f"cat {blob(layer)}") == "pushed through the old one"
    assert deployed.server(f"ls {blob(layer)}", check=False) == ""
    assert "has moved to root@second" in deployed.fab("up", ok=False).stderr
    assert deployed.server(f"ls /etc/cron.d/{PROJECT}", check=False) == ""
    assert second.shell("cat /root/.ssh/authorized_keys").count("\n") == 1
    assert deployed.server("cat /root/.ssh/authorized_keys").count("\n") == 1
    assert second.shell(f"ls /etc/cron.d/{PROJECT}") != ""
    assert re.search("warn +moved +to root@second", deployed.fab("status", ok=None).stdout)
    assert deployed.sandbox.orders() == 0


@pytest.mark.long
def test_it_comes_back_and_goes_again_and_the_old_one_ends(deployed: World, second: Second) -> None:
    """What was pushed on either of them is on the other one, what was deleted is not, and `--done` looks at DNS."""
    gone, _ = push_image(deployed, "kept/gone", b"a layer that nobody needs")
    deployed.fab("move", "--to", TO)
    _, layer = push_image(deployed, "moved/app", b"pushed through the old one")
    assert deployed.status(f"/v2/kept/gone/manifests/{gone}", "-X", "DELETE", "-u", LOGIN) == 202
    print(deployed.fab("move", "--back").stdout)
    client = Client(deployed, LOGIN)
    assert client.pull("moved/app", "1") == ""
    assert client.pull("kept/gone", "1") == "gone"
    assert deployed.server(f"cat {blob(layer)}") == "pushed through the old one"
    _, layer = push_image(deployed, "back/app", b"pushed at home again")
    assert deployed.server(f"cat {blob(layer)}") == "pushed at home again"
    assert deployed.server(f"ls /etc/cron.d/{PROJECT}") != ""
    assert "nothing to take back" in deployed.fab("move", "--back").stdout

    # Nothing leads from one to the other: it goes through the operator's machine.
    deployed.server("echo 'AuthorizedKeysFile /etc/ssh/nobody' >/etc/ssh/sshd_config.d/move.conf")
    print(deployed.fab("move", "--to", TO).stdout)
    assert second.shell(f"cat {blob(layer)}") == "pushed at home again"
    refused = deployed.fab("move", "--done", ok=False)
    print(refused.stderr)
    deployed.fab("down")
    assert deployed.status("/v2/") == 0
    assert "has moved to root@second" in deployed.fab("bootstrap", ok=False).stderr


def test_nothing_changes_while_it_moves(deployed: World) -> None:
    """Each door says why; pulls go on, and `push-test` may prove it. Nothing is reloaded."""
    manifest, layer = push_image(deployed, "kept/app", b"a layer that somebody needs")
    begun = deployed.begin_upload("kept/app", "-u", LOGIN)
    answer = '{"errors":[{"code":"DENIED","message":"the registry is moving to another server"}]}'
    deployed.server('printf %s "$1" >"$2"; chmod 644 "$2"', answer, FLAG)
    try:
        for method, path in (
            ("POST", "/v2/kept/app/blobs/uploads/"),
            ("POST", f"/v2/other/app/blobs/uploads/?mount={layer}&from=kept/app"),
            ("PATCH", begun),
            ("PUT", f"{begun}&digest={layer}"),
            ("PUT", "/v2/kept/app/manifests/2"),
            ("DELETE", f"/v2/kept/app/manifests/{manifest}"),
            ("DELETE", f"/v2/kept/app/blobs/{layer}"),
        ):
            said = deployed.curl(path, "-X", method, "-u", LOGIN, "-w", " %{http_code}")
            assert "is moving to another server" in said, (method, path, said)
            assert said.endswith(" 403"), (method, path, said)
        assert deployed.status("/v2/kept/app/blobs/uploads/", "-X", "POST") == 401
        assert Client(deployed, LOGIN).pull("kept/app", "1") == ""
        deployed.fab("push-test")
    finally:
        deployed.server(f"rm {FLAG}")
    push_image(deployed, "kept/app", b"another layer", tag="2")


def test_the_same_server_is_refused(deployed: World) -> None:
    refused = deployed.fab("move", "--to", "root@server", ok=False)
    assert "that is the same server" in refused.stderr
    assert deployed.login(USER, PASSWORD) == 200


@pytest.mark.long
def test_nobody_who_pulls_notices(deployed: World, second: Second) -> None:
    """No pull fails, pushes are refused for seconds, and each that was acknowledged is there."""
    deployed.sandbox.clear_acme_log()
    with load(deployed) as seen:
        wait_until(lambda: len(seen.pushes) > 3, "the first pushes", 120)
        said = deployed.fab("move", "--to", TO).stdout
        count = len(seen.pushes)
        wait_until(lambda: len(seen.pushes) > count + 3, "pushes after it", 120)
    print(said)
    window = re.search(r"pushes were refused for ([\d.]+) s", said)
    assert window
    print(
        f"{seen.pulls} pulls, {len(seen.failed)} failed; {len(seen.pushes)} pushes, {len(seen.refused)} refused; "
        f"refused for {window[1]} s; {deployed.sandbox.orders()} orders"
    )
    for when, text in seen.refused:
        print(f"refused at {when:.1f}: {text.strip().splitlines()[-1][:200]}")
    assert seen.failed == []
    assert deployed.sandbox.orders() == 0
    client = Client(deployed, LOGIN)
    for name in seen.pushes:
        repository, _, tag = name.partition(":")
        assert client.pull(f"load/{repository}", tag) == "", name
    assert second.shell(f"ls {STORE}/repositories/load") == "docker\nkept\nskopeo\n"


def moving(world: World) -> subprocess.Popen[str]:
    argv = [*fab(world.sandbox, world.settings), "move", "--to", TO]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# Where the command is killed: a step that has just ended, or what has just come or gone on one of the servers.
MOMENTS = (
    "after check", "after sync", "after copy", "after up", "after push-test",
    f"server test -e {FLAG}", f"server test -e {DEPLOY_DIR}/.moved", f"second test ! -e {FLAG}", "after schedule",
)  # fmt: skip


@pytest.mark.long
def test_killed_at_each_step_a_rerun_converges(deployed: World, second: Second) -> None:
    """D16. Each run gets further than the one before; pulls go on, and never do both servers take pushes."""
    _, layer = push_image(deployed, "kept/app", b"a layer that somebody needs")
    client = Client(deployed, LOGIN)
    for moment in MOMENTS:
        running = moving(deployed)
        assert running.stdout is not None
        where, _, what = moment.partition(" ")
        if where == "after":
            for line in running.stdout:
                if f" s  {what} " in line:
                    break
        else:
            # Looked for on the server itself: a look from here takes too long.
            script = f"until {what}; do sleep 0.02; done"
            (deployed.server if where == "server" else second.shell)(f"timeout 120 sh -c '{script}'")
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=60)
        assert client.pull("kept/app", "1") == "", moment
        takes = [takes_pushes(deployed, deployed.sandbox.port(443)), takes_pushes(deployed, second.port(443))]
        old = deployed.server(f"cat {DEPLOY_DIR}/.moved 2>/dev/null | head -n 1", check=False).strip()
        print(f"killed: {moment}: pushes are taken through the old one: {takes[0]}, by the new one: {takes[1]}; {old}")
        # Through the old one that is the new one's answer, once it hands people over.
        assert takes != [True, True] or old == TO, moment
    done = deployed.fab("move", "--to", TO)
    print(done.stdout)
    assert second.shell(f"cat {blob(layer)}") == "a layer that somebody needs"
    push_image(deployed, "moved/app", b"pushed through the old one")
    assert "moved" not in deployed.server(f"ls {STORE}/repositories")


def takes_pushes(world: World, port: int) -> bool:
    """Whether a push may begin at that port of this machine."""
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "30", "--cacert", str(world.sandbox.directory / "ca.pem"), "--resolve",
         f"{DOMAIN}:{port}:127.0.0.1", "-u", LOGIN, "-X", "POST", "-o", "/dev/null", "-w", "%{http_code}",
         f"https://{DOMAIN}:{port}/v2/probe/app/blobs/uploads/"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout == "202"
