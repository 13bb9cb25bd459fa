"""`status`: how the registry is doing, at a glance or as JSON."""

from __future__ import annotations

import json
import time
from typing import Any

from . import accounts, certificates, report, stack
from .host import Host, require_deployed
from .onhost import disk
from .settings import Settings

GB = 1e9


def status(host: Host, settings: Settings) -> dict[str, Any]:
    """What runs on the server, its certificate, accounts and disk. Changes nothing."""
    require_deployed(host, settings.deploy_dir)
    return {
        "registry": settings.registry_domain,
        "containers": stack.containers(host, settings),
        "certificate": certificates.both(host, settings),
        "accounts": accounts.listed(host, settings),
        "disk": host.call(disk.usage, settings.deploy_dir),
    }


def show(found: dict[str, Any], *, as_json: bool) -> None:
    """Print what `status` found."""
    if as_json:
        print(json.dumps(found, indent=2))
        return
    rows = [
        ("ok" if c["state"] == "running" and c["health"] in ("", "healthy") else "failed",
         c["service"], f"{c['state']} {c['health']} ({c['image']})")
        for c in found["containers"]
    ]  # fmt: skip
    if not rows:
        rows = [("failed", "containers", "none: ./fab -H … up starts them")]
    rows += [_certificate(found["certificate"])]
    names = ", ".join(str(account["user"]) for account in found["accounts"])
    rows += [
        ("ok" if names else "failed", "accounts", names or "none: ./fab -H … htpasswd --user NAME")
    ]
    space = found["disk"]
    low = space["free"] < GB
    rows += [("warn" if low else "ok", "disk",
              f"{space['free'] / GB:.1f} GB free, {space['data'] / GB:.1f} GB of layers")]  # fmt: skip
    report.table(("", found["registry"], ""), rows)


def _certificate(found: dict[str, Any]) -> tuple[str, str, str]:
    disk_side, served = found["on_disk"], found["served"]
    if not disk_side:
        return "failed", "certificate", "none: ./fab -H … init-letsencrypt orders one"
    text = certificates.described(disk_side)
    if "broken" in disk_side or disk_side["not_after"] < time.time():
        return "failed", "certificate", text
    if served.get("serial") != disk_side["serial"]:
        return (
            "failed",
            "certificate",
            f"{text}, but clients get serial {served.get('serial', 'none')}: ./fab -H … renew",
        )
    return "ok", "certificate", text
