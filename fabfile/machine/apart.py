"""What several servers have to say at the same time: each line with its server's name in front, those of one together.

Steps print. So while several are at work, standard output and standard error are of this kind.
"""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

from .. import report


class Apart(io.TextIOBase):
    """A stream that knows for which server a thread is at work; whoever works for none writes as ever."""

    def __init__(self, stream: TextIO, guard: threading.Lock, *, colours: bool) -> None:
        self._stream = stream
        self._guard = guard
        self._colours = colours
        self._of = threading.local()

    @contextlib.contextmanager
    def named(self, name: str, *, hold: bool, kept: list[str] | None = None) -> Iterator[None]:
        """In this thread, put that name before each line. hold: until all is written; kept: gets it in its place."""
        self._of.name, self._of.hold, self._of.text = name, hold, ""
        try:
            yield
        finally:
            text, self._of.name = self._of.text, None
            if kept is not None:
                kept.append(text)
            else:
                self._print(name, text)

    def write(self, text: str) -> int:
        """To the stream, or into what is held of this thread."""
        if getattr(self._of, "name", None) is None:
            return self._stream.write(text)
        self._of.text += text
        if not self._of.hold:
            whole, end, rest = self._of.text.rpartition("\n")
            self._of.text = rest
            self._print(self._of.name, whole + end)
        return len(text)

    def flush(self) -> None:
        """The stream."""
        self._stream.flush()

    def _print(self, name: str, text: str) -> None:
        lines = [f"{name}  {self._painted(line)}".rstrip() if line else "" for line in text.splitlines()]
        if lines:
            with self._guard:
                self._stream.write("\n".join([*lines, ""]))
                self._stream.flush()

    def _painted(self, line: str) -> str:
        mark, space, rest = line.partition(" ")
        return report.paint(mark, terminal=self._colours) + space + rest


@contextlib.contextmanager
def apart() -> Iterator[tuple[Apart, Apart]]:
    """Have standard output and standard error be of this kind."""
    guard, colours = threading.Lock(), report.coloured()
    out, err = Apart(sys.stdout, guard, colours=colours), Apart(sys.stderr, guard, colours=colours)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err
