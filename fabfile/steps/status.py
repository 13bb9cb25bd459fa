"""`status`: how the registry is doing, at a glance or as JSON."""

from __future__ import annotations

import calendar
import json
import time
from typing import Any

from .. import report
from ..certificate import current, lifetime, orders
from ..certificate.cron import cron_text
from ..certificate.onhost import cron
from ..errors import StepError
from ..machine import lock
from ..machine.host import Host, require_deployed
from ..machine.onhost import atomic, audit, disk
from ..machine.remote_call import Call
from ..settings import Settings
from ..stack import logins
from ..stack.containers import containers
from ..stack.onhost import sync
from ..store import care
from ..store.onhost import care as nightly
from ..version import RECORD, VERSION, newer

GB = 1e9
# Of the whole disk: whoever may push can fill the rest.
LITTLE = 0.1
SILENT_SECONDS = 2 * 86400
WHEN = "%Y-%m-%dT%H:%M:%SZ"  # of onhost/lock.sh

Row = tuple[str, str, str]


def status(host: Host, settings: Settings) -> dict[str, Any]:
    """What runs on the server, its certificate, accounts and disk. Changes nothing."""
    deployed, last_care = _deployed(host, settings.deploy_dir)
    try:
        users: list[dict[str, Any]] | str = logins.listed(host, settings)
    except StepError as error:
        users = error.what
    return {
        "registry": settings.registry_domain,
        "version": {"server": deployed, "tool": VERSION},
        "containers": containers(host, settings),
        "certificate": current.both(host, settings),
        "last_renewal": host.call(audit.last, lock.audit_log(settings), "renew"),
        "failed_orders": orders.remembered(host, settings),
        "cron": host.call(cron.installed, cron_text(settings)) | {"twice_a_day": not settings.renew_schedule},
        "accounts": users,
        "disk": host.call(disk.usage, settings.deploy_dir),
        "care": last_care,
    }


def _deployed(host: Host, directory: str) -> tuple[str, dict[str, Any]]:
    """The version that deployed this, '' where none is recorded, and what the last night's `care` did.

    Raises UsageError where nothing is deployed.
    """
    exists: Call = (atomic.exists, (f"{directory}/compose.yml",), {})
    host.foresee([exists, (sync.read, (directory, [RECORD]), {}), (nightly.last, (directory,), {})])
    require_deployed(host, directory)
    night = host.call(nightly.last, directory)
    try:
        return host.call(sync.read, directory, [RECORD]).get(RECORD, "").partition("\n")[0], night
    except StepError:  # a link, for example; `sync` puts it right
        return "", night


def show(found: dict[str, Any], *, as_json: bool) -> None:
    """Print what `status` found. Raises StepError when a line is red."""
    rows = [*_containers(found["containers"]), _certificate(found["certificate"])]
    rows += [
        _renewal(found["last_renewal"], found["failed_orders"]),
        cron_row(found["cron"], found["last_renewal"]),
    ]
    rows.append(_accounts(found["accounts"]))
    space = found["disk"]
    text = f"{space['free'] / GB:.1f} GB free, {space['data'] / GB:.1f} GB of layers"
    little = space["free"] < max(GB, LITTLE * space["total"])
    rows.append(("warn" if little else "ok", "disk", text))
    rows.append(care.row(found["care"]))
    rows.append(version_row(found["version"]))
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        report.table(("", found["registry"], ""), rows)
    red = [name for mark, name, _ in rows if mark == "failed"]
    if red:
        raise StepError(f"not as it should be: {', '.join(red)}", "each line above says what to do")


def version_row(found: dict[str, str]) -> Row:
    """Which version of this tool deployed the server."""
    server, tool = found["server"], found["tool"]
    if newer(server, tool):
        return "warn", "version", f"{server}; this tool is older, {tool}: git pull brings it up to date"
    if newer(tool, server):
        return "ok", "version", f"{server or 'not recorded'}; this tool is newer, {tool}: ./fab -H … bootstrap"
    return "ok", "version", server


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
    text = lifetime.described(disk_side)
    if "broken" in disk_side:
        return "failed", "certificate", f"{text}: ./fab -H … init-letsencrypt --force"
    mark, problem = lifetime.judged(disk_side)
    if mark == "failed":
        return mark, "certificate", f"{text}: {problem}: ./fab -H … renew"
    if not served:
        return "failed", "certificate", f"{text}, but port 443 does not answer: ./fab -H … up"
    if served["serial"] != disk_side["serial"]:
        hint = f"but clients get serial {served['serial']}: ./fab -H … renew"
        return "failed", "certificate", f"{text}, {hint}"
    return mark, "certificate", f"{text}: {problem}" if problem else text


def _renewal(last: dict[str, str], failed: dict[str, Any]) -> Row:
    text = f"{last['when']}: {last['outcome']} (by {last['who']})" if last else "none yet"
    if failed["failures"]:
        return "warn", "last renewal", f"{text}; {orders.pause_text(failed)}"
    return "ok" if not last or last["outcome"] == "ok" else "warn", "last renewal", text


def cron_row(found: dict[str, Any], last: dict[str, str]) -> Row:
    """Whether renewal goes on by itself. With a schedule of your own, only you know how often it should."""
    if not found["daemon"]:
        return "failed", "cron", "does not run, so nothing is renewed: ./fab -H … provision"
    if found["changed"]:
        return "warn", "cron", "renews nothing, or not as the settings say: ./fab -H … schedule"
    silent = found["age"]
    if last:
        silent = min(silent, time.time() - calendar.timegm(time.strptime(last["when"], WHEN)))
    if found["twice_a_day"] and silent > SILENT_SECONDS:
        return (
            "warn",
            "cron",
            f"did not run it for {silent / 86400:.0f} days: log/renew.log on the server",
        )
    return "ok", "cron", "runs"


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
