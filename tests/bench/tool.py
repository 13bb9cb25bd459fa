"""How long the tool itself takes: with a server next door, and with one 100 ms away, each way.

The first bootstrap finds Docker and the images there, and nothing else.

What goes through SSH is delayed. What the operator's machine asks by HTTPS, or pushes, is not.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.world import World
from tests.sandbox import SandboxError
from tests.sandbox.commands import ROOT
from tests.sandbox.demo import fab

from .delay import delayed
from .results import Result, summary
from .run import Choice, bootstrapped, keep_results, say, timed

ONE_WAY = 0.1
ROUNDS = 5
ROUNDS_OF_BOOTSTRAP = 3
LAST = "push-test"  # the last step of a bootstrap: it waits for an engine, not for us
TRUE = "from fabric import task\n\n\n@task\ndef true(c):\n    c.run('true')\n"


def bench_tool(choice: Choice) -> list[Result]:
    """The tool's own commands; `fab-true` is what Fabric itself takes to run one `true` over SSH."""
    with bootstrapped(keep=choice.keep) as world:
        command = fab(world.sandbox, world.settings)
        near = world.sandbox.directory / "ssh_config"
        times = choice.rounds or ROUNDS
        found = [
            timed("fab-version", times, lambda: seconds([str(ROOT / "fab"), "--version"])),
            timed("fab-list", times, lambda: seconds([str(ROOT / "fab"), "--list"])),
            *over_ssh(world, command, near, "", choice),
        ]
        keep_results(found, choice.file)
        with far_away(world) as far:
            through = [str(far) if word == str(near) else word for word in command]
            found += over_ssh(world, through, far, "-100ms", choice)
        keep_results(found, choice.file)
    return found


def over_ssh(world: World, command: Sequence[str], config: Path, suffix: str, choice: Choice) -> list[Result]:
    """The commands that go to the server, as that ssh_config leads to it."""
    with tempfile.TemporaryDirectory(prefix="registry-sandbox-") as directory:
        (Path(directory) / "fabfile.py").write_text(TRUE)
        fabric = [str(ROOT / ".venv/bin/fab"), "-r", directory, "--ssh-config", str(config)]
        true = timed(f"fab-true{suffix}", choice.rounds or ROUNDS, true_of([*fabric, "-H", "server", "true"]))
    times = choice.rounds or ROUNDS_OF_BOOTSTRAP
    whole = [*command, "bootstrap"]

    def first() -> float:
        world.clean()
        return bootstrap(whole)[0]

    return [
        true,
        timed(f"bootstrap-first{suffix}", times, first),
        *bootstraps(whole, suffix, times),
    ]


def true_of(argv: Sequence[str]) -> Callable[[], float]:
    return lambda: seconds(argv)


def bootstraps(argv: Sequence[str], suffix: str, times: int) -> list[Result]:
    """A bootstrap that finds everything as it should be: all of it, and up to the push-test."""
    wholes, befores = [], []
    for number in range(times):
        whole, before = bootstrap(argv)
        wholes.append(whole)
        befores.append(before)
        say(f"tool bootstrap-second{suffix} {number + 1}/{times}: {whole:.1f} s, {before:.1f} before {LAST}")
    return [
        summary("tool", f"bootstrap-second{suffix}", "s", wholes),
        summary("tool", f"bootstrap-second-before-{LAST}{suffix}", "s", befores),
    ]


def bootstrap(argv: Sequence[str]) -> tuple[float, float]:
    """Its seconds, and those before the push-test: until the last line that an earlier step prints."""
    before = 0.0
    lines: list[str] = []
    started = time.monotonic()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            lines.append(line)
            if not any(f" {LAST} " in each for each in lines):
                before = time.monotonic() - started
    whole = time.monotonic() - started
    if running.returncode or not any(f" {LAST} " in each for each in lines):
        raise SandboxError(f"bootstrap failed, or had no {LAST}:\n{''.join(lines[-20:])}")
    return whole, before


def seconds(argv: Sequence[str]) -> float:
    """Of a command that must succeed."""
    started = time.monotonic()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SandboxError(f"{' '.join(argv)}: {done.stderr}")
    return time.monotonic() - started


@contextmanager
def far_away(world: World) -> Iterator[Path]:
    """An ssh_config by which the server is farther away."""
    near = world.sandbox.directory
    port = world.sandbox.port(22)
    with (
        delayed(port, ONE_WAY) as other,
        tempfile.TemporaryDirectory(prefix="registry-sandbox-") as name,
    ):
        directory = Path(name)
        known = (near / "known_hosts").read_text().replace(f":{port} ", f":{other} ")
        (directory / "known_hosts").write_text(known)
        config = (near / "ssh_config").read_text().replace(f"Port {port}", f"Port {other}")
        config = config.replace(str(near / "known_hosts"), str(directory / "known_hosts"))
        (directory / "ssh_config").write_text(config)
        yield directory / "ssh_config"
