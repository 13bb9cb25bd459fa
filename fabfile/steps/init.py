"""`init`: a few questions become `.env`, the server's host key is accepted, and `check` looks at the server."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import report, settings
from ..entries import as_text, raw
from ..errors import StepError, UsageError, address, addressed, option
from ..machine import hostkeys, ssh
from ..report import Outcome
from ..rules import RULES
from . import check

if TYPE_CHECKING:
    from fabric import Connection
    from invoke import Context

DOMAIN, EMAIL, HOSTS, SERVER = "REGISTRY_DOMAIN", "ACME_EMAIL", "HOSTS", "ACME_SERVER"
OPTIONS = {DOMAIN: "--domain", EMAIL: "--email", HOSTS: "--server"}
YES, NO = ("y", "yes"), ("n", "no")


@dataclass(frozen=True)
class Question:
    """What is asked for a setting. usual: the answer that Enter gives, '' for none."""

    key: str
    text: str
    usual: str = ""


def begin(c: Context, fingerprint: str, **given: str) -> None:
    """Write the settings, meet the server, check it. given: key -> what an option says, '' for what to ask.

    See `init` and `meet` for what this raises; StepError where the server is not fit.
    """
    from fabric import Connection

    path = settings.location()
    report.step("init", lambda: init(path, {**given, HOSTS: given[HOSTS] or address(c)}), asks=True)
    checked = settings.load(path)
    servers = settings.hosts(path)
    # What is proposed from here on needs no -H.
    c.config.usual = bool(servers)
    for server in servers or (f"root@{checked.registry_domain}",):
        connection = Connection(server, config=c.config)
        meet(connection, fingerprint)
        check.show(check.check(ssh.remote(connection), checked), as_json=False, option=option(connection))
    print(addressed("\nNext: ./fab -H … bootstrap", option(connection)))


def init(path: Path, given: Mapping[str, str]) -> Outcome:
    """Write the settings to that file of this machine, which only its owner may read; ask for what is not given.

    A file that is there stays as it is, but for an untouched copy of `.env.dist`.
    Raises UsageError for a bad answer without a terminal, and where the file says something else than what is given.
    """
    schema = settings.SCHEMA.read_bytes()
    if path.is_file() and path.read_bytes() != schema:
        there = {key: value for key, value in raw(path).items() if key in given}
        if other := [key for key, value in given.items() if value and there.get(key, "") != value]:
            raise UsageError(f"{path} is there and says something else of {', '.join(other)}", "change it there")
        return Outcome(f"{path} is there already; nothing was changed", changed=False)
    _write(path, filled(schema.decode(), _answers(given)))
    return Outcome(f"wrote {path}; everything else in it has a default")


def _answers(given: Mapping[str, str]) -> dict[str, str]:
    if not sys.stdin.isatty():
        if missing := [option for key, option in OPTIONS.items() if not given.get(key)]:
            raise UsageError(
                f"this is no terminal, so nobody can be asked; expected {', '.join(missing)}",
                "./fab init --domain registry.example.com --email you@example.org --server root@registry.example.com",
            )
        return {key: _checked(key, value) for key, value in given.items() if value}
    try:
        return _asked(given)
    except EOFError:
        raise UsageError("no answer; nothing was written", "run it again") from None


def _asked(given: Mapping[str, str]) -> dict[str, str]:
    domain = _answer(given, Question(DOMAIN, "The name of the registry, as in registry.example.com"))
    addresses = found(domain)
    _say(f"{domain} leads to {', '.join(addresses)}" if addresses else
         f"{domain} has no address yet. At your DNS provider: {domain} A ADDRESS-OF-YOUR-SERVER. You can go on; the "
         "certificate waits for it.")  # fmt: skip
    email = _answer(given, Question(EMAIL, "Your mail address, for the certificate authority"))
    usual = f"root@{domain}" if addresses else ""
    server = _answer(given, Question(HOSTS, "The server, as in root@203.0.113.5", usual))
    theirs = found(re.sub(r"^.*@|(?<=[^:]):\d+$", "", server))
    if addresses and theirs and not set(addresses) & set(theirs):
        _say(f"note: that is {', '.join(theirs)}, and {domain} leads elsewhere; `check` looks at it from there")
    answers = {DOMAIN: domain, EMAIL: email, HOSTS: server}
    kind = given.get(SERVER) or (
        "staging" if _yes("A test certificate first (staging), which no client trusts?") else ""
    )
    return {**answers, SERVER: kind} if kind else answers


def _answer(given: Mapping[str, str], question: Question) -> str:
    """What was given, or what a person types, until it is right."""
    if value := given.get(question.key):
        return _checked(question.key, value)
    while True:
        text = input(f"{question.text}{f' [{question.usual}]' if question.usual else ''}: ").strip() or question.usual
        try:
            if text:
                return _checked(question.key, text)
        except UsageError as error:
            _say(str(error.what))


def _checked(key: str, text: str) -> str:
    try:
        return as_text(RULES[key](text))
    except ValueError as error:
        raise UsageError(f"{OPTIONS.get(key, key)}: '{text}': {error}") from None


def _yes(question: str) -> bool:
    """Whether a person says yes; Enter is no."""
    while (text := input(f"{question} yes/no [no]: ").strip().lower()) not in ("", *YES, *NO):
        pass
    return text in YES


def _say(text: str) -> None:
    report.paragraph(text, 2)


def found(name: str) -> list[str]:
    """The addresses that this machine finds for a name, IPv4 first; [] for none."""
    try:
        rows = socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return []
    return sorted({str(row[4][0]) for row in rows}, key=lambda address: (":" in address, address))


def filled(schema: str, answers: Mapping[str, str]) -> str:
    """The text of `.env.dist` with these values in it; each comment and every other line as it was."""
    for key, value in answers.items():
        # None of them has a backslash: see rules.py.
        schema = re.sub(rf"(?m)^#?{key}=.*$", f"{key}={value}", schema, count=1)
    return schema


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and from its first byte on for nobody else to read."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "run it as a user who may write there") from None


def meet(c: Connection, fingerprint: str) -> None:
    """Connect. A host key that nobody vouches for goes into known_hosts of this machine, when a person accepts it.

    fingerprint: the one that was accepted beforehand, '' for none. Raises StepError for another one.
    """
    while True:
        try:
            return ssh.connect(c)
        except hostkeys.UnknownServerError as error:
            shown = hostkeys.fingerprint(error.key)
            if not _accepted(error, shown, fingerprint):
                raise StepError(f"{error.what}; and it was not accepted", "compare it, and run this again") from None
            file = hostkeys.remember(error.connection, error.key)
            _say(f"accepted, and written to {file}")


def _accepted(error: hostkeys.UnknownServerError, shown: str, fingerprint: str) -> bool:
    if fingerprint:
        return fingerprint == shown
    if not sys.stdin.isatty():
        raise StepError(error.what, f"compare it with your provider's console, then add --fingerprint {shown}")
    _say(f"{error.connection.original_host} has the host key {error.key.get_name()} {shown}")
    _say("Compare it with the one in your provider's console: only this keeps others from posing as your server.")
    try:
        return _yes("Is it the same?")
    except EOFError:
        return False
