"""`forget`: who stays, what .env says then, and what has to go from DNS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fabfile.certificate.onhost import probe
from fabfile.errors import UsageError
from fabfile.machine.fleet import Fleet, Server
from fabfile.machine.host import Host
from fabfile.settings import Settings
from fabfile.stack.onhost import relay
from fabfile.steps import forget

ALL = ("root@a", "root@b", "root@c")


def test_the_one_that_goes_is_one_of_hosts(settings: Settings) -> None:
    fleet = replace(settings, fleet=ALL)
    assert forget.parted(fleet, "c") == (("root@a", "root@b"), "root@c")
    assert forget.parted(fleet, "me@a") == (("root@b", "root@c"), "root@a")
    with pytest.raises(UsageError, match="HOSTS does not name d\n  -> it names root@a, root@b, root@c"):
        forget.parted(fleet, "d")
    with pytest.raises(UsageError, match="none to forget"):
        forget.parted(settings, "a")


def test_one_that_is_left_is_no_fleet(settings: Settings) -> None:
    assert forget.without(settings, ["root@a", "root@b"]).fleet == ("root@a", "root@b")
    assert forget.without(settings, ["root@a"]).fleet == ()


@pytest.mark.parametrize("before", ["HOSTS=root@a root@b root@c\n", "#HOSTS=\n", ""])
def test_hosts_is_written_anew_and_all_else_stays(tmp_path: Path, before: str) -> None:
    file = tmp_path / ".env"
    file.write_text(f"A=1\n{before}B=2\n")
    file.chmod(0o640)
    assert forget._noted(file, ["root@a", "root@b"]).changed
    rest = [line for line in file.read_text().splitlines() if not line.startswith("HOSTS=")]
    assert rest == ["A=1", "B=2"]
    assert "HOSTS=root@a root@b\n" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640
    assert not forget._noted(file, ["root@a", "root@b"]).changed


class Known:
    """A server that has these addresses of the name's."""

    def __init__(self, *own: str) -> None:
        self.own = own

    def call(self, function: Callable[..., object], *_: Any) -> object:
        if function is probe.mine:
            return [*self.own]
        assert function is relay.resolved
        return ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


@pytest.mark.parametrize(
    ("first", "second", "said", "doubtful"),
    [
        ("192.0.2.1", "192.0.2.2", "take out of DNS, at your provider: 192.0.2.3 of registry.example.org", True),
        ("192.0.2.1", "", "take the address of root@c out of DNS, if it is there", False),
    ],
)
def test_what_leads_to_none_of_the_others_is_named(
    settings: Settings, first: str, second: str, said: str, doubtful: bool
) -> None:
    hosts = [cast("Host", Known(*filter(None, [each]))) for each in (first, second)]
    servers = [Server(name, name[-1], host, settings) for name, host in zip(ALL, hosts, strict=False)]
    found = forget._dns(Fleet(tuple(servers)), settings, "root@c")
    assert (said in found.summary, found.doubtful) == (True, doubtful)
    # The balancer's is nobody's own, and stays.
    balanced = replace(settings, server_addresses=("192.0.2.3",))
    if doubtful:
        assert forget._dns(Fleet(tuple(servers)), balanced, "root@c").summary == "DNS leads to the others alone"
