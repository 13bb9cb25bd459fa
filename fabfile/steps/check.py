"""`check`: is this host fit? Looks at everything that later steps need, and changes nothing."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from urllib.parse import urlsplit

from .. import report
from ..certificate import outside
from ..errors import StepError, addressed
from ..layout import DATA, LEAST_FREE, PROJECT, STORE, STORE_MARK, STORE_RECORD, Service
from ..machine import away, ownership
from ..machine.host import Host
from ..machine.network import network
from ..machine.onhost import disk, store
from ..machine.remote_call import MODULES
from ..machine.rows import Facts, Row, one
from ..machine.software import software
from ..registry import schema1
from ..registry.onhost import schema1 as onhost_schema1
from ..report import Outcome
from ..settings import Settings
from ..stack import templates
from ..stack.onhost.sync import directories
from ..store import trial

GB = 1e9
TESTED_SYSTEMS = ("debian 12", "debian 13", "ubuntu 22.04", "ubuntu 24.04")
# Rows about where the registry's names lead to, and what answers there.
OF_NAMES = ("A ", "AAAA ", "DNS ", *(f"port {port} from here" for port in (80, 443)))
TESTED_ARCHITECTURES = ("x86_64", "aarch64")


def check(host: Host, settings: Settings, *, lifecycle: bool = False) -> list[Row]:
    """Gather the facts on the host and judge them. lifecycle: see trial.rows, set_rule."""
    facts = gathered(host, settings)
    rows = inside(host, settings, facts)
    if settings.on_s3 and one(facts, "python"):
        rows += trial.rows(host, settings, set_rule=lifecycle)
    for port in outside.ports(settings):
        answers = host.local or str(port) in facts.get("answers", ())
        found = outside.seen(host, settings, port) if answers else None
        rows += [Row(f"port {port} from here", *line, later=True) for line in outside.lines(port, found)]
    return rows


def gathered(host: Host, settings: Settings) -> Facts:
    """What onhost/check.sh says of the host."""
    facts: Facts = defaultdict(list)
    ours = " ".join(directories(templates.names(settings)))
    acme = urlsplit(settings.acme_directory)
    server = "" if settings.tls_certificate else f"{acme.hostname}:{acme.port or 443}"
    below = (ours, " ".join(MODULES), STORE, DATA, STORE_MARK, STORE_RECORD)
    for line in host.script("check.sh", settings.deploy_dir, *below, PROJECT, server, *settings.hosts).splitlines():
        key, _, value = line.partition(" ")
        facts[key].append(value.strip())
    return facts


def inside(host: Host, settings: Settings, facts: Facts) -> list[Row]:
    """The rows about the host itself, without a look from outside."""
    return [*judged(facts, settings, time.time()), *_old_images(host, settings, facts)]


def _old_images(host: Host, settings: Settings, facts: Facts) -> Iterator[Row]:
    """Where images were pushed to another registry than the one that shall run: will it serve them?"""
    wanted = settings.stack_images[Service.REGISTRY]
    if "store" not in facts or one(facts, "store") == wanted or schema1.second(wanted):
        return
    if not one(facts, "python"):
        yield Row("old images", "warn", "not looked at: Python is missing", "./fab -H … provision, then check again")
    elif found := schema1.described(host.call(onhost_schema1.found, settings.deploy_dir)):
        yield Row("old images", "warn", found, schema1.REMEDY)


def judged(facts: Facts, settings: Settings, now: float) -> Iterator[Row]:
    """Facts -> rows. now: seconds since 1970, on the operator's machine."""
    yield from _machine(facts, now)
    yield from _directories(facts, settings)
    yield from software(facts, settings)
    yield from network(facts, settings)
    yield from _way_out(facts, settings)


def _way_out(facts: Facts, settings: Settings) -> Iterator[Row]:
    where = urlsplit(settings.acme_directory).netloc
    inside = one(facts, "acme_container") if "acme_container" in facts else None
    if "acme_host" in facts and one(facts, "python"):
        line = outside.way_out(where, one(facts, "acme_host"), inside, bool(facts.get("no_iptables")))
        if line:
            yield Row("way out", *line, later=True)


def _machine(facts: Facts, now: float) -> Iterator[Row]:
    system, architecture = one(facts, "system"), one(facts, "architecture")
    known = system.startswith(TESTED_SYSTEMS)
    yield Row("system", "ok" if known else "warn", system or "unknown",
              "" if known else "made for Debian 12, 13 and Ubuntu 22.04, 24.04; others may work")  # fmt: skip
    known = architecture in TESTED_ARCHITECTURES
    yield Row("architecture", "ok" if known else "warn", architecture,
              "" if known else "the images must exist for this architecture")  # fmt: skip
    root = one(facts, "uid") == "0"
    yield Row("root", "ok" if root else "failed", f"user ID {one(facts, 'uid')}",
              "" if root else "log in as root: ./fab -H root@HOST …")  # fmt: skip
    yield _disk("free disk", facts, "disk_kib", "inodes")
    if one(facts, "images_kib"):
        yield _disk("images' disk", facts, "images_kib", "images_inodes")
    off = float(one(facts, "time") or 0) - now
    mark = "failed" if abs(off) > 3600 else "warn" if abs(off) > 60 else "ok"
    yield Row("clock", mark, clock(off), "" if mark == "ok" else
              "certificates depend on it; where the wrong one is: timedatectl set-ntp true")  # fmt: skip


def clock(off: float) -> str:
    """How far the clock of the server is ahead of this machine's. off: seconds."""
    size, way = abs(off), "ahead of" if off > 0 else "behind"
    if size <= 60:
        return "as on this machine, to a minute"
    for unit, seconds in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if size >= 2 * seconds:
            return f"the server's is {size / seconds:.0f} {unit} {way} this machine's"
    return f"the server's is {size:.0f} seconds {way} this machine's"


def _disk(name: str, facts: Facts, space: str, inodes: str) -> Row:
    free = int(one(facts, space) or 0) * 1024
    mark = "failed" if free < GB else "warn" if free < 5 * GB else "ok"
    # Of the images, where some are there.
    theirs = "store" in facts and (space == "images_kib" or not one(facts, "images_kib"))
    found, remedy = f"{free / GB:.1f} GB", "images need 1 GB, your layers more: docs/care.md, When the disk is full"
    left, total = map(int, (one(facts, inodes) or "0 0").split())
    if few := disk.few_inodes(left, total):
        mark = "failed" if left < disk.INODES_NEEDED else max(mark, "warn", key=("ok", "warn", "failed").index)
        found, remedy = f"{found}, {few}", f"{remedy}; on the server df -i shows it"
    if theirs and free < LEAST_FREE:
        remedy = f"pushes are refused, unless the disk is a small one: ./fab -H … gc --now; {remedy}"
    return Row(name, mark, found, "" if mark == "ok" else remedy)


def _directories(facts: Facts, settings: Settings) -> Iterator[Row]:
    """Whoever can change what is there, or rename it, puts programs of theirs where root's cron runs ours.

    And what was there may be on a disk that is not mounted.
    """
    directory = settings.deploy_dir
    if names := one(facts, "away"):
        yield Row("directory", "failed", f"{directory} is empty, but {away.found(names)} belong to it",
                  away.remedy(directory, names))  # fmt: skip
        return
    if kind := one(facts, "other_store"):
        what, remedy = store.away(directory, kind)
        yield Row("images", "failed", what, remedy)
    for name in ("directory", "above"):
        found = [text.split() for text in dict.fromkeys(facts.get(name, ()))]
        if found:
            path, owner, mode = found[0]
            others = f" and {len(found) - 1} more" if len(found) > 1 else ""
            yield Row(name, "failed", f"{path} ({owner}, {mode}){others}: not only root can change it",
                      ownership.remedy(settings.deploy_dir, [each[0] for each in found]))  # fmt: skip
    if not facts.get("directory") and not facts.get("above"):
        yield Row("directory", "ok", f"only root can change {settings.deploy_dir}")


def require(
    host: Host, settings: Settings, *, stopping: Collection[str] = (), adopting: bool = False, elsewhere: bool = False
) -> bool:
    """One line, and what is not green. Returns whether `provision`, which comes next, has nothing to do.

    Raises StepError when something is red that it does not repair.

    stopping: containers whose ports will be free, because they are stopped before ours start. adopting: what
    is in DEPLOY_DIR, and it itself, becomes root's. elsewhere: the registry's names lead to another server.
    """
    missing: list[Row] = []
    leaving = {f"taken by the container {name}" for name in stopping}

    def look() -> Outcome:
        rows = [row for row in check(host, settings) if row.found not in leaving]
        if adopting:
            rows = [row for row in rows if row.name != "directory"]
        if elsewhere:
            rows = [row for row in rows if not row.name.startswith(OF_NAMES)]
        bad = [row for row in rows if row.mark != "ok"]
        missing.extend(row for row in bad if row.provisioned)
        red = [row for row in bad if row.mark == "failed" and not row.provisioned and not row.later]
        if red:
            names = ", ".join(row.name for row in red)
            ways = [f"{row.name} ({row.found}): {row.remedy}" for row in red]
            raise StepError(f"{host.name}: not fit yet, nothing was changed: {names}", *ways)
        green = f"{len(rows) - len(bad)} of {len(rows)} lines green"
        # What nobody could look at yet, as on each new server, is no reason for doubt.
        doubtful = any(row.mark != outside.UNSEEN for row in bad)
        return Outcome(green, changed=False, details=[_told(row) for row in bad], doubtful=doubtful)

    report.step("check", look, host.option)
    return not missing


def _told(row: Row) -> str:
    if row.mark == outside.UNSEEN:
        return f"unseen   {row.name}: {row.found}"
    return f"warn     {row.name}: {row.found}; " + ("provision comes next" if row.provisioned else row.remedy)


def show(rows: Sequence[Row], *, as_json: bool, option: str | None = None) -> None:
    """Print the table. option: see errors.addressed. Raises StepError when a line is red."""
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        report.table(
            ("", "what", "found", "what to do"),
            [(r.mark, r.name, r.found, addressed(r.remedy, option)) for r in rows],
        )
    red = [row.name for row in rows if row.mark == "failed"]
    if red:
        raise StepError(f"not fit yet: {', '.join(red)}", "do what the table says, then ./fab -H … check again")
