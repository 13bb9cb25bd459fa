"""A command on the server over SSH, which runs on while we talk with it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

from ..text import printable
from .conversation import BLOCK, MARK, End, last_line, ours

if TYPE_CHECKING:
    from fabric import Connection

# Until a login shell has begun our command: its start files may look something up.
BEGIN_SECONDS = 30
END_SECONDS = 10
# How much may be on its way: with paramiko's own 2 MB a far server sends no more than that in each round trip.
WINDOW = 1 << 24


class SshConversation:
    """A command on the server that lives as long as its channel: see conversation.Conversation."""

    def __init__(self, c: Connection, command: str) -> None:
        self._channel = c.transport.open_session(window_size=WINDOW)
        self._channel.exec_command(command)
        self._began = False
        # What came instead of our mark, or before it: a greeting may be in any encoding.
        self._before: list[str] = []
        self._lines = self._channel.makefile("rb")

    def send(self, line: str) -> None:
        """Give it a line."""
        self._channel.sendall(f"{line}\n".encode())

    def receive(self) -> str:
        """Its next line, '' at the end. What the login shell printed before ours is left out."""
        if not self._began:
            self._begin()
            return printable(ours(self._before.pop())).rstrip("\n") if self._began else ""
        return printable(self._readline()).rstrip("\n")

    def _readline(self) -> str:
        return cast("bytes", self._lines.readline()).decode("utf-8", "replace")

    def _begin(self) -> None:
        """Read up to our mark: a shell that waits for something, our input for example, never sends it."""
        self._channel.settimeout(BEGIN_SECONDS)
        with contextlib.suppress(TimeoutError):
            while line := self._readline():
                self._before.append(line)
                if MARK in line:
                    self._began = True
                    break
        self._channel.settimeout(None)

    def read(self) -> bytes:
        """Its next bytes, b'' at the end. What the login shell printed before ours is left out."""
        if self._began:
            return cast("bytes", self._channel.recv(BLOCK))
        self._channel.settimeout(BEGIN_SECONDS)
        found = b""
        with contextlib.suppress(TimeoutError):
            while block := self._channel.recv(BLOCK):
                before, mark, after = (found + block).partition(MARK.encode())
                if mark:
                    self._began = True
                    self._channel.settimeout(None)
                    return after or self.read()
                found = before[-BLOCK:]
        self._channel.settimeout(None)
        self._before.append(found.decode("utf-8", "replace"))
        return b""

    def write(self, data: bytes) -> None:
        """Give it bytes."""
        self._channel.sendall(data)

    def finish(self) -> None:
        """End its input."""
        self._channel.shutdown_write()

    def close(self) -> None:
        """End its input and wait for it."""
        self._channel.shutdown_write()
        # Not for as long as the kernel hopes for a network that is gone.
        self._channel.status_event.wait(END_SECONDS)
        self._channel.close()

    def ended(self) -> End:
        """End its input, wait for it, and tell how it ended."""
        self._channel.shutdown_write()
        self._channel.settimeout(BEGIN_SECONDS)
        out = err = b""
        with contextlib.suppress(TimeoutError):
            out = self._lines.read()
            err = self._channel.makefile_stderr("rb").read()
        self._channel.status_event.wait(END_SECONDS)
        status = self._channel.exit_status
        self._channel.close()
        before = "" if self._began else "".join(self._before)
        return End(
            last_line(err.decode("utf-8", "replace"), before + out.decode("utf-8", "replace")), status, self._began
        )
