"""The proof that one of several servers works: docker would go to whichever the name leads to."""

from __future__ import annotations

import secrets
import time

from .. import layout
from ..accounts.onhost.accounts_file import Rights
from ..accounts.passwords import hashed
from ..machine.host import Host
from ..secret import Secret
from ..settings import Settings
from ..stack import logins
from .onhost import through
from .proof import REPOSITORY, Receipt, Tell, short


def prove(host: Host, settings: Settings, tell: Tell, receipt: Receipt) -> None:
    """Push, pull, compare and delete through that server's own nginx, as an account that lives for so long.

    Raises StepError where a part of it fails; leaves nothing behind whatever happens.
    """
    user = f"push-test-{int(time.time()):x}-{secrets.token_hex(4)}"
    password = Secret(secrets.token_urlsafe(24))
    receipt.client = f"{host.name}, through its own address"
    rights: Rights = {"role": "admin", "repositories": [REPOSITORY]}
    start = time.monotonic()
    try:
        # Its password is random and lives for seconds: the cheapest hash will do.
        logins.enter(host, settings, {user: hashed(user, password, cost=4)}, rights, alone=True)
        certificate = f"{settings.deploy_dir}/{layout.LIVE}/{layout.TLS}/{layout.FULLCHAIN}"
        login = f"{user}:{password.reveal()}"
        found = host.call(through.prove, settings.registry_domain, certificate, REPOSITORY, user, login)
    finally:
        logins.remove(host, settings, user)
    seconds = time.monotonic() - start
    for name, text in found["parts"]:
        receipt.lines.append({"name": name, "text": text, "seconds": 0.0})
        tell("ok", name, short(text), 0.0)
    receipt.lines.append({"name": "SUCCESS", "text": "through this server alone", "seconds": round(seconds, 3)})
    receipt.digest, receipt.ok = found["digest"], True
