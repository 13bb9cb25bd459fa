"""`status`: how the registry is doing, at a glance or as JSON."""

from __future__ import annotations

import json
from typing import Any

from . import accounts, certificates, lock, report, stack, validity
from .errors import StepError
from .host import Host, require_deployed
from .onhost import audit, disk
from .settings import Settings

GB = 1e9

Row = tuple[str, str, str]


def status(host: Host, settings: Settings) -> dict[str, Any]:
    """What runs on the server, its certificate, accounts and disk. Changes nothing."""
    require_deployed(host, settings.deploy_dir)
    try:
        users: list[dict[str, Any]] | str = accounts.listed(host, settings)
    except StepError as error:
        users = error.what
    return {
        "registry": settings.registry_domain,
        "containers": stack.containers(host, settings),
        "certificate": certificates.both(host, settings),
        "last_renewal": host.call(audit.last, lock.audit_log(settings), "renew"),
        "accounts": users,
        "disk": host.call(disk.usage, settings.deploy_dir),
    }


def show(found: dict[str, Any], *, as_json: bool) -> None:
    """Print what `status` found. Raises StepError when a line is red."""
    rows = [*_containers(found["containers"]), _certificate(found["certificate"])]
    last = found["last_renewal"]
    text = f"{last['when']}: {last['outcome']} (by {last['who']})" if last else "none yet"
    good = not last or last["outcome"] == "ok"
    rows.append(("ok" if good else "warn", "last renewal", text))
    rows.append(_accounts(found["accounts"]))
    space = found["disk"]
    text = f"{space['free'] / GB:.1f} GB free, {space['data'] / GB:.1f} GB of layers"
    rows.append(("warn" if space["free"] < GB else "ok", "disk", text))
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        report.table(("", found["registry"], ""), rows)
    red = [name for mark, name, _ in rows if mark == "failed"]
    if red:
        raise StepError(f"not as it should be: {', '.join(red)}", "each line above says what to do")


def _containers(containers: list[dict[str, Any]]) -> list[Row]:
    missing = {"auth", "nginx", "registry"} - {c["service"] for c in containers}
    rows = [("failed", name, "does not run: ./fab -H … up") for name in sorted(missing)]
    for c in containers:
        good = c["state"] == "running" and c["health"] in ("", "healthy")
        state = " ".join(filter(None, (c["state"], c["health"])))
        hint = "" if good else ": ./fab -H … up, or logs"
        rows.append(("ok" if good else "failed", c["service"], f"{state}{hint} ({c['image']})"))
    return rows


def _certificate(found: dict[str, Any]) -> Row:
    disk_side, served = found["on_disk"], found["served"]
    if not disk_side:
        return "failed", "certificate", "none: ./fab -H … init-letsencrypt orders one"
    text = validity.described(disk_side)
    if "broken" in disk_side:
        return "failed", "certificate", f"{text}: ./fab -H … init-letsencrypt --force"
    mark, problem = validity.judged(disk_side)
    if mark == "failed":
        return mark, "certificate", f"{text}: {problem}: ./fab -H … renew"
    if not served:
        return "failed", "certificate", f"{text}, but port 443 does not answer: ./fab -H … up"
    if served["serial"] != disk_side["serial"]:
        hint = f"but clients get serial {served['serial']}: ./fab -H … renew"
        return "failed", "certificate", f"{text}, {hint}"
    return mark, "certificate", f"{text}: {problem}" if problem else text


def _accounts(users: list[dict[str, Any]] | str) -> Row:
    if isinstance(users, str):
        return "failed", "accounts", users
    if not users:
        return "failed", "accounts", "none: ./fab -H … htpasswd --user NAME"
    names = ", ".join(f"{account['user']} ({account['role']})" for account in users)
    unusable = [str(account["user"]) for account in users if not account["usable"]]
    if unusable:
        return (
            "warn",
            "accounts",
            f"{names}; the registry refuses the hash of {', '.join(unusable)}",
        )
    return "ok", "accounts", names
