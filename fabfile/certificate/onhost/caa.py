"""CAA records (RFC 8659): may this certificate authority issue for these names?

The standard library resolves addresses only, so one query is written out here (RFC 1035, 4.1).
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

CAA = 257
# RFC 1035, 4.1.1
TRUNCATED, NO_ERROR, NO_SUCH_NAME = 0x0200, 0, 3
ANSWER_SECONDS = 3


def forbidden(names: list[str], identities: list[str], method: str) -> list[str]:
    """Which names have CAA records that name none of the authority's identities, or not for this method, a line each.

    method: `http-01` or `dns-01`; a record may name those that count (validationmethods, RFC 8657, 4). Without an
    answer nothing is said: the authority looks for itself, and says so without a cost.
    """
    problems = []
    for name in names:
        wildcard = name.startswith("*.")
        try:
            where, records = _closest(name.removeprefix("*."))
        except (OSError, ValueError, IndexError, struct.error):
            # No answer, or one that cannot be read, is no answer: see above.
            continue
        tags = {tag for tag, _ in records}
        tag = "issuewild" if wildcard and "issuewild" in tags else "issue"
        allowed = [_allowed(value) for key, value in records if key == tag]
        ours = [methods for who, methods in allowed if who in {name.lower() for name in identities}]
        if allowed and not ours:
            told = ", ".join(who for who, _ in allowed if who) or "nobody"
            problems.append(f"the CAA record of {where} lets only {told} issue for {name}, not {identities[0]}")
        elif allowed and not any(methods is None or method in methods for methods in ours):
            told = ", ".join(sorted({each for methods in ours for each in methods or () if each})) or "no method"
            problems.append(
                f"the CAA record of {where} lets {identities[0]} issue for {name} by {told} alone, not by {method}"
            )
    return problems


def _allowed(value: str) -> tuple[str, list[str] | None]:
    """Who may issue, and by which methods; None for all of them (RFC 8659, 4.2)."""
    who, *parameters = value.split(";")
    methods: list[str] | None = None
    for parameter in parameters:
        key, _, text = parameter.partition("=")
        if key.strip().lower() == "validationmethods":
            methods = [each.strip().lower() for each in text.split(",")]
    return who.strip().lower(), methods


def _closest(name: str) -> tuple[str, list[tuple[str, str]]]:
    """The nearest name upwards that has CAA records, the top-level one too (RFC 8659, 3), and these as (tag, value)."""
    labels = name.split(".")
    for start in range(len(labels)):
        parent = ".".join(labels[start:])
        if records := _ask(parent):
            return parent, records
    return name, []


def _ask(name: str) -> list[tuple[str, str]]:
    """The CAA records of exactly that name. Raises OSError or ValueError without a clear answer."""
    number = os.urandom(2)
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    query = number + struct.pack(">HHHHH", 0x0100, 1, 0, 0, 0) + question + struct.pack(">HH", CAA, 1)
    for server in _servers():
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as wire:
                wire.settimeout(ANSWER_SECONDS)
                wire.connect((server, 53))
                wire.send(query)
                answer = wire.recv(4096)
        except OSError:
            continue
        if answer[:2] == number:
            return _records(answer)
    raise OSError("no answer")


def _servers() -> list[str]:
    lines = Path("/etc/resolv.conf").read_text("utf-8", "replace").splitlines()
    words = [line.split() for line in lines]
    return [word[1].partition("%")[0] for word in words if word[:1] == ["nameserver"] and word[1:]]


def _records(answer: bytes) -> list[tuple[str, str]]:
    flags, questions, answers = struct.unpack(">HHH", answer[2:8])
    if flags & TRUNCATED or flags & 0xF not in (NO_ERROR, NO_SUCH_NAME):
        raise ValueError("no clear answer")
    place = 12
    for _ in range(questions):
        place = _after_name(answer, place) + 4
    found = []
    for _ in range(answers):
        place = _after_name(answer, place)
        kind, _, _, size = struct.unpack(">HHIH", answer[place : place + 10])
        data = answer[place + 10 : place + 10 + size]
        place += 10 + size
        if kind == CAA and len(data) > 2:
            end = 2 + data[1]
            found.append((data[2:end].decode("ascii", "replace").lower(), data[end:].decode("ascii", "replace")))
    return found


def _after_name(answer: bytes, place: int) -> int:
    """The place behind a name, which may end in a pointer (RFC 1035, 4.1.4)."""
    while answer[place]:
        if answer[place] >= 0xC0:
            return place + 2
        place += answer[place] + 1
    return place + 1
