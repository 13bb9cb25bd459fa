"""Which task is done how on several servers, and what is refused before any of them is reached."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

import fabfile
from fabfile.errors import UsageError
from fabfile.names import short
from fabfile.settings import Settings
from fabfile.ways import MAKING, SHARED, WAYS, Way, require, spoken, way

ALL = ("root@a", "root@b", "root@c")


@pytest.fixture
def fleet(settings: Settings) -> Settings:
    return replace(settings, fleet=ALL, storage="s3")


def test_each_task_has_one_way() -> None:
    known = [task for tasks in WAYS.values() for task in tasks]
    assert sorted(known) == sorted({*known})
    # A new task that has none would end in a stack trace where several servers are named.
    assert {*known} == set(fabfile.ns.task_names)


@pytest.mark.parametrize("task", [task for tasks in WAYS.values() for task in tasks])
def test_a_part_of_the_servers_never_gets_what_all_have_alike(fleet: Settings, task: str) -> None:
    """Each task with each part of HOSTS: only the whole gets what is shared, in any order and for any user."""
    for count in (1, 2, 3):
        for named in combinations(ALL, count):
            refused = (task in SHARED and count < 3) or (way(task) is Way.ONE and count > 1)
            try:
                require(task, named, fleet)
            except UsageError:
                assert refused, (task, named)
            else:
                assert not refused, (task, named)
    if way(task) is not Way.ONE:
        require(task, ("me@c", "a", "b"), fleet)


def test_what_is_left_out_is_named_with_what_to_type(fleet: Settings) -> None:
    with pytest.raises(UsageError, match=r"it would leave root@b, root@c as it is.*\n  -> \./fab htpasswd, without -H"):
        require("htpasswd --remove demo", ("root@a",), fleet)
    with pytest.raises(UsageError, match="HOSTS does not name root@d"):
        require("sync", (*ALL, "root@d"), fleet)
    require("sync --diff", ("root@a",), fleet)


@pytest.mark.parametrize("task", ["check", "status", "sync", "sync --diff", "up", "renew", "logs", *MAKING])
def test_servers_with_disks_of_their_own_are_no_fleet(settings: Settings, task: str) -> None:
    """Whatever is done on one after the other goes on; what makes one registry of them is refused."""
    require(task, ("a",), settings)
    if task in MAKING:
        with pytest.raises(UsageError, match="each would have images of its own"):
            require(task, ("a", "b"), settings)
    else:
        require(task, ("a", "b"), settings)


def test_a_fleet_stands_in_hosts(fleet: Settings) -> None:
    with pytest.raises(UsageError, match=r"\n  -> HOSTS=a b in \.env, then \./fab bootstrap"):
        require("bootstrap", ("a", "b"), replace(fleet, fleet=()))
    require("bootstrap", ("a",), replace(fleet, fleet=()))
    require("status", ("a", "b"), replace(fleet, fleet=()))


def test_a_remedy_names_all_where_a_part_would_be_refused() -> None:
    text = "./fab -H … sync up, or ./fab -H … up"
    assert spoken(text, "") == "./fab sync up, or ./fab -H … up"
    assert spoken(text, "-H a,b") == "./fab -H a,b sync up, or ./fab -H … up"


def test_names_before_lines_are_short_and_tell_enough() -> None:
    names = [
        "root@a.example.com",
        "root@b.example.com:22",
        "root@b.example.org",
        "root@192.0.2.1",
        "root@192.0.2.1:2222",
    ]
    assert [short(name, names) for name in names] == [
        "a", "b.example.com:22", "b.example.org", "192.0.2.1", "192.0.2.1:2222",
    ]  # fmt: skip
