"""What a person sees on a real terminal of 80 and of 40 columns."""

from __future__ import annotations

import os
import re

import pexpect
import pytest

from tests.sandbox.demo import fab

from .world import World, first


def shown(world: World, columns: int, *args: str, **environment: str) -> str:
    """What a command writes on a terminal of that many columns."""
    program, *words = [*fab(world.sandbox, world.settings), *args]
    terminal = pexpect.spawn(
        program, words, env={**os.environ, **environment}, encoding="utf-8", dimensions=(24, columns), timeout=300
    )
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert "Traceback" not in (terminal.before or "")
    return str(terminal.before).replace("\r\n", "\n")


# How long ago something was: seconds in one run may be minutes in the next.
AGES = {"s", "min", "h", "d", "ago", "just", "now"}


def plain(words: set[str]) -> set[str]:
    """Without what differs from one run to the next."""
    return {word for word in words - AGES if not re.search(r"\d", word)}


@pytest.mark.parametrize("columns", first([40, 80]))
@pytest.mark.parametrize(
    "command", [["check"], ["status"], ["push-test", "--verbose"], ["htpasswd", "--list"], ["chek"]]
)
def test_lines_break_between_words_and_hang(deployed: World, columns: int, command: list[str]) -> None:
    done = deployed.fab(*command, ok=None)
    narrow = shown(deployed, columns, *command, NO_COLOR="1")
    piped = set((done.stdout + done.stderr).split())
    # No word was cut in two; what is only in the wide table are heads of columns.
    assert plain(set(narrow.split())) <= piped | {"->"}
    for line in narrow.splitlines():
        words = line.split()
        assert len(line) <= columns or len(words) == 1 or "./fab" in line, line


def test_on_a_terminal_the_last_line_of_a_step_is_all_that_stays(deployed: World) -> None:
    """Spinner and colours are for the terminal; the words are the same as elsewhere."""
    output = shown(deployed, 80, "push-test", TERM="xterm-256color")
    assert "\x1b[32mok\x1b[0m" in output
    assert re.search(r"strangers refused, sha256:[0-9a-f]{12} pushed,\n +pulled, equal, deleted\n$", output)
