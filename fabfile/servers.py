"""Which servers a command line of `fab` is for: those behind -H, else those of HOSTS; and one run for all of them."""

from __future__ import annotations

from typing import Any

from invoke import Program
from invoke.exceptions import Exit

from . import settings
from .errors import USAGE, UsageError


def at_home(program: type[Program]) -> type[Program]:
    """The same program, which takes HOSTS of the settings where -H is left out.

    `config.usual` tells that it did so, `config.servers` which ones there are.
    """

    class AtHome(program):  # type: ignore[misc, valid-type]
        def update_config(self, merge: bool = True) -> None:
            hosts = self.args["hosts"]
            usual = not hosts.value
            if not hosts.value and [each.name for each in self.tasks] != ["init"]:
                try:
                    if found := settings.hosts():
                        hosts.value = ",".join(found)
                except UsageError as error:
                    raise Exit(f"error: {error}", USAGE) from None
            super().update_config(merge)
            self.config.usual = usual
            self.config.servers = list(dict.fromkeys(filter(None, (hosts.value or "").split(","))))

    return AtHome


def at_once(executor: type[Any]) -> type[Any]:
    """The same executor, which does a task once where several servers are named: the task itself goes to all of them.

    Fabric's own would do it for one after the other, and stop at the first that fails.
    """

    class AtOnce(executor):  # type: ignore[misc]
        def normalize_hosts(self, hosts: list[str] | None) -> list[dict[str, str]]:
            found: list[dict[str, str]] = super().normalize_hosts(hosts)
            return found[:1]

    return AtOnce
