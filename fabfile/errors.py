"""What can go wrong, and how it reaches a person: one line with where, what and what to do next."""

from __future__ import annotations

import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from invoke import Exit

from . import launcher
from .text import columns, printable, wrapped

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("fabfile")

# Of an error: what a person must see although it failed, as text with its line breaks.
LAST_WORDS = "last_words"

FAILED = 1
USAGE = 2


class ExpectedError(Exception):
    """An error that we foresaw. Its text is for the user: where, what, and the next commands.

    remedies: commands or sentences, a line each; `-H …` in one stands for the server, see `addressed`. An empty
    one is none. reason: a word for code that has to tell this error from others: the text is for people alone.
    """

    code = FAILED

    def __init__(self, what: str, *remedies: str, reason: str = "") -> None:
        self.what = what
        self.remedies = tuple(filter(None, remedies))
        self.reason = reason
        super().__init__(what, *self.remedies)

    def add(self, more: str) -> None:
        """Say more in the line for the user, what came of it for example."""
        self.what = f"{self.what}; {more}"

    def spoken(self, how: Callable[[str], str]) -> ExpectedError:
        """The same, with each remedy as that makes it."""
        self.remedies = tuple(map(how, self.remedies))
        return self

    def stopped_at(self, task: str, step: str) -> None:
        """Add the step of a chain at which it happened, and how to go on.

        task: the name of the chain as it is typed.
        """
        self.what = f"{task} stopped at {step}: {self.what}"
        self.go_on(task)

    def go_on(self, task: str) -> None:
        """Add how to go on with a chain. task: its name as it is typed."""
        self.remedies += (f"then ./fab -H … {task} again: what is done stays done",)

    def __str__(self) -> str:
        """The line for the user, and below it a line for each remedy."""
        return "\n  -> ".join((self.what, *self.remedies))


class StepError(ExpectedError):
    """A step failed on a machine (exit status 1)."""


class UsageError(ExpectedError):
    """The command line, a setting or a piece of input is wrong (exit status 2)."""

    code = USAGE


def for_people(task: Callable[P, R]) -> Callable[P, R]:
    """Wrap a task so that it ends in an `Exit` with one line instead of a stack trace.

    The trace goes to the debug log, which `--debug` shows.
    """

    @functools.wraps(task)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if not launcher.own() and (absent := launcher.missing()):
            launcher.go_on(f"this Python has no {', '.join(absent)}")
        try:
            return task(*args, **kwargs)
        except Exit:
            raise
        except ExpectedError as error:
            log.debug("%s", traceback.format_exc())
            raise _end(error, shown(addressed(str(error), option(*args[:1]))), error.code) from None
        except BrokenPipeError:
            # Whoever read our output has seen enough (`| head`); the interpreter would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Exit(code=FAILED) from None
        except KeyboardInterrupt as error:
            raise _end(error, "interrupted: run the same command again to go on", 130) from None
        except Exception as error:
            log.debug("unexpected %s", traceback.format_exc())
            line = printable((str(error).strip().splitlines() or [""])[0])
            message = (
                f"error: unexpected {type(error).__name__}: {line}\n"
                "  -> run it again with --debug as the first option, and report what it prints"
            )
            raise _end(error, message, FAILED) from None

    return wrapper


def _end(error: BaseException, message: str, code: int) -> Exit:
    """The end of a task; what a person must see although it failed is printed last, on standard output."""
    if not (last := vars(error).get(LAST_WORDS)):
        return Exit(message, code)
    print(message, file=sys.stderr, flush=True)
    print(last, end="", flush=True)
    return Exit(code=code)


def shown(text: str) -> str:
    """An error as a person reads it: printable, and in lines of the terminal's width, broken between words."""
    text = printable(f"error: {text}")
    width = columns(sys.stderr)
    if width == sys.maxsize:
        return text
    return "\n".join(
        indent + wrapped(line.strip(), width, len(indent) + (3 if line.strip().startswith("->") else 2), len(indent))
        for line in text.splitlines()
        for indent in [line[: len(line) - len(line.lstrip())]]
    )


def address(connection: object = None) -> str:
    """What to type behind -H for a connection of fabric's; '' for anything else.

    A user or a port that stands in no ssh_config was typed, and must be typed again.
    """
    host = getattr(connection, "original_host", None)
    if not host:
        return ""
    c: Any = connection
    configured = c.ssh_config or {}
    user = "" if c.user in (configured.get("user"), c.config.user) else f"{c.user}@"
    known = (22, int(configured.get("port", 22)))
    return f"{user}{host}" + ("" if c.port in known else f":{c.port}")


def option(connection: object = None) -> str | None:
    """What to type for the server of a connection of fabric's, as `-H root@server`: see `addressed`."""
    host = address(connection)
    if not host:
        return None
    c: Any = connection
    servers = c.config.get("servers", ())
    return "" if c.config.get("usual", False) else f"-H {','.join(servers) if len(servers) > 1 else host}"


def addressed(text: str, option: str | None) -> str:
    """The text with that server in the commands that it proposes. Called where a text is shown, and nowhere else.

    option: as `-H root@server`; '' where HOSTS names the server, so that none is needed; None where nobody knows.
    """
    if option is None:
        return text
    return text.replace("-H …", option) if option else text.replace(" -H …", "")
