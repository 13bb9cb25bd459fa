"""The programs `fab` and `inv`, as their makers wrote them but for this: a mistake on the command
line is one line and exit status 2, so that 1 always means that a step failed; and a terminal that
is closed, or a `kill`, is an interruption like Ctrl-C, so that what was begun is taken back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
from collections.abc import Callable

from invoke import Argument, Program
from invoke.exceptions import Exit, ParseError
from invoke.util import helpline

from .errors import USAGE
from .text import printable
from .version import VERSION


class PrintableRecord(logging.LogRecord):
    """A line of --debug: paramiko writes there what a server sends, before anybody knows whose it is."""

    def getMessage(self) -> str:
        """The line, without control characters."""
        return printable(super().getMessage())


def strict(program: type[Program]) -> type[Program]:
    """The same program, with exit status 2 for what it does not understand."""

    class Strict(program):  # type: ignore[misc, valid-type]
        def print_version(self) -> None:
            print(f"private-docker-registry {VERSION}")
            super().print_version()

        def parse_core_args(self) -> None:
            _understood(super().parse_core_args)

        def parse_tasks(self) -> None:
            _understood(super().parse_tasks)

        def update_config(self, merge: bool = True) -> None:
            _understood(super().update_config)

        def execute(self) -> None:
            if self.core.remainder:
                # Fabric would run it on a connection of its own, which takes any host key.
                raise Exit("error: nothing may follow --\n  -> ssh HOST runs a command", USAGE)
            # Our tasks end in an Exit whatever happens: what comes through is about -H.
            _understood(super().execute)

    return Strict


def forceable(program: type[Program]) -> type[Program]:
    """The same program, with an option `--force` for all tasks; `config.force` has its value."""

    class Forceable(program):  # type: ignore[misc, valid-type]
        def core_args(self) -> list[Argument]:
            text = "Go on although a newer version of this tool deployed the server."
            return [*super().core_args(), Argument(names=("force",), kind=bool, help=text)]

        def update_config(self, merge: bool = True) -> None:
            super().update_config(merge)
            self.config.force = self.args.force.value

    return Forceable


def grouped(program: type[Program]) -> type[Program]:
    """The same program, whose `--list` has the groups and the order of the collection, not the alphabet."""

    class Grouped(program):  # type: ignore[misc, valid-type]
        def list_flat(self) -> None:
            tasks = self.scoped_collection.tasks
            groups = self.scoped_collection.configuration().get("groups") or {"Available tasks": list(tasks)}
            for title, names in groups.items():
                print(f"{title}:\n")
                self.print_columns([(name, helpline(tasks[name])) for name in names])

    return Grouped


def spelled_out(argv: list[str], tasks: set[str]) -> list[str]:
    """The same command line with `images NAME` as `images --repository NAME`: invoke's own arguments without a flag
    cannot be left out.
    """
    words = list(argv)
    for place in range(len(words) - 1, 0, -1):
        if words[place - 1] == "images" and not words[place].startswith("-") and words[place] not in tasks:
            words.insert(place, "--repository")
    return words


def _understood(parse: Callable[[], None]) -> None:
    try:
        parse()
    except EOFError:
        raise Exit("error: no answer to the question above", USAGE) from None
    except (ParseError, ValueError, TypeError, FileNotFoundError) as error:
        text = re.sub(r"<Argument: (\w+?)_? .*?>", r"--\1", str(error))
        raise Exit(f"error: {text}\n  -> ./fab --list and ./fab TASK --help show what there is", USAGE) from None


def main(name: str, argv: list[str]) -> None:
    """Run `fab` or `inv` with these arguments."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup it is ignored, and stays so.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    logging.setLogRecordFactory(PrintableRecord)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no `…` is no reason to fail.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    from . import ns

    if name == "fab":
        from fabric import Config, Executor, __version__
        from fabric.main import Fab

        program = grouped(forceable(strict(Fab)))(
            name="Fabric",
            version=__version__,
            executor_class=Executor,
            config_class=Config,
            binary="fab",
        )
    else:
        from invoke import Config as Settings
        from invoke import __version__

        class OwnAlone(Settings):
            """Without `invoke.py` and the like beside tasks.py: on a server that would be run as root."""

            def load_project(self, merge: bool = True) -> None:
                """Nothing."""

        program = grouped(strict(Program))(name="Invoke", version=__version__, config_class=OwnAlone, binary="inv")
    try:
        program.run([name, *spelled_out(argv, set(ns.task_names))])
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # `| head` has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
