"""Several servers that are one registry: set up by one command, each with its own certificate."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from .three import ALL, Three, three
from .world import DEPLOY_DIR, World

PROXY = "https://acme.test:14009/dir"


@pytest.fixture(scope="module")
def machines(world: World) -> Iterator[Three]:
    with three(world) as found:
        yield found


@pytest.fixture
def fleet(machines: Three) -> Three:
    """Three servers on which nothing is deployed."""
    machines.clean()
    return machines


@pytest.mark.long
def test_three_servers_by_one_command(fleet: Three) -> None:
    """One certificate each, one account at the authority, one secret; and once more is no more than a look."""
    fleet.configure(ACME_SERVER=PROXY)
    fleet.sandbox.clear_acme_log()
    first = fleet.fab("bootstrap")
    print(first.stdout, first.stderr)
    assert fleet.certificates() == dict.fromkeys(ALL, 1)
    assert (fleet.sandbox.orders(), fleet.sandbox.issued()) == (3, 3)
    same = (
        "sha256sum <{d}/registry/secrets/http-secret", "sha256sum <{d}/registry/auth/htpasswd",
        "cat {d}/certbot/thumbprint", "ls {d}/certbot/conf/accounts/*/*",
    )  # fmt: skip
    for script in same:
        assert len({fleet.shell(name, script.format(d=DEPLOY_DIR)) for name in ALL}) == 1, script
    different = ("sha256sum <{d}/certbot/conf/live/registry.test/privkey.pem", "grep by-cron /etc/cron.d/*")
    for script in different:
        assert len({fleet.shell(name, script.format(d=DEPLOY_DIR)) for name in ALL}) == 3, script
    print(fleet.fab("bootstrap").stdout)
    assert (fleet.sandbox.orders(), fleet.certificates()) == (3, dict.fromkeys(ALL, 1))
    told = json.loads(fleet.fab("status", "--json").stdout)
    assert [(name, each["registry"]) for name, each in told.items()] == [(name, "registry.test") for name in ALL]
