"""The programs `fab` and `inv`, as their makers wrote them but for one thing: a mistake on the
command line exits with 2, so that 1 always means that a step failed.
"""

from __future__ import annotations

from collections.abc import Callable

from invoke import Program
from invoke.exceptions import Exit, ParseError

from .errors import USAGE


def strict(program: type[Program]) -> type[Program]:
    """The same program, with exit status 2 for a task or a flag that it does not know."""

    class Strict(program):  # type: ignore[misc, valid-type]
        def run(self, argv: list[str] | None = None, exit: bool = True) -> None:
            super().run(argv, exit)

        def parse_core_args(self) -> None:
            self._usage(super().parse_core_args)

        def parse_tasks(self) -> None:
            self._usage(super().parse_tasks)

        def _usage(self, parse: Callable[[], None]) -> None:
            try:
                parse()
            except ParseError as error:
                raise Exit(
                    f"error: {error}\n  -> {self.binary} --list shows every task", USAGE
                ) from None

    return Strict


def main(name: str, argv: list[str]) -> None:
    """Run `fab` or `inv` with these arguments."""
    if name == "fab":
        from fabric import Config, Executor, __version__
        from fabric.main import Fab

        program = strict(Fab)(
            name="Fabric",
            version=__version__,
            executor_class=Executor,
            config_class=Config,
            binary="fab",
        )
    else:
        from invoke import __version__

        program = strict(Program)(name="Invoke", version=__version__, binary="inv")
    program.run([name, *argv])
