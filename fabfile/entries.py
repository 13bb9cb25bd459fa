"""A file of settings as it stands: its keys, values and lines. What they may be, settings.py and rules.py say."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

from .errors import UsageError
from .text import beginning


def raw(path: Path) -> dict[str, str]:
    """The values of a file as they stand, unchecked, up to the first line that cannot be read."""
    values: dict[str, str] = {}
    with contextlib.suppress(UsageError):
        for _, key, value in entries(path):
            values[key] = value
    return values


def schema_of(path: Path) -> dict[str, tuple[int, str | None]]:
    """Key -> (line in the schema, default or None where the key is mandatory)."""
    known: dict[str, tuple[int, str | None]] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if match := re.fullmatch(r"(#?)([A-Z0-9_]+)=(.*)", line):
            known[match[2]] = (number, match[3] if match[1] else None)
    return known


def as_text(value: object) -> str:
    """A value as it stands in a file of settings: several, such as servers, with spaces between."""
    return " ".join(value) if isinstance(value, tuple) else str(value)


def entries(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, key, value) of each setting. Nothing is expanded, nothing is executed."""
    # Not above: `invoke --list` works without it.
    from dotenv.parser import parse_stream

    try:
        # The signature (BOM) that Windows editors put first is not part of the first key.
        text = path.read_bytes().decode("utf-8-sig")
        if (place := text.find("\0")) >= 0:
            line = text[:place].count("\n") + 1
            raise UsageError(f"{path}:{line}: not UTF-8 text, there is a NUL in it", "save the file as UTF-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "run it as a user who may read it") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}:{line}: not UTF-8 text", "save the file as UTF-8") from None
    for binding in parse_stream(io.StringIO(text.replace("\r\n", "\n"), newline="")):
        text = binding.original.string
        line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        if binding.error or (binding.key is not None and binding.value is None):
            shown = beginning(text.strip().splitlines()[0])
            raise UsageError(f"{path}:{line}: cannot read '{shown}'", "expected KEY=value")
        if binding.key is not None:
            yield line, binding.key, binding.value or ""
