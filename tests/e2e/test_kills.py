"""C5: `bootstrap` is killed inside each step. The next one goes on, and no order is made twice."""

from __future__ import annotations

import signal
import subprocess

import pytest

from fabfile import chain
from tests.sandbox.demo import fab

from .test_certificates import A, B
from .world import PASSWORD, USER, World, wait_until

SIGNS = {"up": "compose", "init-letsencrypt": "certonly", "push-test": "push-test-"}

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
    return list(chain.steps([]))


# With IMAGES=pull there is nothing to ship; a cut in it is in test_bare.py.
KILLED = [name for name in steps() if name != "ship"]


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


@pytest.mark.parametrize("number", range(len(KILLED)), ids=KILLED)
def test_killed_inside_a_step(clean: World, number: int) -> None:
    """kill -9 of our program when the step before has just ended, so that this one is at work."""
    argv = [*fab(clean.sandbox, clean.settings), "bootstrap"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        ended = 0
        while ended < number:
            line = running.stdout.readline()
            assert line, f"it ended before step {number}"
            ended += line.startswith(("ok", "same"))
        # The long steps are killed when they are at work on the server, the short ones at once.
        sign = SIGNS.get(KILLED[number])
        if sign:
            clean.server(AT_WORK, sign)
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    clean.bootstrap()
    assert clean.certificates() == 1
    assert clean.login(USER, PASSWORD) == 200


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
