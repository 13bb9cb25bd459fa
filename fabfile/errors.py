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

from .text import printable

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("fabfile")

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

    def stopped_at(self, task: str, step: str) -> None:
        """Add the step of a chain at which it happened, and how to go on.

        task: the name of the chain as it is typed.
        """
        self.what = f"{task} stopped at {step}: {self.what}"
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
        try:
            return task(*args, **kwargs)
        except Exit:
            raise
        except ExpectedError as error:
            log.debug("%s", traceback.format_exc())
            raise Exit(printable(f"error: {addressed(str(error), address(*args[:1]))}"), error.code) from None
        except BrokenPipeError:
            # Whoever read our output has seen enough (`| head`); the interpreter would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Exit(code=FAILED) from None
        except KeyboardInterrupt:
            raise Exit("interrupted: run the same command again to go on", 130) from None
        except Exception as error:
            log.debug("unexpected %s", traceback.format_exc())
            line = printable((str(error).strip().splitlines() or [""])[0])
            raise Exit(
                f"error: unexpected {type(error).__name__}: {line}\n"
                "  -> run it again with --debug as the first option, and report what it prints",
                FAILED,
            ) from None

    return wrapper


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


def addressed(text: str, host: str) -> str:
    """The text with that server in the commands that it proposes. Called where a text is shown, and nowhere else.

    host: what to type behind -H; '' where nobody knows.
    """
    return text.replace("-H …", f"-H {host}") if host else text
