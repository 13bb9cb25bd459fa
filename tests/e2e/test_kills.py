"""C5: `bootstrap` is broken off inside each step. The next one goes on, and no order is made twice."""

from __future__ import annotations

import signal
import subprocess

import pytest

from fabfile.steps import bootstrap
from tests.sandbox.demo import fab

from .test_certificate_faults import PROXY
from .test_certificates import A, B
from .world import PASSWORD, USER, World, first, wait_until

SIGNS = {
    "check": "sh -s -- /docker-registry",
    "up": "compose",
    "init-letsencrypt": "certonly",
    "push-test": "push-test-",
}

# Looks on the server itself, as a look from here takes longer than the shortest step.
AT_WORK = """
end=$(($(date +%s) + 60))
until { ps -eo args | grep -v grep; cat /docker-registry/registry/auth/htpasswd; } | grep -q -- "$1"; do
    [ "$(date +%s)" -lt "$end" ] || exit 1
    sleep 0.02
done
"""


def steps() -> list[str]:
    """The names of bootstrap's steps in their order, from the list itself: a new one is covered too."""
    return list(bootstrap.STEPS)


# With IMAGES=pull there is nothing to ship; a cut in that is in test_bare.py.
INTERRUPTED = [name for name in steps() if name != "ship"]


def test_the_steps_are_known() -> None:
    assert steps() == [
        "check",
        "provision",
        "sync",
        "htpasswd",
        "ship",
        "up",
        "init-letsencrypt",
        "schedule",
        "push-test",
    ]


def broken_off(world: World, running: subprocess.Popen[str], how: str) -> None:
    """End a command. kill: our program; cut: sshd's processes for it."""
    if how == "kill":
        running.send_signal(signal.SIGKILL)
        running.communicate(timeout=60)
        assert running.returncode == -signal.SIGKILL
        return
    errors = world.cut(running)
    assert "run the same command again" in errors
    assert "Traceback" not in errors


def bootstrapping(world: World) -> subprocess.Popen[str]:
    argv = [*fab(world.sandbox, world.settings), "bootstrap"]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", first(["kill", "cut"]))
def test_broken_off_inside_each_step(clean: World, how: str) -> None:
    """Each time in the step that the one before did not come to, so each run has to go on."""
    for number, name in enumerate(INTERRUPTED):
        with bootstrapping(clean) as running:
            assert running.stdout is not None
            ended = 0
            while ended < number:
                line = running.stdout.readline()
                assert line, f"it ended before {name}"
                ended += line.startswith(("ok", "same"))
            # The long steps are broken off when they are at work on the server, the short ones at once.
            if name in SIGNS:
                clean.server(AT_WORK, SIGNS[name])
            broken_off(clean, running, how)
    clean.bootstrap()
    assert clean.certificates() == 1
    assert clean.login(USER, PASSWORD) == 200


@pytest.mark.long
@pytest.mark.parametrize("how", first(["kill", "cut"]))
def test_broken_off_in_a_running_order(clean: World, how: str) -> None:
    """The authority has the order and has not answered: certbot ends it without us, and it stays the only one."""
    sandbox = clean.sandbox
    sandbox.fault("delay", seconds=4, path="/order-plz")
    sandbox.clear_acme_log()
    clean.configure(ACME_SERVER=PROXY)
    with bootstrapping(clean) as running:
        wait_until(lambda: sandbox.orders() == 1, "the order is made", 60)
        broken_off(clean, running, how)
    sandbox.fault(None)
    assert sandbox.issued() == 0
    clean.bootstrap(ACME_SERVER=PROXY)
    assert (sandbox.orders(), sandbox.issued(), clean.certificates()) == (1, 1, 1)
    assert clean.login(USER, PASSWORD) == 200


@pytest.mark.long
def test_killed_while_switching_orders_once(clean: World) -> None:
    """C11 with C5: certbot goes on without us, and the next run waits for what it brings."""
    clean.bootstrap(ACME_SERVER=A)
    clean.configure(ACME_SERVER=B)
    clean.fab("sync", "up")
    argv = [*fab(clean.sandbox, clean.settings), "init-letsencrypt"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as running:
        wait_until(lambda: "certonly" in clean.server("ps -eo args"), "certbot is at work", 30)
        running.send_signal(signal.SIGKILL)
    clean.fab("init-letsencrypt")
    assert clean.certificates() == 2
    assert "nothing to order" in clean.fab("init-letsencrypt").stdout
