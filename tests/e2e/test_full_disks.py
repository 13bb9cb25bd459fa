"""Disks that fill up while certbot writes: nothing is left that a rerun, or cron, does not put right."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.sandbox.demo import DOMAIN, fab

from .test_certificate_faults import PROXY, acme, order
from .world import DEPLOY_DIR, World, wait_until

__all__ = ["acme"]

CONF = f"{DEPLOY_DIR}/certbot/conf"


@contextmanager
def small_disk(world: World, keep: bool) -> Iterator[None]:
    """A disk of 4 MB below certbot's directory; keep: with what was there."""
    there = "cp -a /tmp/kept/. ." if keep else ":"
    world.server(
        f"set -e; rm -rf /tmp/kept; cp -a {CONF} /tmp/kept; "
        f"mount -t tmpfs -o size=4m,mode=700 tmpfs {CONF}; cd {CONF}; {there}"
    )
    try:
        yield
    finally:
        world.server(f"umount {CONF}")


def filled_while(world: World, begin: Callable[[], subprocess.Popen[str]], left: int) -> str:
    """Fill that disk when the order is at the authority, but for so many KB. Returns what the order said."""
    world.sandbox.clear_acme_log()
    world.sandbox.fault("delay", seconds=5, path="/finalize-order/")
    with begin() as running:
        wait_until(
            lambda: any(entry["path"].startswith("/finalize-order/") for entry in world.sandbox.acme_log()),
            "it is there",
        )
        world.server(
            f"cd {CONF}; free=$(df -k --output=avail . | tail -n 1); "
            f"dd if=/dev/zero of=filler bs=1k count=$((free - {left})) 2>/dev/null"
        )
        world.sandbox.fault(None)
        said, _ = running.communicate(timeout=300)
    world.server(f"rm {CONF}/filler")
    return said


def later(world: World) -> None:
    """As if the pause after a failed order were over."""
    world.server(f'sed -i \'s/"next": .*,/"next": 1,/\' {DEPLOY_DIR}/certbot/attempts.json', check=False)


@pytest.mark.long
@pytest.mark.parametrize(
    "left", [0, pytest.param(16, marks=pytest.mark.long), pytest.param(28, marks=pytest.mark.long)]
)
def test_a_first_order_on_a_disk_that_fills_up(acme: World, left: int) -> None:
    """C7: the same command again is all that is needed, as the README promises."""
    command = [*fab(acme.sandbox, acme.settings), "init-letsencrypt"]

    def begin() -> subprocess.Popen[str]:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    with small_disk(acme, keep=False):
        said = filled_while(acme, begin, left)
        later(acme)
        again = acme.fab("bootstrap").stdout
        assert "Ready" in again, said
        assert (
            acme.server(f"cd {CONF} && openssl x509 -noout -serial -in live/{DOMAIN}/cert.pem")
            .strip()
            .endswith(acme.serial())
        )


@pytest.mark.long
@pytest.mark.parametrize(
    "left", [pytest.param(12, marks=pytest.mark.long), 32, pytest.param(36, marks=pytest.mark.long)]
)
def test_cron_heals_a_renewal_on_a_disk_that_filled_up(acme: World, left: int) -> None:
    """C7: an order is right there: no other renewal would ever come for what is half made."""

    def begin() -> subprocess.Popen[str]:
        command = ["docker", "exec", acme.sandbox.container("server"), f"{DEPLOY_DIR}/inv", "renew"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    with small_disk(acme, keep=True):
        acme.expire()
        said = filled_while(acme, begin, left)
        serial = acme.serial()
        later(acme)
        healed = acme.server(f"{DEPLOY_DIR}/inv renew 2>&1; echo exit $?")
        assert healed.endswith("exit 0\n"), (said, healed)
        assert acme.serial() not in ("", serial) or "renewed and served" in said
        assert "certificate    valid" in acme.fab("status").stdout


@pytest.mark.long
def test_room_is_looked_for_before_an_order(acme: World) -> None:
    """Bytes and inodes: no try is spent, `--force` or not."""
    acme.configure(ACME_SERVER=PROXY)
    for size, words in (("size=1m", "KB are free"), ("size=8m,nr_inodes=20", "more files can be made")):
        with small_disk(acme, keep=False):
            acme.server(f"mount -t tmpfs -o {size},mode=700 tmpfs {CONF}")
            try:
                for options in ((), ("--force",)):
                    refused = order(acme, *options, ok=False)
                    assert "nothing was ordered: no room for an order" in refused
                    assert words in refused
            finally:
                acme.server(f"umount {CONF}")
    assert acme.sandbox.orders() == 0
