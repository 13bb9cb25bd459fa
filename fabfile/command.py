"""The programs `fab` and `inv`, as their makers wrote them but for this: a mistake on the command
line is one line and exit status 2, so that 1 always means that a step failed; and a terminal that
is closed, or a `kill`, is an interruption like Ctrl-C, so that what was begun is taken back.
"""

from __future__ import annotations

import contextlib
import difflib
import getpass
import importlib
import io
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from invoke import Argument, Program
from invoke.exceptions import Exit, ParseError
from invoke.util import helpline

from . import settings
from .errors import USAGE
from .layout import PROJECT
from .servers import at_home, at_once
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
            print(f"{PROJECT} {VERSION}")
            super().print_version()

        def parse_core_args(self) -> None:
            _understood(super().parse_core_args)

        def parse_tasks(self) -> None:
            _understood(super().parse_tasks, self)

        def parse_cleanup(self) -> None:
            _understood(super().parse_cleanup, self)

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
            _named(self.args.hosts.value or "")
            super().update_config(merge)
            self.config.force = self.args.force.value

    return Forceable


def asking(program: type[Program]) -> type[Program]:
    """The same program, whose question for sudo's password says whose it is."""

    class Asking(program):  # type: ignore[misc, valid-type]
        def update_config(self, merge: bool = True) -> None:
            ask = self.args["prompt-for-sudo-password"]
            wanted, ask.value = ask.value, False
            super().update_config(merge)
            if wanted:
                users = {self._user(host) for host in (self.args.hosts.value or "").split(",") if host}
                whose = " and ".join(sorted(users)) or self.config.user
                password = getpass.getpass(f"{whose}'s password for sudo: ")
                self.config._overrides.setdefault("sudo", {})["password"] = password
                self.config.merge()

        def _user(self, host: str) -> str:
            """Who is logged in as, which `-H`, the ssh_config or the name here says, in this order."""
            user, at, name = host.rpartition("@")
            found = user if at else self.config.base_ssh_config.lookup(name).get("user", self.config.user)
            return str(found)

    return Asking


def stopping(number: int, frame: object) -> None:
    """Interrupt, and say so at once: what is under way on a server may have to end first."""
    # By the system call: whatever was being written when the signal came is not written into. The terminal may
    # be gone: that is how a SIGHUP comes.
    with contextlib.suppress(OSError):
        os.write(2, "stopping…\n".encode(sys.stderr.encoding, "replace"))
    signal.default_int_handler(number, frame)  # type: ignore[arg-type]


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


def guided(program: type[Program]) -> type[Program]:
    """The same program; without a task it shows those that there are, and says what is missing."""

    class Guided(program):  # type: ignore[misc, valid-type]
        def no_tasks_given(self) -> None:
            named = self.args["hosts"].value if "hosts" in self.args else None
            if named in self.collection.task_names:
                what = f"-H {named}: that is a task, and the server is missing"
                raise Exit(f"error: {what}\n  -> ./fab -H root@registry.example.com {named}", USAGE)
            if named:
                raise Exit(f"error: no task was named\n  -> ./fab -H {named} TASK; ./fab alone shows the tasks", USAGE)
            self.list_tasks()
            print(f"./{self.binary} TASK --help explains one; ./{self.binary} --help shows the options of all")
            raise Exit

    return Guided


def _named(hosts: str) -> None:
    """Refuse what is no name of a host behind -H, before fabric makes numbers of it."""
    for host in filter(None, hosts.split(",")):
        name = re.sub(r"^[a-z]+://([^:/]*).*|/.*$", r"\1", host, flags=re.I)
        if name != host:
            raise Exit(
                f"error: -H {host}: expected a name, without https:// and /\n  -> ./fab -H {_as_root(name)} TASK", USAGE
            )
        before, _, port = name.rpartition(":")
        if ":" not in before and before and not port.isdecimal():
            raise Exit(f"error: -H {host}: '{port}' is no port\n  -> ./fab -H {_as_root(before)} TASK", USAGE)
        if host.endswith("@"):
            raise Exit(
                f"error: -H {host}: no name stands behind the @\n  -> ./fab -H {host}registry.example.com TASK", USAGE
            )


def _as_root(name: str) -> str:
    return name if "@" in name else f"root@{name}"


def spelled_out(argv: list[str], tasks: set[str]) -> list[str]:
    """The same command line with `images NAME` as `images --repository NAME`: invoke's own arguments without a flag
    cannot be left out.
    """
    words = list(argv)
    for place in range(len(words) - 1, 0, -1):
        if words[place - 1] == "images" and not words[place].startswith("-") and words[place] not in tasks:
            words.insert(place, "--repository")
    return words


def _understood(parse: Callable[[], None], program: Program | None = None) -> None:
    """Do that; what is not understood becomes one line. program: for what there is, to guess what was meant."""
    try:
        parse()
    except EOFError:
        raise Exit("error: no answer to the question above", USAGE) from None
    except (ParseError, ValueError, TypeError, FileNotFoundError) as error:
        text = re.sub(r"<Argument: (\w+?)_? .*?>", r"--\1", str(error))
        unknown = re.fullmatch(r"No idea what '(.+)' is!", text)
        guess = _meant(unknown[1], program) if unknown and program else ""
        own = f"./{program.binary}" if program else "./fab"
        remedy = f"{guess}{own} --list and {own} TASK --help show what there is"
        raise Exit(f"error: {text}\n  -> {remedy}", USAGE) from None


def _meant(word: str, program: Program) -> str:
    """What a word may have been meant to be: half a line for the remedy, '' for no idea."""
    if program.binary == "inv" and word in importlib.import_module("fabfile").ns.task_names:
        here = (
            "that is a task of ./fab"
            if (settings.HOME / "fab").is_file()
            else "that runs on your own machine, as ./fab"
        )
        return f"{here}; "
    contexts = program.collection.to_contexts()
    flags = [name for each in (program.initial_context, *contexts) for name in each.flag_names()]
    near = difflib.get_close_matches(word, [*program.collection.task_names, *flags], 1)
    return f"did you mean {near[0]}? " if near else ""


def main(name: str, argv: list[str]) -> None:
    """Run `fab` or `inv` with these arguments."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup it is ignored, and stays so.
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(number, stopping)
    logging.setLogRecordFactory(PrintableRecord)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no `…` is no reason to fail.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    from . import ns

    if name == "fab":
        from fabric import Config, Executor, __version__
        from fabric.main import Fab

        from .machine.sshconfig import whole

        class Included(Config):  # type: ignore[misc]
            """With the files that ~/.ssh/config includes."""

            def _load_ssh_file(self, path: str) -> None:
                if Path(path).is_file():
                    self.base_ssh_config.parse(io.StringIO(whole(Path(path))))

        program = guided(grouped(at_home(asking(forceable(strict(Fab))))))(
            name="Fabric",
            version=__version__,
            executor_class=at_once(Executor),
            config_class=Included,
            binary="fab",
        )
    else:
        from invoke import Config as Settings
        from invoke import __version__

        class OwnAlone(Settings):
            """Without `invoke.py` and the like beside tasks.py: on a server that would be run as root."""

            def load_project(self, merge: bool = True) -> None:
                """Nothing."""

        program = guided(grouped(strict(Program)))(
            name="Invoke", version=__version__, config_class=OwnAlone, binary="inv"
        )
    try:
        program.run([name, *spelled_out(argv, set(ns.task_names))])
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # `| head` has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
