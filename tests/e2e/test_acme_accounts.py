"""Accounts at the ACME server: two of them, one that was forgotten there, one that needs a key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.demo import DOMAIN

from .test_care import typed
from .test_certificate_faults import RENEWAL, order
from .test_certificates import A, B
from .world import DEPLOY_DIR, World

CONF = f"{DEPLOY_DIR}/certbot/conf"
KEPT = "registry/data/. registry/auth certbot/conf"
# An authority that a test starts, and starts anew: then it knows nobody.
D, D_PORT = "https://acme.test:14007/dir", 14007
KID, KEY = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


@pytest.fixture
def server(world: World) -> Iterator[World]:
    """A bootstrapped server; the authority that forgets is running."""
    world.sandbox.authority(7776000)
    world.standard()
    world.sandbox.clear_acme_log()
    yield world
    world.server(f"sed -i 's#^server = .*#server = {A}#' {RENEWAL}; rm -f {DEPLOY_DIR}/certbot/attempts.json")


def accounts(world: World, place: str, conf: str = CONF) -> list[str]:
    return world.server(f"ls {conf}/accounts/{place}/dir", check=False).split()


@pytest.mark.long
def test_a_restore_onto_a_server_that_had_an_account_of_its_own(clean: World, tmp_path: Path) -> None:
    """By tar, as the page of an earlier version had it. Two accounts then, and certbot would ask which one."""
    clean.bootstrap()
    typed(clean, f"ssh root@registry.example.com 'cd {DEPLOY_DIR} && tar -c {KEPT}' > registry.tar", tmp_path)
    ours = accounts(clean, "acme.test:14000")
    clean.clean()
    clean.bootstrap()
    clean.fab("down")
    typed(clean, f"ssh root@registry.example.com 'cd {DEPLOY_DIR} && tar -xp' < registry.tar", tmp_path)
    clean.fab("bootstrap")
    assert len(accounts(clean, "acme.test:14000")) == 2
    assert "rehearsed: a renewal would succeed" in clean.fab("renew", "--dry-run").stdout
    assert "ordered" in order(clean, "--force")
    # The one that the certificate came with.
    assert clean.server(f"sed -n 's/^account = //p' {RENEWAL}").split() == ours
    # Without a word of it in the renewal file: the newest.
    clean.server(f"sed -i '/^account = /d' {RENEWAL}")
    assert "ordered" in order(clean, "--force")
    assert clean.server(f"grep -c ^account {RENEWAL}") == "1\n"
    assert not clean.server(f"cat {DEPLOY_DIR}/certbot/attempts.json", check=False).count("Choices")


@pytest.mark.long
def test_an_authority_that_forgot_us_gets_one_new_account(server: World) -> None:
    """By an order and by cron's renewal alike; the old one is moved, not deleted."""
    server.configure(ACME_SERVER=D)
    server.fab("sync", "up")
    assert "ordered" in order(server)
    first = accounts(server, "acme.test:14007")
    server.sandbox.authority(7776000)
    done = order(server, "--force")
    assert "ordered" in done
    assert "knows no such account any more" in done
    second = accounts(server, "acme.test:14007")
    assert len(second) == 1
    assert second != first
    assert server.server(f"ls {CONF}/forgotten").startswith(f"{first[0]}-")
    server.sandbox.authority(7776000)
    server.expire()
    server.sandbox.clear_acme_log()
    done = server.server(f"{DEPLOY_DIR}/inv renew 2>&1; echo exit $?")
    assert "renewed and served" in done, done
    assert "exit 0" in done
    assert len(accounts(server, "acme.test:14007")) == 1
    assert len(server.sandbox._posts(D_PORT, "/sign-me-up")) == 1
    assert server.sandbox.issued(D_PORT) == 1
    server.sandbox.authority(7776000)
    assert "rehearsed: a renewal would succeed" in server.fab("renew", "--dry-run").stdout
    assert 'failures": 1' not in server.server(f"cat {DEPLOY_DIR}/certbot/attempts.json", check=False)


@pytest.mark.long
def test_a_rehearsals_forgotten_account_blocks_no_order(server: World) -> None:
    def wants_a_first_order() -> None:
        server.server(f"sed -i 's#^server = .*#server = https://elsewhere.test/dir#' {RENEWAL}")

    server.configure(ACME_SERVER=B, ACME_REHEARSAL=D)
    server.fab("sync", "up")
    assert "rehearsed first" in order(server)
    server.sandbox.authority(7776000)
    wants_a_first_order()
    assert "rehearsed first" in order(server)
    assert len(accounts(server, "acme.test:14007", f"{DEPLOY_DIR}/certbot/rehearsal/conf")) == 1


@pytest.mark.long
def test_an_account_that_a_full_disk_left_half_made(server: World) -> None:
    before = accounts(server, "acme.test:14000")
    for name in before:
        server.server(f": >{CONF}/accounts/acme.test:14000/dir/{name}/regr.json")
    assert "ordered" in order(server, "--force")
    (new,) = accounts(server, "acme.test:14000")
    assert new not in before


@pytest.mark.long
def test_an_authority_that_makes_accounts_for_a_key_alone(server: World, tmp_path: Path) -> None:
    bound = server.sandbox.bound_authority(KID, KEY)
    server.configure(ACME_SERVER=bound)
    server.fab("sync", "up")
    # Before anything is asked: no try is spent.
    assert "makes no account without a key: set ACME_EAB_KID and ACME_EAB_HMAC_FILE" in order(server, ok=False)
    tries = json.loads(server.server(f"cat {DEPLOY_DIR}/certbot/attempts.json 2>/dev/null || echo {{}}"))
    assert tries.get(bound, {}).get("failures", 0) == 0
    file = tmp_path / "eab.key"
    file.touch(mode=0o600)
    file.write_text(f"{KEY}\n")
    server.configure(ACME_SERVER=bound, ACME_EAB_KID=KID, ACME_EAB_HMAC_FILE=str(file))
    assert KEY not in server.fab("sync", "--diff").stdout
    server.fab("sync", "up")
    assert "ordered" in order(server)
    assert "nothing to order" in order(server)
    assert server.server(f"stat -c '%a %U' {DEPLOY_DIR}/certbot/acme/eab.ini") == "600 root\n"
    # certbot's log has its command line.
    logs = server.server(f"cat {DEPLOY_DIR}/certbot/log/*")
    assert "--eab-kid" in logs
    assert KEY not in logs
    everywhere = f"grep -rl -e {KEY} {DEPLOY_DIR} /etc/cron.d || true"
    assert server.server(everywhere).split() == [f"{DEPLOY_DIR}/certbot/acme/eab.ini"]
    # On the server cron has the settings, and they are whole.
    assert "nothing due" in server.server(f"{DEPLOY_DIR}/inv renew 2>&1")
    assert DOMAIN in server.fab("status", ok=None).stdout


@pytest.mark.long
def test_the_chain_that_is_wanted_comes_at_an_order_and_at_a_renewal(server: World) -> None:
    authority, (first, second) = server.sandbox.authority_of_two_chains()
    assert first != second

    def root() -> str:
        """Where the chain that nginx serves ends."""
        live = f"{DEPLOY_DIR}/nginx/live/tls/fullchain.pem"
        shown = server.server(f"openssl crl2pkcs7 -nocrl -certfile {live} | openssl pkcs7 -print_certs -noout")
        return str(re.findall(r"^issuer=CN ?= ?(.*)$", shown, re.M)[-1])

    server.configure(ACME_SERVER=authority)
    server.fab("sync", "up")
    assert "ordered" in order(server)
    assert root() == first
    server.configure(ACME_SERVER=authority, ACME_PREFERRED_CHAIN=second)
    server.fab("sync", "up")
    assert "ordered" in order(server, "--force")
    assert root() == second
    # And once more the other way, by cron's own renewal.
    server.configure(ACME_SERVER=authority, ACME_PREFERRED_CHAIN=first)
    server.fab("sync", "up")
    server.expire()
    server.fab("renew")
    assert root() == first
    # No such chain: what is offered first.
    server.configure(ACME_SERVER=authority, ACME_PREFERRED_CHAIN="No Such Root")
    server.fab("sync", "up")
    assert "ordered" in order(server, "--force")
    assert root() == first
