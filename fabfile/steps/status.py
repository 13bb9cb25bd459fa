"""`status`: how the registry is doing, at a glance or as JSON."""

from __future__ import annotations

import json
import time
from typing import TypedDict

from .. import layout, report
from ..accounts.onhost.accounts_file import Account
from ..certificate import cron, current, orders, outside
from ..certificate import rows as certificate_rows
from ..certificate.onhost.attempts import Memory
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
from ..stack.onhost import held, relay, sync
from ..store import care, page, quota
from ..store.onhost import care as nightly
from ..store.onhost import quota as minutely
from ..store.onhost import remembered
from ..version import VERSION, newer

GB = 1e9
# Of the whole disk: whoever may push can fill the rest.
LITTLE = 0.1

Row = tuple[str, str, str]


class Versions(TypedDict):
    """Of this tool: that deployed the server, '' where none is recorded, and that asks."""

    server: str
    tool: str


class Status(TypedDict):
    """What `--json` prints. from_here: of each port that answers there. accounts: or why they cannot be read.

    held: service -> the image that it does not run, as that was no good. where: whether it has moved to another server.
    """

    registry: str
    version: Versions
    containers: list[Container]
    certificate: current.Both
    from_here: dict[str, Knocked]
    last_renewal: audit.Last | None
    failed_orders: Memory
    cron: certificate_rows.Cron
    accounts: list[Account] | str
    disk: disk.Usage
    care: nightly.Night | None
    pushes: minutely.Judged | None
    page: remembered.Last | None
    backup: copies.Backup
    standby: behind.Report
    held: dict[str, str]
    where: relay.Where


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
        (remembered.last, (directory,), {}),
        (copied.last, (directory,), {}),
        (behind.report, (directory,), {}),
        (held.instead, (directory,), {}),
        (relay.where, (directory,), {}),
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
        "page": host.call(remembered.last, settings.deploy_dir),
        "backup": copies.found(settings, host.call(copied.last, settings.deploy_dir)),
        "standby": host.call(behind.report, settings.deploy_dir),
        "held": host.call(held.instead, settings.deploy_dir),
        "where": host.call(relay.where, settings.deploy_dir),
    }


def _deployed(host: Host, directory: str) -> str:
    """The version that deployed this, '' where none is recorded. Raises UsageError where nothing is deployed."""
    require_deployed(host, directory)
    try:
        return host.call(sync.read, directory, [layout.RECORD]).get(layout.RECORD, "").partition("\n")[0]
    except StepError:  # a link, for example; `sync` puts it right
        return ""


def rows(found: Status, standby: str = "") -> list[Row]:
    """Mark, name and text of each line. standby: of the settings."""
    lines = [*_containers(found["containers"]), *_held(found["held"]), certificate_rows.pair(found["certificate"])]
    for port, seen in found["from_here"].items():
        lines += certificate_rows.from_here(int(port), seen)
    # What the other server does for both is no news here.
    rests = twins.rests(found["standby"])
    lines += [] if rests else [certificate_rows.renewal(found["last_renewal"], found["failed_orders"])]
    often = found["cron"]["twice_a_day"] and not rests
    lines.append(certificate_rows.schedule({**found["cron"], "twice_a_day": often}, found["last_renewal"]))
    lines.append(_accounts(found["accounts"]))
    lines += _disks(found["disk"])
    if not rests:
        lines += [quota.row(found["pushes"]), care.row(found["care"]), copies.row(found["backup"])]
    lines.append(page.row(found["page"]))
    lines += twins.rows(found["standby"], standby)
    lines.append(version_row(found["version"]))
    return _elsewhere(found, lines)


def show(found: Status, *, as_json: bool, option: str | None = None, standby: str = "") -> None:
    """Print what `status` found. option: see errors.addressed; standby: of the settings.

    Raises StepError when a line is red.
    """
    lines = rows(found, standby)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        shown = [(mark, name, addressed(text, option)) for mark, name, text in lines]
        report.table(("", found["registry"], ""), shown)
    red = [name for mark, name, _ in lines if mark == "failed"]
    if red:
        raise StepError(f"not as it should be: {', '.join(red)}", "each line above says what to do")


def _elsewhere(found: Status, rows: list[Row]) -> list[Row]:
    """The rows that count where the registry has moved away; of one that is moving, one more."""
    if gone := found["where"]["moved"]:
        when = time.strftime("%Y-%m-%d", time.gmtime(gone["when"]))
        text = f"to {gone['to']} ({gone['address']}) on {when}, and hands people over: ./fab -H … move --done ends that"
        kept = (layout.Service.NGINX, "disk", "images' disk", "version")
        return [("warn", "moved", text), *(row for row in rows if row[1] in kept)]
    if found["where"]["frozen"]:
        text = "pushes are refused: ./fab -H … move --to SERVER goes on; move --back ends it"
        return [("warn", "is moving", text), *rows]
    return rows


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
