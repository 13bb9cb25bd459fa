"""C5: `bootstrap` is killed inside each step. The next one goes on, and no order is made twice."""

from __future__ import annotations

import signal
import subprocess

import pytest

from fabfile import chain
from tests.sandbox.demo import fab

from .world import PASSWORD, USER, World, wait_until


def steps() -> list[str]:
    """The names of bootstrap's steps in their order, from the list itself: a new one is covered too."""
    return list(chain.steps([]))


def test_the_steps_are_known() -> None:
    assert steps() == [
        "check",
        "sync",
        "htpasswd",
        "up",
        "init-letsencrypt",
        "schedule",
        "push-test",
    ]


@pytest.mark.parametrize("number", range(len(steps())), ids=steps())
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
        # Its process or its account on the server is the sign that the step has begun.
        begun = "ps -eo args | grep -F 'python3 -I -B' | grep -v grep; cat /docker-registry/registry/auth/htpasswd"
        sign = "push-test-" if steps()[number] == "push-test" else "python3 -I -B"
        wait_until(
            lambda: number == 0 or sign in clean.server(begun, check=False),
            "the step is at work",
            20,
        )
        running.send_signal(signal.SIGKILL)
    clean.bootstrap()
    assert clean.certificates() == 1
    assert clean.login(USER, PASSWORD) == 200
