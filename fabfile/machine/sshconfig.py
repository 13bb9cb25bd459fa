"""~/.ssh/config with what its Include lines name, which paramiko passes over (ssh_config(5))."""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

LINE = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*$")
SYSTEM = Path("/etc/ssh")
# As deep as ssh itself goes (readconf.c, READCONF_MAX_DEPTH).
DEEPEST = 16


def whole(path: Path, depth: int = 0) -> str:
    """The text of a file of ssh's configuration, with the files that it includes in their places.

    What a file includes for one host is for that host alone: a section in there for another one is left out.
    """
    section, lines = "Host *", []
    for line in path.read_text("utf-8", "replace").splitlines():
        found = LINE.match(line)
        word = found[1].lower() if found else ""
        if word in ("host", "match"):
            section = line
        if found and word == "include":
            for file in _named(found[2], path) if depth < DEEPEST else ():
                text = whole(file, depth + 1)
                lines += [
                    text if re.fullmatch(r"\s*host[\s=]+\*\s*", section, re.I) else _before_sections(text),
                    section,
                ]
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _named(text: str, by: Path) -> Iterator[Path]:
    """The files that a line of `by` names, in the order of their names."""
    try:
        patterns = shlex.split(text)
    except ValueError:
        return
    base = SYSTEM if SYSTEM in by.resolve().parents else Path("~/.ssh").expanduser()
    for pattern in patterns:
        for name in sorted(glob.glob(str(base / Path(pattern).expanduser()))):  # noqa: PTH207 - it may be absolute
            if Path(name).is_file():
                yield Path(name)


def _before_sections(text: str) -> str:
    return re.split(r"(?im)^\s*(?:host|match)\b", text, maxsplit=1)[0]
