"""Certificates from a real ACME server (Pebble): one order where one is due, and none else."""

from __future__ import annotations

import re

import pytest

from tests.sandbox.demo import DOMAIN

from .world import DEPLOY_DIR, PASSWORD, USER, World, wait_until

A, B = (f"https://acme.test:{port}/dir" for port in (14000, 14001))


@pytest.mark.long
def test_switching_the_server_orders_exactly_once(clean: World) -> None:
    """C11: staging to production, played with two authorities."""
    clean.bootstrap(ACME_SERVER=A)
    first = clean.serial()
    assert clean.certificates() == 1
    clean.configure(ACME_SERVER=B)
    clean.fab("sync", "up", "init-letsencrypt")
    second = clean.serial()
    assert second != first
    assert clean.certificates() == 2
    assert "nothing to order" in clean.fab("init-letsencrypt").stdout
    assert "nothing due" in clean.fab("renew").stdout
    assert clean.serial() == second
    assert clean.certificates() == 2
    assert "issued by Pebble" in clean.fab("status").stdout


def test_c11_a_revoked_certificate_is_replaced_once(deployed: World) -> None:
    serial = deployed.serial()
    deployed.server(
        f"cd {DEPLOY_DIR} && docker compose run --rm -T --no-deps certbot revoke --non-interactive "
        f"--no-delete-after-revoke --cert-name {DOMAIN} --server {A} 2>&1"
    )
    deployed.fab("init-letsencrypt", "--force")
    replaced = deployed.serial()
    assert replaced not in ("", serial)
    assert "nothing to order" in deployed.fab("init-letsencrypt").stdout
    assert "nothing due" in deployed.fab("renew").stdout
    assert deployed.serial() == replaced


def test_a_new_name_is_added_by_one_order(deployed: World) -> None:
    before = deployed.certificates()
    alias = "alias.registry.test"
    deployed.configure(REGISTRY_ALIASES=alias)
    deployed.fab("sync", "up", "init-letsencrypt", "init-letsencrypt")
    assert deployed.certificates() == before + 1
    assert deployed.curl("/v2/", "-u", f"{USER}:{PASSWORD}", name=alias) == "{}"
    assert deployed.login(USER, PASSWORD) == 200


def test_a_failed_order_says_why_and_leaves_all_as_it_is(deployed: World) -> None:
    serial, count = deployed.serial(), deployed.certificates()
    deployed.configure(REGISTRY_ALIASES="nowhere.registry.test")
    deployed.fab("sync", "up")
    failed = deployed.fab("init-letsencrypt", ok=False)
    assert failed.returncode == 1
    assert "nowhere.registry.test" in failed.stderr or "DNS" in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 3
    assert (deployed.serial(), deployed.certificates()) == (serial, count)
    assert deployed.login(USER, PASSWORD) == 200


def test_a_broken_pair_is_not_loaded(deployed: World) -> None:
    """C9: a truncated certificate, and a key of another one; after a restart too."""
    serial = deployed.serial()
    live = f"{DEPLOY_DIR}/certbot/conf/live/registry.test"
    for damage in (
        f"truncate -s 400 {live}/fullchain.pem",
        f"openssl genrsa 2048 2>/dev/null >{live}/privkey.pem",
    ):
        deployed.server(f"rm -rf /root/conf; cp -a {DEPLOY_DIR}/certbot/conf /root/conf; {damage}")
        try:
            failed = deployed.fab("up", ok=False)
            assert "the newest certificate is not used" in failed.stderr
            assert "the last good one goes on" in failed.stderr
            assert deployed.serial() == serial
            deployed.server("docker restart private-docker-registry-nginx-1")
            wait_until(
                lambda: deployed.login(USER, PASSWORD) == 200,
                "nginx comes back with the last good pair",
            )
            assert deployed.serial() == serial
        finally:
            deployed.server(f"rm -rf {DEPLOY_DIR}/certbot/conf; mv /root/conf {DEPLOY_DIR}/certbot/conf")
    assert "nothing to change" in deployed.fab("up").stdout


@pytest.mark.long
def test_renewed_on_disk_but_not_served_is_noticed(deployed: World) -> None:
    """C12: certbot was run by hand; the next `renew` has it loaded."""
    serial = deployed.serial()
    deployed.server(
        f"cd {DEPLOY_DIR} && docker compose -p private-docker-registry run --rm --no-deps -T certbot "
        "renew --force-renewal --no-random-sleep-on-renew </dev/null"
    )
    assert deployed.serial() == serial
    assert "but clients get serial" in deployed.fab("status", ok=False).stdout
    assert "nginx now serves what was on disk" in deployed.fab("renew").stdout
    assert deployed.serial() != serial


def test_cron_itself_renews(clean: World) -> None:
    """The real daemon, once a minute, with cron's bare environment: no pip, no fabric, no SSH."""
    clean.bootstrap(RENEW_SCHEDULE="* * * * *")
    assert clean.server("python3 -m pip --version 2>&1; python3 -c 'import fabric' 2>&1; true").count("No module") == 2
    first = clean.serial()
    log = f"{DEPLOY_DIR}/log/renew.log"
    clean.expire()
    wait_until(lambda: "renewed and served" in clean.server(f"cat {log}", check=False), "cron renewed", 120)
    assert clean.serial() not in ("", first)
    assert clean.login(USER, PASSWORD) == 200
    assert "Traceback" not in clean.server(f"cat {log}")
    clean.configure()
    clean.fab("sync", "schedule")


@pytest.mark.long
def test_a_cron_that_cannot_start_inv_is_heard_of(clean: World) -> None:
    """`inv` as a clone on Windows once made it, and without what it imports."""
    clean.bootstrap(ALERT_COMMAND="cat >>'/tmp/told'; echo \\\\done >>/tmp/told")
    run = f"cd {DEPLOY_DIR} && env -i PATH=/usr/bin:/bin sh ./by-cron.sh; echo exit $?"
    assert "exit 0" in clean.server(run)
    assert clean.server("cat /tmp/told", check=False) == ""
    clean.server(f"sed -i 's/$/\\r/' {DEPLOY_DIR}/inv")
    # At once, before cron has come.
    assert re.search(r"failed +cron +cannot start ./inv, so nothing is renewed: .*not found \(exit status 127\)",
                     clean.fab("status", ok=False).stdout)  # fmt: skip
    assert "exit 127" in clean.server(run)
    told = clean.server("cat /tmp/told")
    assert told.startswith(f"{DOMAIN}: cron could not run ./inv renew (exit status 127): ")
    assert f"-> ./fab -H {DOMAIN} sync" in told
    assert told.endswith("\n\\done\n")
    # Once for each problem.
    assert "exit 127" in clean.server(run)
    assert clean.server("cat /tmp/told") == told
    clean.fab("sync")
    clean.server(f"rm {DEPLOY_DIR}/lib.zip")
    assert "exit 1" in clean.server(run)
    assert "No module named" in clean.server("cat /tmp/told").removeprefix(told)
    clean.fab("sync")
    assert re.search(r"failed +cron +cron could not run ./inv renew", clean.fab("status", ok=False).stdout)
    assert "exit 0" in clean.server(run)
    assert re.search(r"ok +cron +runs", clean.fab("status").stdout)
    # What `inv` itself tells is not told a second time.
    clean.server(f"rm /tmp/told; rm -r {DEPLOY_DIR}/certbot/conf/live")
    assert "exit 1" in clean.server(run)
    assert clean.server("grep -c done /tmp/told").strip() == "1"
    clean.configure()
    clean.clean()


@pytest.mark.long
def test_the_log_of_cron_rotates(deployed: World) -> None:
    deployed.server(
        f"cd {DEPLOY_DIR} && head -c 1100000 /dev/zero >log/renew.log && "
        "env -i PATH=/usr/bin:/bin sh -c './inv renew --log log/renew.log >>log/renew.log 2>&1'"
    )
    deployed.server(f"cd {DEPLOY_DIR} && ./inv renew --log log/renew.log >>log/renew.log 2>&1")
    sizes = dict(
        line.split()[::-1] for line in deployed.server(f"cd {DEPLOY_DIR}/log && stat -c '%s %n' renew*").splitlines()
    )
    assert set(sizes) == {"renew.log", "renew.log.1"}
    assert int(sizes["renew.log.1"]) > 1_000_000
    assert 0 < int(sizes["renew.log"]) < 10_000


@pytest.mark.long
def test_settings_that_cannot_be_read_are_told_of(deployed: World) -> None:
    deployed.configure(ALERT_COMMAND="cat >/tmp/told")
    deployed.fab("sync")
    deployed.server(f"rm {DEPLOY_DIR}/certbot/acme/ca.pem")
    output = deployed.server(f"{DEPLOY_DIR}/inv renew 2>&1; echo exit $?")
    assert "exit 2" in output
    assert "ACME_CA_BUNDLE" in deployed.server("cat /tmp/told; rm /tmp/told")


@pytest.mark.long
def test_a_renewal_of_files_that_belong_to_somebody_else(deployed: World) -> None:
    """As a copy from another host leaves them."""
    deployed.server(f"chown -R 1000:1000 {DEPLOY_DIR}/certbot")
    deployed.fab("renew", "--dry-run")
    assert deployed.server(f"find {DEPLOY_DIR}/certbot ! -user root") == ""


def test_inv_renew_exits_with_the_outcome(deployed: World) -> None:
    run = f"cd / && {DEPLOY_DIR}/inv renew; echo exit $?"
    assert "exit 0" in deployed.server(run)
    deployed.sandbox.dns("acme.test", "127.0.0.9")
    try:
        rehearsed = deployed.server(f"cd / && {DEPLOY_DIR}/inv renew --dry-run 2>&1; echo exit $?")
        assert "exit 1" in rehearsed
        assert "Traceback" not in rehearsed
    finally:
        deployed.sandbox.dns("acme.test", deployed.sandbox.address("ca"))
    assert "exit 2" in deployed.server(f"{DEPLOY_DIR}/inv renw 2>&1; echo exit $?")
