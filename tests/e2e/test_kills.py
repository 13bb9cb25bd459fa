"""C5: `bootstrap` is killed inside each step. The next one goes on, and no order is made twice."""

from __future__ import annotations

import ast
import inspect
import signal
import subprocess
import textwrap

import pytest

import fabfile
from tests.sandbox.demo import fab

from .world import PASSWORD, USER, World, wait_until


def steps() -> list[str]:
    """The names of bootstrap's steps in their order, read from its source: a new one is covered too."""
    source = textwrap.dedent(inspect.getsource(fabfile.bootstrap.body))
    modules = {"preflight": "check", "accounts": "htpasswd", "smoke": "push-test"}
    names = []
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            if node.func.value.id == "report" and isinstance(node.args[0], ast.Constant):
                names.append((node.lineno, str(node.args[0].value)))
            elif node.func.value.id in modules:
                names.append((node.lineno, modules[node.func.value.id]))
    return [name for _, name in sorted(set(names)) if name != "bootstrap"]


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
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(PASSWORD + "\n")
        running.stdin.close()
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
