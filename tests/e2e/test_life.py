"""A simulated life: years of renewals with a fault drawn at random at each, the clock shrunk.

Real orders at a real ACME server whose certificates live for seconds instead of days; everything that
counts in days (pauses after failures) shrinks with them. Seeded, so a life can be lived again:
LIFE_SEED is another one, LIFE_YEARS a shorter or longer one.
"""

from __future__ import annotations

import calendar
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from .probe import Answers, asking
from .world import DEPLOY_DIR, World

PORT = 14007
SERVER = f"https://acme.test:{PORT}/dir"
YEARS = float(os.environ.get("LIFE_YEARS", "2"))
# What may go wrong at a renewal; the empty one twice, as most go well.
FAULTS = (
    "",
    "",
    "drop",
    "delay",
    "rateLimited",
    "badNonce",
    "serverInternal",
    "no name",
    "wrong name",
    "kill",
)
# Processes do not shrink with the clock: one that a fault has held up, and the one that gets through
# after it, need so many seconds. By then a fault must be over.
ROOM_SECONDS = 16
RENEW = f"{DEPLOY_DIR}/inv renew 2>&1"

Record = Callable[[str, object], None]


@dataclass
class Life:
    """One life: certificates of `days`, played in `seconds` each.

    certbot renews certificates that live for less than 10 days at half of their lifetime, and these do.
    """

    world: World
    days: float
    seconds: int
    random: random.Random
    serials: list[str] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    closest: tuple[float, str] = (1e9, "")

    def begin(self) -> str:
        """Returns the root of the authority."""
        root = self.world.sandbox.authority(self.seconds)
        scale = self.seconds / (self.days * 86400)
        pauses = " ".join(f"{max(minutes * scale, 0.0001):.4f}" for minutes in (1, 10, 100, 1440))
        self.world.configure(ACME_SERVER=SERVER, RETRY_PAUSES=pauses)
        self.world.clean()
        self.world.configure(ACME_SERVER=SERVER, RETRY_PAUSES=pauses)
        self.world.fab("sync", "htpasswd", "--user", "demo", "up", "init-letsencrypt", input="password\n")
        self.serials.append(self.world.serial())
        self.world.sandbox.clear_acme_log()
        return root

    def end(self) -> float:
        """When the newest certificate on disk ends, as seconds since 1970."""
        file = f"{DEPLOY_DIR}/certbot/conf/live/registry.test/cert.pem"
        end = self.world.server(f"openssl x509 -noout -enddate -in {file}").strip().partition("=")[2]
        return calendar.timegm(time.strptime(end, "%b %d %H:%M:%S %Y %Z"))

    def left(self) -> float:
        """Which part of its lifetime it still has."""
        return (self.end() - time.time()) / self.seconds

    def renewal(self) -> None:
        """Wait until one is due, let something go wrong for a while, and see it through."""
        fault = self.random.choice(FAULTS)
        until = max(self.random.uniform(0.30, 0.45), ROOM_SECONDS / self.seconds)
        self.faults[fault or "none"] = self.faults.get(fault or "none", 0) + 1
        # Not asked again and again: that would be work beside the renewals, for a whole life.
        time.sleep(max(0, self.end() - self.seconds / 2 - time.time()))
        self.set(fault)
        orders, end = self.world.sandbox.orders(PORT), self.end()
        while fault and until < self.left() <= 0.5:
            self.cron(killed=fault == "kill")
            if fault == "kill":
                break
        if fault in ("no name", "wrong name") and self.world.sandbox.orders(PORT) != orders:
            self.broken.append(f"renewal {len(self.serials)}: an order after a failed preflight")
        self.set("")
        while (serial := self.world.serial()) in ("", self.serials[-1]):
            if self.left() < 0:
                self.broken.append(f"renewal {len(self.serials)} ({fault}): not in time: {self.cron()}")
                return
            self.cron()
        self.closest = min(self.closest, (round(end - time.time(), 1), fault))
        self.serials.append(serial)

    def set(self, fault: str) -> None:
        sandbox = self.world.sandbox
        sandbox.fault(None, port=PORT)
        addresses = {"no name": (), "wrong name": (sandbox.address("client"),)}
        sandbox.dns("registry.test", *addresses.get(fault, (sandbox.address("server"),)))
        options: dict[str, dict[str, object]] = {
            "drop": {}, "serverInternal": {}, "badNonce": {"count": 1}, "delay": {"seconds": 0.5, "count": 4},
            "rateLimited": {"retry_after": 1, "path": "/order-plz"},
        }  # fmt: skip
        if fault in options:
            sandbox.fault(fault, port=PORT, **options[fault])

    def cron(self, *, killed: bool = False) -> str:
        """What cron does. killed: with -9, once certbot is at work."""
        if not killed:
            return self.world.server(f"{RENEW}; true")
        script = (
            f"{RENEW} & until ps -eo args | grep -q '[c]ertbot renew'; do kill -0 $! || exit 0; sleep 0.02; done; "
            "kill -9 $!"
        )
        return self.world.server(script, check=False)

    def told(self, seed: int, answers: Answers) -> str:
        """What came out of it."""
        return json.dumps(
            {
                "days": self.days, "seconds": self.seconds, "seed": seed, "renewals": len(self.serials) - 1,
                "orders": self.world.sandbox.orders(PORT), "issued": self.world.sandbox.issued(PORT),
                "requests of the probe": answers.made, "lost": len(answers.lost), "faults": self.faults,
                "seconds left, at the closest": self.closest, "broken": self.broken,
            }
        )  # fmt: skip


def lived(
    world: World,
    record: Record,
    days: float,
    seconds: int,
    renewals: int,
    *,
    interval: float = 0.05,
) -> None:
    seed = int(os.environ.get("LIFE_SEED", "20261125"))
    life = Life(world, days, seconds, random.Random(f"{seed} {days}"))  # noqa: S311
    root = life.begin()
    try:
        with asking(world, record, root, interval) as answers:
            try:
                for _ in range(renewals):
                    life.renewal()
                    assert life.broken == []
            finally:
                print(f"\n{life.told(seed, answers)}", flush=True)
        assert len(set(life.serials)) == renewals + 1
        assert life.world.sandbox.issued(PORT) == renewals
    finally:
        life.set("")


@pytest.mark.long
def test_a_short_life(world: World, record_property: Record) -> None:
    lived(world, record_property, 90, 36, 2)


@pytest.mark.long
@pytest.mark.parametrize(("days", "seconds"), [(90, 40), (64, 40), (45, 40), (160 / 24, 40)])
def test_two_years(world: World, record_property: Record, days: float, seconds: int) -> None:
    """Renewed at half of the lifetime, so so many times."""
    lived(world, record_property, days, seconds, round(YEARS * 365 / (days / 2)), interval=0.2)
