"""`bootstrap`: the steps in their order, over one connection."""

from __future__ import annotations

from collections.abc import Callable

from . import (
    accounts,
    ahead,
    certificates,
    engine,
    files,
    images,
    lock,
    preflight,
    report,
    smoke,
    stack,
)
from .errors import ExpectedError
from .host import Host
from .report import Outcome
from .settings import Settings

Step = Callable[[Host, Settings], object]


def steps(passwords: list[str]) -> dict[str, Step]:
    """Name -> step. A password that has to be made for the first account is put into `passwords`."""
    complete: list[bool] = []

    def sync(host: Host, settings: Settings) -> Outcome:
        ahead.look(host, settings)
        return files.sync(host, settings)

    return {
        "check": lambda h, s: complete.append(preflight.require(h, s)),
        "provision": lambda h, s: report.step("provision", lambda: engine.provision(h, s, known=any(complete))),
        "sync": lambda h, s: report.step("sync", lambda: sync(h, s)),
        "htpasswd": lambda h, s: report.step("htpasswd", lambda: accounts.first(h, s, passwords)),
        "ship": lambda h, s: s.images == "pull" or report.step("ship", lambda: images.ship(h, s)),
        "up": lambda h, s: report.step("up", lambda: stack.up(h, s)),
        "init-letsencrypt": lambda h, s: report.step("init-letsencrypt", lambda: certificates.init_letsencrypt(h, s)),
        "schedule": lambda h, s: report.step("schedule", lambda: certificates.schedule(h, s)),
        "push-test": smoke.prove,
    }


def bootstrap(host: Host, settings: Settings) -> None:
    """Do every step. Raises StepError with the step's name at the first that fails."""
    with lock.exclusive(host, settings, "bootstrap"):
        carry_out(host, settings, "bootstrap", lambda _: {})


def carry_out(
    host: Host,
    settings: Settings,
    task: str,
    changes: Callable[[list[str]], dict[str, Step]],
    undo: Callable[[], str | None] = lambda: None,
) -> None:
    """Do every step, some of them in another way. Raises StepError at the first that fails.

    changes: from the list for new passwords to steps by name that take the place of ours.
    undo: called when a step failed; what it says is added to the error, and a password that was made
    is not shown then, because its account is gone. None: nothing was undone.
    A password that was made is shown once, in the end, whatever happened after it was made.
    """
    passwords: list[str] = []
    try:
        with report.total(task):
            for name, step in (steps(passwords) | changes(passwords)).items():
                try:
                    step(host, settings)
                except ExpectedError as error:
                    error.stopped_at(task, name)
                    undone = undo()
                    if undone is not None:
                        error.what += undone
                        passwords.clear()
                    raise
    finally:
        for password in passwords:
            print(f"\naccount {settings.registry_user}, password (shown this once): {password}")
    print(farewell(host, settings, password_shown=bool(passwords)))


def farewell(host: Host, settings: Settings, *, password_shown: bool) -> str:
    """What to do next."""
    fab, user = f"./fab -H {host.name}", settings.registry_user
    if settings.acme_server == "staging":
        return (
            "\nThe certificate is from staging, for trying things out: no client trusts it yet. Now:\n"
            f"  set ACME_SERVER=production in .env, then {fab} sync up init-letsencrypt"
        )
    forgotten = "" if password_shown else f"\nPassword forgotten: {fab} htpasswd --user {user}"
    return f"{forgotten}\nReady: docker login {settings.registry_domain} -u {user}"
