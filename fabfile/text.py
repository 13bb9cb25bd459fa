"""Text of others, so that it can do nothing to a terminal or a log: a server, a client, a stranger wrote it."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from typing import Any, TextIO

# C0 but for tab and line break, DEL, C1; what turns the direction of writing or ends a line (Unicode);
# and halves of pairs, which stand for bytes that are no text, and cannot be written out.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


# What people copy as it stands: a command of ours with its first words, one of ssh's, what stands in backticks.
WHOLE = re.compile(
    r"`[^`]+`|\./(?:fab|inv)(?: -\S+(?: [^-\s]\S*)?)*(?: [a-z][a-z-]*)?(?: --?[a-z-]+(?: [A-Z]+)?)*"
    r"|\bssh(?:-\w+)*(?: -[A-Za-z] \S+)+(?: \S+@\S+)?|\bssh(?:-\w+)* \S+@\S+"
)


def columns(stream: TextIO) -> int:
    """How wide the terminal is; where it is none nothing is wrapped, and this is beyond any line."""
    # Not by COLUMNS, which may be that of another terminal.
    return (os.get_terminal_size(stream.fileno()).columns or 80) if stream.isatty() else sys.maxsize


def wrapped(text: str, width: int, hang: int, start: int = 0) -> str:
    """Lines of at most `width` columns, broken between words; all but the first are indented by `hang`.

    start: columns that stand before the first one. A longer word, a path or a digest, stays whole, and so does a
    command that a person may want to copy: no line break gets into it.
    """
    glued = WHOLE.sub(lambda found: found[0].replace(" ", "\0"), text)
    # What stands before is a word like any other: where nothing fits behind it, the text begins on the next line.
    before = "\1" * (start - 1) + " " if start else ""
    lines = textwrap.wrap(
        before + glued, max(width, hang + 10), subsequent_indent=" " * hang, break_long_words=False,
        break_on_hyphens=False, expand_tabs=False, replace_whitespace=False,
    )  # fmt: skip
    return "\n".join([lines[0][start:], *lines[1:]]).replace("\0", " ") if lines else text


def printable(text: str) -> str:
    r"""The text with every control character but tab and line break in a form that shows: `\x1b`."""
    return CONTROL.sub(_shown, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The same as one line, for where a tab or a line break would begin something new."""
    return " ".join(printable(text).split())


def counted(number: int, word: str) -> str:
    """How many of something: `1 tag`, `2 repositories`."""
    if number != 1:
        word = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    return f"{number} {word}"


def beginning(text: str, limit: int = 100) -> str:
    """What a terminal can show of it in one line, and no more than so many characters."""
    found = printable(text).replace("\n", "\\n")
    return found if len(found) <= limit else f"{found[:limit]}…"


def cleaned(answer: Any) -> Any:
    """What JSON can carry, every text in it printable."""
    if isinstance(answer, str):
        return printable(answer)
    if isinstance(answer, dict):
        return {cleaned(key): cleaned(value) for key, value in answer.items()}
    if isinstance(answer, (list, tuple)):
        return [cleaned(each) for each in answer]
    return answer


def _shown(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
