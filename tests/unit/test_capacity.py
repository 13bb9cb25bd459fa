"""Limits, workers, memory and descriptors, for servers of 512 MB to 64 GB: whether they fit together."""

from __future__ import annotations

import itertools

import pytest

from fabfile.stack.capacity import AT_REST, IDLE, MB, PULL, derived

SIZES = [
    {"memory": int(memory * (1 << 30)), "cores": cores}
    for memory, cores in itertools.product((0.45, 0.95, 1.9, 3.8, 7.7, 15.6, 31, 62), (1, 2, 8, 64))
]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size['memory'] >> 20}MB-{size['cores']}")
def test_all_that_may_be_at_once_fits(size: dict[str, int]) -> None:
    limits = derived(size)
    memory = limits.nginx_memory * MB
    slots = limits.connections * limits.workers
    requests = limits.requests + limits.requests_of_gateway
    # Everything that may be, as pulls and as headers that are only begun.
    assert AT_REST + requests * PULL + max(0, slots - 2 * requests) * IDLE <= memory
    assert AT_REST + slots * IDLE <= memory
    # nginx fits the server beside the others, whose memory is mostly the kernel's cache.
    assert memory <= max(size["memory"] * 0.45, 192 * MB)
    together = limits.nginx_memory + limits.registry_memory + limits.auth_memory
    assert together * MB <= max(size["memory"], 512 * MB) * 0.95
    # One address, or the gateway, leaves room for others: requests, and slots behind them.
    assert limits.requests_of_one <= limits.requests // 3
    assert 2 * requests <= slots
    assert limits.requests_of_one >= 64
    assert limits.descriptors >= limits.connections + requests // limits.workers
    # What `auth` is at work on is done before anybody gives up (proxy_read_timeout of 30 s), at half its pace.
    assert (limits.checks + limits.checks_of_gateway) * 0.25 / size["cores"] <= 10
    # Twenty people of an office at once are no attack, and leave places for others.
    assert min(20, 10 * size["cores"]) <= limits.checks_of_one < limits.checks
    assert limits.checks_waiting / limits.checks_a_second <= 15


def test_a_new_kernel_changes_nothing() -> None:
    assert derived({"memory": 1_940_000_000, "cores": 2}) == derived({"memory": 1_990_000_000, "cores": 2})


def test_a_small_server_and_a_large_one() -> None:
    small, large = (derived({"memory": size << 30, "cores": 2}) for size in (1, 24))
    assert (small.nginx_memory, small.requests_of_one) == (384, 112)
    assert (large.nginx_memory, large.requests_of_one) == (4096, 1520)
