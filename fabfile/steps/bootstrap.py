"""`bootstrap`: the steps in their order, over one connection; or over one to each of several servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

from .. import report
from ..certificate import alike
from ..certificate.onhost import alike as onhost_alike
from ..errors import LAST_WORDS, ExpectedError
from ..machine import lock
from ..machine.fleet import Fleet, FleetError, Server
from ..machine.host import Host
from ..report import Outcome
from ..secret import Secret
from ..settings import Settings
from ..stack import accord
from . import check, htpasswd, init_letsencrypt, provision, push_test, schedule, ship, sync, up


@dataclass
class Run:
    """One run of the steps, and what a later one, or the end, wants to know of an earlier one."""

    host: Host
    settings: Settings
    complete: bool = False  # `check` has seen that `provision` has nothing to do
    password: Secret | None = None  # of the first account, where it was made

    def made(self, password: Secret) -> None:
        """Keep the password of the first account, to show it in the end."""
        self.password = password


# It prints its line, or its lines.
Step = Callable[[Run], object]


def told(name: str, action: Callable[[Host, Settings], Outcome]) -> Step:
    """A step that needs nothing of the others."""
    return lambda run: report.step(name, lambda: action(run.host, run.settings), run.host.option)


def _check(run: Run) -> None:
    run.complete = check.require(run.host, run.settings)


def _provision(run: Run) -> None:
    report.step("provision", lambda: provision.provision(run.host, run.settings, known=run.complete))


def _sync(host: Host, settings: Settings) -> Outcome:
    look(host, settings)
    return sync.sync(host, settings)


def _up(host: Host, settings: Settings) -> Outcome:
    return up.up(host, settings, ordering=not settings.tls_certificate)


def _htpasswd(run: Run) -> None:
    report.step("htpasswd", lambda: htpasswd.first(run.host, run.settings, run.made))


def _ship(run: Run) -> None:
    if run.settings.images == "ship":
        told("ship", ship.ship)(run)


STEPS: Mapping[str, Step] = MappingProxyType(
    {
        "check": _check,
        "provision": _provision,
        "sync": told("sync", _sync),
        "htpasswd": _htpasswd,
        "ship": _ship,
        "up": told("up", _up),
        "init-letsencrypt": told("init-letsencrypt", init_letsencrypt.init_letsencrypt),
        "schedule": told("schedule", schedule.schedule),
        "push-test": lambda run: push_test.prove(run.host, run.settings),
    }
)


def together(fleet: Fleet) -> None:
    """Every step on several servers that are one registry, run again and again if need be.

    All are looked at before one is touched. What they have alike is made on the first and handed to the others. All
    answer on port 80 before the first orders, as the authority may ask any of them. Then each gets its certificate and
    proves itself, one after the other. Raises FleetError at the first step that fails: what is done stays done, and the
    servers behind it are as they were.
    """
    with fleet.exclusive("bootstrap"):
        # What is proposed at the end is for all of them.
        run = Run(replace(fleet.first.host, option=""), fleet.first.settings)
        carry_out(run, "bootstrap", Together(fleet, run).steps())


@dataclass
class Together:
    """One run over several servers. complete: of each, `check` has seen that `provision` has nothing to do."""

    fleet: Fleet
    run: Run
    complete: dict[str, bool] = field(default_factory=dict)

    def steps(self) -> Mapping[str, Step]:
        """In their order."""
        fleet = self.fleet
        return {
            "check": lambda _: self.complete.update(fleet.each("check", check.require).values),
            "provision": lambda _: fleet.each("provision", printing("provision", self.provision)),
            "sync": lambda _: fleet.each("sync", printing("sync", _sync)),
            "htpasswd": lambda _: self.alike(),
            "ship": lambda _: self.ship(),
            "up": lambda _: self.up(),
            "init-letsencrypt": lambda _: self.finish(),
        }

    @cached_property
    def source(self) -> Server:
        """The server that the others take from: a new one that stands first in HOSTS takes from those at work."""
        begun = self.fleet.each("check", lambda host, own: host.call(onhost_alike.begun, own.deploy_dir)).values
        return next((each for each in self.fleet.servers if begun[each.name]), self.fleet.first)

    def others(self, source: Server) -> tuple[Server, ...]:
        """All but that one."""
        return tuple(each for each in self.fleet.servers if each is not source)

    def provision(self, host: Host, settings: Settings) -> Outcome:
        """Only what is missing."""
        name = next(each.name for each in self.fleet.servers if each.host is host)
        return provision.provision(host, settings, known=self.complete[name])

    def alike(self) -> None:
        """The first account and what all have alike, on one; then on the others."""
        source = self.source
        one, rest = self.fleet.part([source]), self.fleet.part(self.others(source))
        one.in_turn("htpasswd", printing("htpasswd", lambda host, own: htpasswd.first(host, own, self.run.made)))
        one.in_turn("alike", printing("alike", alike.begin))
        found = one.each("alike", alike.of).values[source.name]
        rest.each("alike", printing("alike", lambda host, own: alike.hand(found, host, own)))

    def ship(self) -> None:
        """Where the images come from here."""
        if self.run.settings.images == "ship":
            self.fleet.in_turn("ship", printing("ship", ship.ship))

    def up(self) -> None:
        """The accounts are in force once a registry runs; only then the others get them, and run."""
        source = self.source
        one = self.fleet.part([source])
        one.in_turn("up", printing("up", _up))
        one.in_turn("accounts", printing("accounts", accord.begin))
        for each in self.others(source):
            other = self.fleet.part([each])
            other.in_turn("accounts", printing("accounts", lambda host, own: accord.bring(source.host, host, own)))
            other.in_turn("up", printing("up", _up))

    def finish(self) -> None:
        """Each for itself: certificate, cron, proof."""
        for each in self.fleet.servers:
            one = self.fleet.part([each])
            one.in_turn("init-letsencrypt", printing("init-letsencrypt", init_letsencrypt.init_letsencrypt))
            one.in_turn("schedule", printing("schedule", schedule.schedule))
            one.in_turn("push-test", push_test.prove)


def printing(name: str, action: Callable[[Host, Settings], Outcome]) -> Callable[[Host, Settings], Outcome]:
    """The same, and its line."""
    return lambda host, settings: report.step(name, lambda: action(host, settings), host.option)


def bootstrap(host: Host, settings: Settings) -> None:
    """Do every step. Raises StepError with the step's name at the first that fails."""
    with lock.exclusive(host, settings, "bootstrap"):
        carry_out(Run(host, settings), "bootstrap", STEPS)


def carry_out(
    run: Run,
    task: str,
    steps: Mapping[str, Step],
    undo: Callable[[], str | None] = lambda: None,
) -> None:
    """Do every step. Raises StepError at the first that fails.

    undo: called when a step failed; what it says is added to the error, and a password that was made
    is not shown then, because its account is gone. None: nothing was undone.
    A password that was made is shown once, in the end, whatever happened after it was made.
    """
    try:
        with report.total(task):
            for name, step in steps.items():
                try:
                    step(run)
                except ExpectedError as error:
                    if not isinstance(error, FleetError):
                        error.stopped_at(task, name)
                    else:
                        error.go_on(task)
                    undone = undo()
                    if undone is not None:
                        run.password = None
                    if undone:
                        error.add(undone)
                    raise
    except BaseException as error:
        # Below the error, whatever it is: see errors.for_people.
        vars(error)[LAST_WORDS] = _password(run)
        raise
    print(farewell(run))
    print(_password(run), end="")


def _password(run: Run) -> str:
    """The password that was made, as the last lines; '' for none."""
    if not run.password:
        return ""
    words = f"account {run.settings.registry_user}, password (shown this once): {run.password.reveal()}"
    return f"\n{report.loud(words)}\n"


def look(host: Host, settings: Settings) -> None:
    """Ask the server at once what the steps from `sync` on will look at: a second run then asks nothing more.

    A step that changes something makes the rest forgotten, and the steps after it look for themselves.
    """
    steps = (sync, htpasswd, up, init_letsencrypt, schedule)
    host.foresee([call for step in steps for call in step.looks(settings)])


def farewell(run: Run) -> str:
    """What to do next."""
    fab, user = run.host.fab, run.settings.registry_user
    if run.settings.acme_server == "staging":
        return (
            "\nThe certificate is from staging, for trying things out: no client trusts it yet. Now:\n"
            f"  set ACME_SERVER=production in .env, then {fab} sync up init-letsencrypt"
        )
    domain = run.settings.registry_domain
    lines = [
        f"Ready: docker login {domain} -u {user}",
        f"  docker tag app {domain}/team-a/app:1.0",
        f"  docker push {domain}/team-a/app:1.0",
        f"An account for a colleague: {fab} htpasswd --user NAME --generate",
    ]
    if not run.password:
        lines.append(f"Password forgotten: {fab} htpasswd --user {user}")
    return "\n" + "\n".join(lines)
