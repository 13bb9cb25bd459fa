"""What Docker says, and what it means."""

from __future__ import annotations

import re

from ...machine.onhost.atomic import RefusedError, told_remedy

# What Docker needs room for at each command in a container (containerd's go-runc, exec).
SCRATCH = re.compile(r"OCI runtime .*?(?:write|open) (\S+)/runc-process\S*: (.+?)(?:: unknown)?$", re.M)
TELLING = re.compile(r"\[emerg\]|\b[Ee]rror\b|level=fatal|^panic:")


def full(text: str) -> RefusedError | None:
    """Where Docker says that it has no room for its own files: nothing else is wrong then."""
    if found := SCRATCH.search(text):
        return RefusedError(
            f"Docker cannot write to {found[1]} of the server: {found[2]}",
            f"on the server: df -h {found[1]}; df -i {found[1]}; make room there, then run this again",
        )
    return None


def cannot_ask(text: str) -> RefusedError | None:
    """Where no command can be run in a container, as a disk is full or may not be written."""
    if error := full(text):
        return error
    remedy = told_remedy(text)
    return RefusedError(f"docker exec: {telling(text)}", remedy) if remedy else None


def telling(text: str) -> str:
    """The line that says what is wrong, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    disk = [line for line in lines if told_remedy(line)]
    return (disk or [line for line in lines if TELLING.search(line)] or lines[-1:])[0]
