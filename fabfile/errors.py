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
    """An error that we foresaw. Its text is for the user: where, what, and the next command."""

    code = FAILED

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(what, remedy)

    def stopped_at(self, task: str, step: str) -> None:
        """Add the step of a chain at which it happened, and how to go on.

        task: the name of the chain as it is typed.
        """
        self.what = f"{task} stopped at {step}: {self.what}"
        self.remedy += f"\n  -> then ./fab -H … {task} again: what is done stays done"

    def __str__(self) -> str:
        """The line for the user, and the remedy below it."""
        remedy = self.remedy.removeprefix("\n  -> ")
        return f"{self.what}\n  -> {remedy}" if remedy else self.what


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
            raise Exit(printable(f"error: {addressed(str(error), *args[:1])}"), error.code) from None
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


def address(connection: object) -> str:
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


def addressed(text: str, connection: object = None) -> str:
    """The text with the host of that connection in the commands that it proposes."""
    host = address(connection)
    return text.replace("-H …", f"-H {host}") if host else text
