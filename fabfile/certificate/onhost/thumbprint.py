"""The thumbprint of the key of certbot's account: with it a server answers any challenge of that account.

That is RFC 8555, 8.1. So several servers with one account answer for each other, and none has to know who ordered.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from ...layout import CERTIFICATES, THUMBPRINT
from ...machine.onhost import beneath
from ...machine.onhost.atomic import replace
from . import acme_accounts

# What a thumbprint is made of, of each type of key (RFC 7638, 3.2).
MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y")}


def of_key(key: dict[str, Any]) -> str:
    """The thumbprint of a JSON Web Key (RFC 7638, 3)."""
    members = {name: key[name] for name in MEMBERS[key["kty"]]}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def of(directory: str, server: str, name: str) -> str:
    """That of the account that an order uses; '' where there is none.

    directory: DEPLOY_DIR; server: a directory URL; name: of the certificate.
    """
    conf = f"{directory}/{CERTIFICATES}"
    account = acme_accounts.chosen(conf, server, name)
    return of_key(json.loads(acme_accounts.part(conf, server, account, acme_accounts.KEY))) if account else ""


def keep(directory: str, server: str, name: str) -> bool:
    """Write it where `up` takes it for nginx. Returns whether it was another one. Arguments as of `of`."""
    file, found = Path(directory, THUMBPRINT), of(directory, server, name)
    # What is beside it is certbot's.
    if not found or (beneath.there(file.parent, file.name) and beneath.text(file.parent, file.name) == found):
        return False
    replace(file, found.encode(), 0o644)
    return True
