"""Two years of several servers with one account: our own code, and a model of the authority, DNS, cron and machines.

What decides is real: when cron comes, what is due, the self-test, the order, the pauses after a failure. The model is
stricter than the world: the authority asks every address of the name, and one that does not answer is a failed order.
A machine dies while its address stays in DNS, and comes back.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from fabfile.certificate import orders
from fabfile.certificate.cron import schedule
from fabfile.certificate.lifetime import DAY, SHORT, due
from fabfile.certificate.onhost import acme, attempts, caa, certbot, half_made, probe, thumbprint, way_out
from fabfile.errors import StepError
from fabfile.machine.host import Host
from fabfile.settings import Settings
from fabfile.stack.onhost.containers import nginx_container
from fabfile.stack.onhost.lineage import OnDisk

NAMES = ("root@a.example.com", "root@b.example.com", "root@c.example.com")
BEGIN = 1_800_000_000 // DAY * DAY
YEARS = 2
# Of Let's Encrypt, for the same names.
A_WEEK = 5
# What may be wrong for a while; the last two are about one server.
FAULTS = ("authority down", "rate limited", "no DNS", "dead", "no cron")


@dataclass
class Machine:
    """One of the servers: its certificate, and what it remembers."""

    name: str
    settings: Settings
    ends: float = 0
    remembers: dict[str, Any] = field(default_factory=dict)


@dataclass
class Fault:
    kind: str
    begin: float
    end: float
    name: str = ""


class World:
    """The authority, DNS and the servers. lifetime: of certificates, in seconds."""

    def __init__(self, settings: Settings, lifetime: float, seed: int) -> None:
        self.now: float = BEGIN
        self.lifetime = lifetime
        self.random = random.Random(f"{lifetime} {seed}")  # noqa: S311
        self.machines = {name: Machine(name, settings.of(name), BEGIN + lifetime) for name in NAMES}
        self.asked_by: Machine | None = None
        self.issued: list[float] = []
        self.refused = 0
        self.expired: list[tuple[str, float]] = []
        self.faults = list(self._drawn())

    def _drawn(self) -> Iterator[Fault]:
        """One after the other, each shorter than a third of what is left when a renewal begins."""
        slack = self.lifetime / (2 if self.lifetime < SHORT else 3)
        when = BEGIN + slack
        while when < BEGIN + YEARS * 365 * DAY:
            length = self.random.uniform(0, slack / 3)
            yield Fault(self.random.choice(FAULTS), when, when + length, self.random.choice(NAMES))
            when += slack * self.random.uniform(0.6, 3)

    def wrong(self, kind: str, name: str = "") -> bool:
        return any(
            each.kind == kind and each.begin <= self.now < each.end and (not name or each.name == name)
            for each in self.faults
        )

    def seen(self) -> probe.Seen:
        """What comes of a look at each address of the name."""
        if self.wrong("no DNS"):
            return {"nameless": [], "unanswered": ["registry.example.org"], "wrong": {}, "right": [], "unreachable": []}
        dead = [name for name in NAMES if self.wrong("dead", name)]
        alive = [name for name in NAMES if name not in dead]
        return {"nameless": [], "unanswered": [], "wrong": {name: f"{name} does not answer" for name in dead},
                "right": alive, "unreachable": []}  # fmt: skip

    def certbot(self, directory: str, args: list[str], account: object) -> certbot.Ran:
        """As certbot and the authority do it."""
        assert self.asked_by
        short = self.lifetime < SHORT
        answer: certbot.Ran = {"asked": True, "code": 0, "output": "", "retry_after": 0, "moved": []}
        if (self.asked_by.ends - self.now) / self.lifetime > (0.5 if short else 1 / 3):
            return answer
        if self.wrong("authority down"):
            return {**answer, "code": 1, "output": "Detail: down"}
        # Of short ones an authority gives more, or nobody could renew them.
        lately = [when for when in self.issued if when > self.now - min(7 * DAY, self.lifetime / 2)]
        self.refused += len(lately) >= A_WEEK
        if self.wrong("rate limited") or len(lately) >= A_WEEK:
            return {**answer, "code": 1, "output": "Detail: rateLimited", "retry_after": self.now + DAY / 4}
        if self.seen()["wrong"] or self.seen()["unanswered"]:
            raise AssertionError("an order that had to fail: the look before it would have said so")
        self.asked_by.ends = self.now + self.lifetime
        self.issued.append(self.now)
        return answer

    def cron(self, machine: Machine) -> None:
        """What cron does on one of them."""
        if self.wrong("dead", machine.name) or self.wrong("no cron", machine.name):
            return
        self.asked_by = machine
        have = cast("OnDisk", {"not_before": machine.ends - self.lifetime, "not_after": machine.ends})
        host = cast("Host", Known(self, machine))
        # ALERT_COMMAND is told, and the next run tries again.
        with contextlib.suppress(StepError):
            orders.renewal(host, machine.settings, due=due(have))

    def live(self) -> None:
        """Minute by minute of cron, for all the years."""
        minutes: list[tuple[int, Machine]] = []
        for machine in self.machines.values():
            minute, hours, *_ = schedule(machine.settings).split()
            minutes += [(int(hour) * 3600 + int(minute) * 60, machine) for hour in hours.split(",")]
        minutes.sort(key=lambda each: each[0])
        for day in range(YEARS * 365):
            for second, machine in minutes:
                self.now = BEGIN + day * DAY + second
                self.cron(machine)
                self.expired += [
                    (each.name, self.now)
                    for each in self.machines.values()
                    if each.ends < self.now and not self.wrong("dead", each.name)
                ]


@dataclass
class Known:
    """A host as the code asks it: each function is answered by the model. local: it is cron that asks."""

    world: World
    machine: Machine
    local: bool = True

    @property
    def name(self) -> str:
        return self.machine.name

    def foresee(self, calls: object) -> None:
        """Nothing is far."""

    def call(self, function: Callable[..., object], *args: Any, **options: Any) -> object:
        answers: dict[object, Callable[..., object]] = {
            acme.directory: lambda *_: {"profiles": [], "identities": [], "bound": False, "ahead": 0, "refused": "",
                                        "retry_after": 0},
            way_out.closed: lambda *_: "",
            caa.forbidden: lambda *_: [],
            nginx_container: lambda: "1",
            half_made.no_room: lambda *_: "",
            thumbprint.of: lambda *_: "mark",
            probe.fetch: lambda *_: self.world.seen(),
            certbot.ask: self.world.certbot,
        }  # fmt: skip
        return answers.get(function, function)(*args, **options)


@pytest.mark.parametrize("days", [90, 64, 45, 160 / 24])
@pytest.mark.parametrize("seed", range(3))
def test_two_years_of_three_servers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, days: float, seed: int
) -> None:
    fleet = replace(settings, fleet=NAMES, acme_server="https://acme.test/dir", deploy_dir="/nowhere")
    world = World(fleet, days * DAY, seed)
    real = time.time

    def remembers(_: object) -> dict[str, Any]:
        assert world.asked_by
        return world.asked_by.remembers

    monkeypatch.setattr(attempts, "_read", remembers)
    monkeypatch.setattr(attempts, "_write", lambda path, changes: remembers(path).update(changes))
    monkeypatch.setattr(time, "time", lambda: world.now)
    try:
        world.live()
    finally:
        monkeypatch.setattr(time, "time", real)
    assert (world.expired, world.refused) == ([], 0)
    # Each renews alone: none waits for another, and nobody orders more often than once a cycle.
    cycle = days * DAY * (0.5 if days * DAY < SHORT else 2 / 3)
    most = len(NAMES) * (YEARS * 365 * DAY / cycle + 1)
    assert most * 0.7 < len(world.issued) <= most
