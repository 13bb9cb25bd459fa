"""Commands that run on while we talk with them, line by line; they end with the connection."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from io import BufferedReader
from typing import Protocol, TextIO, cast

from ..text import printable

# Comes before what a command on a server prints: the login shell's start files may print too.
MARK = "\x1e"
BLOCK = 1 << 18


def ours(text: str) -> str:
    """What comes behind the first mark. A later one is part of it: a stranger may write one into a log."""
    return text[text.find(MARK) + 1 :]


@dataclass(frozen=True)
class End:
    """How a command ended.

    said: its last words, printable; status: its exit status, negative where none came; began: whether the
    command was run at all, and not something of the login shell's in its place.
    """

    said: str
    status: int
    began: bool = True


def last_line(*texts: str) -> str:
    """The last line of the first of these texts that has one, printable; '' for none."""
    for text in texts:
        if lines := printable(text).strip().splitlines():
            return lines[-1].strip()
    return ""


class Conversation(Protocol):
    """A command that runs on while we talk with it, line by line; it ends with the connection."""

    def send(self, line: str) -> None:
        """Give it a line on its standard input."""

    def receive(self) -> str:
        """The next line that it prints, printable, without the line break; '' when it has ended."""

    def read(self) -> bytes:
        """The next bytes that it prints, as they are; b'' when it has ended. Instead of `receive`, from the start."""

    def write(self, data: bytes) -> None:
        """Give it bytes on its standard input."""

    def finish(self) -> None:
        """Close its standard input."""

    def close(self) -> None:
        """Close its standard input and wait until it has ended."""

    def ended(self) -> End:
        """Close its standard input, wait until it has ended, and tell how."""


class LocalConversation:
    """A command on this machine: see Conversation."""

    def __init__(self, command: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace"
        )
        self._input = cast("TextIO", self._process.stdin)
        self._output = cast("TextIO", self._process.stdout)

    def send(self, line: str) -> None:
        """Give it a line."""
        self._input.write(f"{line}\n")
        self._input.flush()

    def receive(self) -> str:
        """Its next line, '' at the end."""
        return printable(self._output.readline()).rstrip("\n")

    def read(self) -> bytes:
        """Its next bytes, b'' at the end."""
        return cast("BufferedReader", self._output.buffer).read1(BLOCK)

    def write(self, data: bytes) -> None:
        """Give it bytes."""
        self._input.buffer.write(data)
        self._input.buffer.flush()

    def finish(self) -> None:
        """End its input."""
        self._input.close()

    def close(self) -> None:
        """End its input and wait for it."""
        sys.stderr.write(printable(self._process.communicate()[1]))

    def ended(self) -> End:
        """End its input, wait for it, and tell how it ended."""
        out, err = self._process.communicate()
        return End(last_line(err, out), self._process.returncode)
