"""Text of others, so that it can do nothing to a terminal or a log: a server, a client, a stranger wrote it."""

from __future__ import annotations

import re
from typing import Any

# C0 but for tab and line break, DEL, C1; what turns the direction of writing or ends a line (Unicode);
# and halves of pairs, which stand for bytes that are no text, and cannot be written out.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with every control character but tab and line break in a form that shows: `\x1b`."""
    return CONTROL.sub(_shown, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The same as one line, for where a tab or a line break would begin something new."""
    return " ".join(printable(text).split())


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
