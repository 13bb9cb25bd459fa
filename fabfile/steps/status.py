"""`status`: how the registry is doing, at a glance or as JSON."""

from __future__ import annotations

import calendar
import json
import time
from typing import TypedDict

from .. import layout, report
from ..accounts.onhost.accounts_file import Account
from ..certificate import cron, current, lifetime, orders, outside
from ..certificate.onhost.attempts import Memory
from ..certificate.onhost.cron import LookedAt
from ..certificate.onhost.probe import Knocked
from ..copies import nightly as copies
from ..copies import twins
from ..copies.onhost import behind
from ..copies.onhost import last as copied
from ..errors import StepError, addressed
from ..machine import lock
from ..machine.host import Host, deployed, require_deployed
from ..machine.onhost import audit, disk
from ..machine.remote_call import Call
from ..settings import Settings
from ..stack import containers, logins
from ..stack.containers import Container
from ..stack.onhost import held, sync
from ..store import care, quota
from ..store.onhost import care as nightly
from ..store.onhost import quota as minutely
from ..version import VERSION, newer

GB = 1e9
# Of the whole disk: whoever may push can fill the rest.
LITTLE = 0.1
SILENT_SECONDS = 2 * 86400
WHEN = "%Y-%m-%dT%H:%M:%SZ"  # of onhost/lock.sh

Row = tuple[str, str, str]


class Cron(LookedAt):
    """The renewals. twice_a_day: by our own schedule; with another, only you know how often it should."""

    twice_a_day: bool


class Versions(TypedDict):
    """Of this tool: that deployed the server, '' where none is recorded, and that asks."""

    server: str
    tool: str


class Status(TypedDict):
    """What `--json` prints. from_here: of each port that answers there. accounts: or why they cannot be read.

    held: service -> the image that it does not run, as that was no good.
    """

    registry: str
    version: Versions
    containers: list[Container]
    certificate: current.Both
    from_here: dict[str, Knocked]
    last_renewal: audit.Last | None
    failed_orders: Memory
    cron: Cron
    accounts: list[Account] | str
    disk: disk.Usage
    care: nightly.Night | None
    pushes: minutely.Judged | None
    backup: copies.Backup
    standby: behind.Report
    held: dict[str, str]


def looks(settings: Settings) -> list[Call]:
    """What `status` asks of the server, for Host.foresee."""
    directory = settings.deploy_dir
    return [
        deployed(directory),
        (sync.read, (directory, [layout.RECORD]), {}),
        logins.look(settings),
        containers.look(settings),
        *current.looks_at_both(settings),
        (audit.last, (lock.audit_log(settings), "renew"), {}),
        orders.look(settings),
        cron.look_at(settings),
        (disk.usage, (directory,), {}),
        (nightly.last, (directory,), {}),
        (minutely.last, (directory,), {}),
        (copied.last, (directory,), {}),
        (behind.report, (directory,), {}),
        (held.instead, (directory,), {}),
    ]


def status(host: Host, settings: Settings) -> Status:
    """What runs on the server, its certificate, accounts and disk. Changes nothing."""
    host.foresee(looks(settings))
    version = _deployed(host, settings.deploy_dir)
    try:
        users: list[Account] | str = logins.listed(host, settings)
    except StepError as error:
        users = ": ".join((error.what, *error.remedies[:1]))
    running, certificate = containers.containers(host, settings), current.both(host, settings)
    # From outside there is nothing to see where nobody answers on the server itself.
    answering = {
        80: any(each["service"] == layout.Service.NGINX for each in running),
        443: certificate["served"] is not None,
    }
    return {
        "registry": settings.registry_domain,
        "version": {"server": version, "tool": VERSION},
        "containers": running,
        "certificate": certificate,
        "from_here": {
            str(port): outside.seen(host, settings, port) for port in outside.ports(settings) if answering[port]
        },
        "last_renewal": host.call(audit.last, lock.audit_log(settings), "renew"),
        "failed_orders": orders.remembered(host, settings),
        "cron": {**cron.looked_at(host, settings), "twice_a_day": not settings.renew_schedule},
        "accounts": users,
        "disk": host.call(disk.usage, settings.deploy_dir),
        "care": host.call(nightly.last, settings.deploy_dir),
        "pushes": host.call(minutely.last, settings.deploy_dir),
        "backup": copies.found(settings, host.call(copied.last, settings.deploy_dir)),
        "standby": host.call(behind.report, settings.deploy_dir),
        "held": host.call(held.instead, settings.deploy_dir),
    }


def _deployed(host: Host, directory: str) -> str:
    """The version that deployed this, '' where none is recorded. Raises UsageError where nothing is deployed."""
    require_deployed(host, directory)
    try:
        return host.call(sync.read, directory, [layout.RECORD]).get(layout.RECORD, "").partition("\n")[0]
    except StepError:  # a link, for example; `sync` puts it right
        return ""


def show(found: Status, *, as_json: bool, option: str | None = None, standby: str = "") -> None:
    """Print what `status` found. option: see errors.addressed; standby: of the settings.

    Raises StepError when a line is red.
    """
    rows = [*_containers(found["containers"]), *_held(found["held"]), _certificate(found["certificate"])]
    for port, seen in found["from_here"].items():
        rows += _from_here(int(port), seen)
    # What the other server does for both is no news here.
    rests = twins.rests(found["standby"])
    rows += [] if rests else [_renewal(found["last_renewal"], found["failed_orders"])]
    often = found["cron"]["twice_a_day"] and not rests
    rows.append(cron_row({**found["cron"], "twice_a_day": often}, found["last_renewal"]))
    rows.append(_accounts(found["accounts"]))
    rows += _disks(found["disk"])
    rows += [] if rests else [quota.row(found["pushes"]), care.row(found["care"]), copies.row(found["backup"])]
    rows += twins.rows(found["standby"], standby)
    rows.append(version_row(found["version"]))
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        report.table(("", found["registry"], ""), [(mark, name, addressed(text, option)) for mark, name, text in rows])
    red = [name for mark, name, _ in rows if mark == "failed"]
    if red:
        raise StepError(f"not as it should be: {', '.join(red)}", "each line above says what to do")


def _disks(found: disk.Usage) -> list[Row]:
    """The disk of DEPLOY_DIR, that of the images where it is another one, and what is wrong with their place."""
    layers = f", {found['data'] / GB:.1f} GB of layers"
    apart = found["images"]
    rows = [_disk("disk", found, "" if apart else layers)]
    if apart:
        rows.append(_disk("images' disk", apart, layers))
    if found["store"]:
        rows.append(("failed", "images", ": ".join(found["store"])))
    return rows


def _disk(name: str, space: disk.Space, more: str) -> Row:
    few = disk.few_inodes(space["inodes"], space["all_inodes"])
    text = f"{space['free'] / GB:.1f} GB free{more}" + (f", {few}: df -i on the server" if few else "")
    if few and space["inodes"] < disk.INODES_NEEDED:
        return "failed", name, text
    little = space["free"] < max(GB, LITTLE * space["total"])
    return "warn" if little or few else "ok", name, text


def _from_here(port: int, seen: Knocked) -> list[Row]:
    return [
        (mark, f"port {port}", f"from here: {text}" + (f": {outside.remedy(port)}" if mark == "failed" else ""))
        for mark, text in outside.told(port, seen)
    ]


def version_row(found: Versions) -> Row:
    """Which version of this tool deployed the server."""
    server, tool = found["server"], found["tool"]
    if newer(server, tool):
        return "warn", "version", f"{server}; this tool is older, {tool}: git pull brings it up to date"
    if newer(tool, server):
        return "ok", "version", f"{server or 'not recorded'}; this tool is newer, {tool}: ./fab -H … bootstrap"
    return "ok", "version", server


def _containers(found: list[Container]) -> list[Row]:
    missing = set(layout.Service.SERVING) - {c["service"] for c in found}
    rows: list[Row] = [("failed", name, "does not run: ./fab -H … up") for name in sorted(missing)]
    for c in found:
        good = c["state"] == "running" and c["health"] in ("", "healthy")
        state = " ".join(filter(None, (c["state"], c["health"])))
        hint = "" if good else ": ./fab -H … up, or logs"
        rows.append(("ok" if good else "failed", c["service"], f"{state}{hint} ({c['image']})"))
    return rows


def _held(found: dict[str, str]) -> list[Row]:
    """Services that run the image of before, as `upgrade` or `rollback` went back to it."""
    if not found:
        return []
    names = ", ".join(sorted(set(found.values())))
    services = ", ".join(sorted(found))
    return [
        ("warn", "images held", f"{services}: that of before, instead of {names}: ./fab -H … upgrade tries it again")
    ]


def _certificate(found: current.Both) -> Row:
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


def _renewal(last: audit.Last | None, failed: Memory) -> Row:
    text = f"{last['when']}: {last['outcome']} (by {last['who']})" if last else "none yet"
    if failed["failures"]:
        return "warn", "last renewal", f"{text}; {orders.pause_text(failed)}"
    return "ok" if not last or last["outcome"] == "ok" else "warn", "last renewal", text


def cron_row(found: Cron, last: audit.Last | None) -> Row:
    """Whether renewal goes on by itself. With a schedule of your own, only you know how often it should."""
    if not found["daemon"]:
        return "failed", "cron", "does not run, so nothing is renewed: ./fab -H … provision"
    if found["changed"]:
        return "warn", "cron", "renews nothing, or not as the settings say: ./fab -H … schedule"
    if found["inv"]:
        return "failed", "cron", f"cannot start ./inv, so nothing is renewed: {found['inv']}: ./fab -H … sync"
    if found["unheard"]:
        return "failed", "cron", f"{found['unheard']}: {layout.RENEW_LOG} on the server"
    silent = found["age"]
    if last:
        silent = min(silent, time.time() - calendar.timegm(time.strptime(last["when"], WHEN)))
    if found["twice_a_day"] and silent > SILENT_SECONDS:
        return (
            "warn",
            "cron",
            f"did not run it for {silent / 86400:.0f} days: {layout.RENEW_LOG} on the server",
        )
    return "ok", "cron", "runs"


def _accounts(users: list[Account] | str) -> Row:
    if isinstance(users, str):
        return "failed", "accounts", users
    if not users:
        return "failed", "accounts", "none: ./fab -H … htpasswd --user NAME"
    names = ", ".join(f"{account['user']} ({account['role']})" for account in users)
    unusable = [account["user"] for account in users if not account["usable"]]
    if unusable:
        return (
            "warn",
            "accounts",
            f"{names}; the registry refuses the hash of {', '.join(unusable)}",
        )
    return "ok", "accounts", names
