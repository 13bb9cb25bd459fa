"""`check`: is this host fit? Looks at everything that later steps need, and changes nothing."""

from __future__ import annotations

import ipaddress
import json
import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from .. import report
from ..certificate import outside
from ..errors import StepError, addressed
from ..machine import ownership
from ..machine.host import Host
from ..report import Outcome
from ..settings import Settings
from ..stack import templates
from ..stack.compose import PROJECT
from ..stack.onhost.sync import directories

MIN_DOCKER = (20, 10)
MIN_COMPOSE = (2, 17)  # of March 2023; the oldest that was tried is 2.26
MIN_PYTHON = (3, 10)
GB = 1e9
PROVISION = "./fab -H … provision installs what is missing"
TESTED_SYSTEMS = ("debian 12", "debian 13", "ubuntu 22.04", "ubuntu 24.04")
TESTED_ARCHITECTURES = ("x86_64", "aarch64")

Facts = dict[str, list[str]]


@dataclass(frozen=True)
class Row:
    """One line of the table. mark: ok, warn, failed, or outside.UNSEEN; a failed one always has a remedy."""

    name: str
    mark: str
    found: str
    remedy: str = ""
    provisioned: bool = False  # `provision` sees to it
    later: bool = False  # a later step looks at it again, and stops where it must


def check(host: Host, settings: Settings) -> list[Row]:
    """Gather the facts on the host and judge them."""
    facts: Facts = defaultdict(list)
    ours = " ".join(directories(templates.names(settings)))
    acme = urlsplit(settings.acme_directory)
    server = "" if settings.tls_certificate else f"{acme.hostname}:{acme.port or 443}"
    for line in host.script("check.sh", settings.deploy_dir, ours, server, *settings.hosts).splitlines():
        key, _, value = line.partition(" ")
        facts[key].append(value.strip())
    rows = list(judged(facts, settings, time.time()))
    for port in outside.ports(settings):
        answers = host.local or str(port) in facts.get("answers", ())
        found = outside.seen(host, settings, port) if answers else None
        rows += [Row(f"port {port} from here", *line, later=True) for line in outside.lines(port, found)]
    return rows


def judged(facts: Facts, settings: Settings, now: float) -> Iterator[Row]:
    """Facts -> rows. now: seconds since 1970, on the operator's machine."""
    yield from _machine(facts, now)
    yield from _directories(facts, settings)
    yield from _software(facts)
    for port in ("80", "443"):
        yield _port(port, facts, settings)
    addresses = _addresses(facts)
    for name in settings.hosts:
        yield from _dns(name, facts, addresses | set(settings.server_addresses))
    yield from _way_out(facts, settings)


def _way_out(facts: Facts, settings: Settings) -> Iterator[Row]:
    where = urlsplit(settings.acme_directory).netloc
    inside = _one(facts, "acme_container") if "acme_container" in facts else None
    if "acme_host" in facts and _one(facts, "python"):
        line = outside.way_out(where, _one(facts, "acme_host"), inside, bool(facts.get("no_iptables")))
        if line:
            yield Row("way out", *line, later=True)


def _one(facts: Facts, key: str) -> str:
    return (facts.get(key) or [""])[0]


def _machine(facts: Facts, now: float) -> Iterator[Row]:
    system, architecture = _one(facts, "system"), _one(facts, "architecture")
    known = system.startswith(TESTED_SYSTEMS)
    yield Row("system", "ok" if known else "warn", system or "unknown",
              "" if known else "made for Debian 12, 13 and Ubuntu 22.04, 24.04; others may work")  # fmt: skip
    known = architecture in TESTED_ARCHITECTURES
    yield Row("architecture", "ok" if known else "warn", architecture,
              "" if known else "the images must exist for this architecture")  # fmt: skip
    root = _one(facts, "uid") == "0"
    yield Row("root", "ok" if root else "failed", f"user ID {_one(facts, 'uid')}",
              "" if root else "log in as root: ./fab -H root@HOST …")  # fmt: skip
    free = int(_one(facts, "disk_kib") or 0) * 1024
    mark = "failed" if free < GB else "warn" if free < 5 * GB else "ok"
    yield Row("free disk", mark, f"{free / GB:.1f} GB",
              "" if mark == "ok" else "images need 1 GB, your layers more: docs/care.md, When the disk is full")  # fmt: skip
    off = abs(float(_one(facts, "time") or 0) - now)
    mark = "failed" if off > 3600 else "warn" if off > 60 else "ok"
    yield Row("clock", mark, f"{off:.0f} s off yours",
              "" if mark == "ok" else "certificates depend on it: timedatectl set-ntp true")  # fmt: skip


def _directories(facts: Facts, settings: Settings) -> Iterator[Row]:
    """Whoever can change what is there, or rename it, puts programs of theirs where root's cron runs ours."""
    for name in ("directory", "above"):
        found = [text.split() for text in dict.fromkeys(facts.get(name, ()))]
        if found:
            path, owner, mode = found[0]
            others = f" and {len(found) - 1} more" if len(found) > 1 else ""
            yield Row(name, "failed", f"{path} ({owner}, {mode}){others}: not only root can change it",
                      ownership.remedy(settings.deploy_dir, [each[0] for each in found]))  # fmt: skip
    if not facts.get("directory") and not facts.get("above"):
        yield Row("directory", "ok", f"only root can change {settings.deploy_dir}")


def _software(facts: Facts) -> Iterator[Row]:
    yield _docker(facts)
    compose, v1 = _one(facts, "compose"), _one(facts, "compose_v1")
    if compose and _version(compose) >= MIN_COMPOSE:
        yield Row("compose", "ok", compose)
    elif compose:
        yield Row("compose", "failed", compose, "too old, 2.17 is needed: upgrade docker-compose-v2")
    else:
        found = f"only version 1 ({v1})" if v1 else "missing"
        yield Row("compose", "failed", found, PROVISION, provisioned=True)
    python = _one(facts, "python")
    if python and _version(python) < MIN_PYTHON:
        yield Row("python", "failed", python, "3.10 is needed: upgrade the system")
    else:
        yield _provisioned("python", python)
    yield _provisioned("cron", "running" if _one(facts, "cron") else "")


def _docker(facts: Facts) -> Row:
    docker, error = _one(facts, "docker"), _one(facts, "docker_error")
    if docker and _version(docker) < MIN_DOCKER:
        remedy = "too old, 20.10 is needed: upgrade docker.io, or use Docker's own repository"
        return Row("docker", "failed", docker, remedy)
    if "permission denied" in error:
        return Row("docker", "failed", "no permission on its socket", "log in as root or use sudo")
    if not docker and _one(facts, "docker_client"):
        remedy = f"systemctl start docker, or: {PROVISION}"
        return Row("docker", "failed", "the engine does not run", remedy, provisioned=True)
    return _provisioned("docker", docker)


def _provisioned(name: str, found: str) -> Row:
    if found:
        return Row(name, "ok", found)
    return Row(name, "failed", "missing", PROVISION, provisioned=True)


def _port(port: str, facts: Facts, settings: Settings) -> Row:
    ours = f"{settings.deploy_dir}/compose.yml"
    for text in facts.get("port_container", ()):
        number, state, name, *files = text.split(" ", 3)
        taken = state != "created" or files == [ours]
        if number == port and taken:
            if files == [ours]:
                return Row(f"port {port}", "ok", "ours")
            if name.startswith(f"{PROJECT}-"):
                return Row(f"port {port}", "failed", f"this registry, deployed as {files[0] if files else name}",
                           "set DEPLOY_DIR to that directory")  # fmt: skip
            return Row(f"port {port}", "failed", f"taken by the container {name}",
                       f"docker stop {name}, if you can do without it")  # fmt: skip
    for text in facts.get("port_taken", ()):
        number, _, owner = text.partition(" ")
        if number == port:
            program, _, pid = owner.replace('"', "").partition(" ")
            if not pid:
                return Row(f"port {port}", "failed", "taken by a program that cannot be seen",
                           f"on the server: ss -ltnp 'sport = :{port}' shows it")  # fmt: skip
            return Row(f"port {port}", "failed", f"taken by {program} (process {pid})",
                       f"stop it: systemctl disable --now {program}, or kill {pid}")  # fmt: skip
    return Row(f"port {port}", "ok", "free")


def _addresses(facts: Facts) -> set[str]:
    found = set()
    for text in _one(facts, "addresses").split():
        address = ipaddress.ip_address(text.partition("%")[0])
        if not address.is_loopback and not address.is_link_local:
            found.add(str(address))
    return found


def _dns(name: str, facts: Facts, addresses: set[str]) -> Iterator[Row]:
    a, aaaa = _records("a", name, facts), _records("aaaa", name, facts)
    yours = ", ".join(sorted(addresses)) or "unknown"
    # Behind NAT a host does not know the address that the world sees.
    behind_nat = not any(ipaddress.ip_address(ip).is_global for ip in addresses if ":" not in ip)
    if not a and not aaaa and name in facts.get("dns_silent", ()):
        yield Row(f"DNS {name}", "failed", "no DNS server answers this server",
                  "on the server: look at /etc/resolv.conf, and at its firewall (port 53)")  # fmt: skip
        return
    if not a and not aaaa:
        yield Row(f"DNS {name}", "failed", "no A and no AAAA record",
                  f"at your DNS provider: {name} A ADDRESS-OF-THIS-SERVER (it has {yours})")  # fmt: skip
        return
    if a:
        strange = [ip for ip in a if ip not in addresses]
        if not strange:
            yield Row(f"A {name}", "ok", ", ".join(a))
        elif any(ipaddress.ip_address(ip).is_loopback for ip in strange):
            yield Row(f"A {name}", "warn", f"{', '.join(strange)}, from /etc/hosts",
                      "the real record cannot be seen from this server")  # fmt: skip
        else:
            yield Row(f"A {name}", "warn" if behind_nat else "failed",
                      f"{', '.join(strange)}, but this server has {yours}",
                      "right if that is your router's address" if behind_nat else f"at your DNS provider: correct the A record of {name}; is it another address of yours? SERVER_ADDRESSES")  # fmt: skip
    strange = [ip for ip in aaaa if ip not in addresses]
    if strange:
        yield Row(f"AAAA {name}", "failed", f"{', '.join(strange)}, but this server has {yours}",
                  f"at your DNS provider: correct or delete the AAAA record of {name}; it is tried first. Is it another address of yours? SERVER_ADDRESSES")  # fmt: skip
    elif aaaa:
        yield Row(f"AAAA {name}", "ok", ", ".join(aaaa))


def _records(kind: str, name: str, facts: Facts) -> list[str]:
    for text in facts.get(kind, ()):
        found, _, addresses = text.partition(" ")
        if found == name:
            return [str(ipaddress.ip_address(ip)) for ip in addresses.split()]
    return []


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def require(host: Host, settings: Settings, *, stopping: Collection[str] = (), adopting: bool = False) -> bool:
    """One line, and what is not green. Returns whether `provision`, which comes next, has nothing to do.

    Raises StepError when something is red that it does not repair.

    stopping: containers whose ports will be free, because they are stopped before ours start. adopting: what
    is in DEPLOY_DIR, and it itself, becomes root's.
    """
    missing: list[Row] = []
    leaving = {f"taken by the container {name}" for name in stopping}

    def look() -> Outcome:
        rows = [row for row in check(host, settings) if row.found not in leaving]
        if adopting:
            rows = [row for row in rows if row.name != "directory"]
        bad = [row for row in rows if row.mark != "ok"]
        missing.extend(row for row in bad if row.provisioned)
        red = [row for row in bad if row.mark == "failed" and not row.provisioned and not row.later]
        if red:
            listing = "".join(f"\n  {row.name}: {row.found}\n  -> {row.remedy}" for row in red)
            raise StepError(f"{host.name}: not fit yet, nothing was changed{listing}")
        details = [_told(row) for row in bad]
        return Outcome(f"{len(rows) - len(bad)} of {len(rows)} lines green", changed=False, details=details)

    report.step("check", look)
    return not missing


def _told(row: Row) -> str:
    if row.mark == outside.UNSEEN:
        return f"unseen   {row.name}: {row.found}"
    return f"warn     {row.name}: {row.found}; " + ("provision comes next" if row.provisioned else row.remedy)


def show(rows: Sequence[Row], *, as_json: bool, connection: object = None) -> None:
    """Print the table. connection: for the commands in it. Raises StepError when a line is red."""
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        report.table(
            ("", "what", "found", "what to do"),
            [(r.mark, r.name, r.found, addressed(r.remedy, connection)) for r in rows],
        )
    red = [row.name for row in rows if row.mark == "failed"]
    if red:
        raise StepError(f"not fit yet: {', '.join(red)}", "do what the table says, then ./fab -H … check again")
