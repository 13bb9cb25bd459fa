"""How connections to our containers fare, by what the kernel and nginx's log say of them: for `doctor`.

What reads a text is pure, so that it is tested with what the tools really say.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypedDict

# How far back nginx's log is read, and how much of it.
SINCE, LINES = "10m", "20000"
# Docker makes one for each published port (iptables), or has tables of its own (nftables, from 29 on).
NFTABLES = re.compile(r"\bdocker-bridges\b")
NO_RULES = re.compile(r'"(?:iptables|ip-masq)"\s*:\s*false|--(?:iptables|ip-masq)=false')
# What nginx writes: kind -> words of its error log.
KINDS = {
    "connections": "worker_connections are not enough",
    "files": "Too many open files",
    "room": "No space left on device",
    "permission": "Permission denied",
}
LINE = re.compile(r'(\S+) - \S+ \[[^]]*\] "[^"]*" (\d{3}) ')


class Traffic(TypedDict):
    """rules: which of Docker's firewall rules are missing, in words. bridge, uplink: their MTU, 0 for unknown.

    sent, again: TCP segments since nginx was started, and how many of these had to be sent again. overflows: new
    connections that were lost. tracked, most: connections that the firewall knows, and how many it can. kinds: of
    errors in nginx's log -> how often, in the last ten minutes. crowded: address -> how often it got 429 in these, of
    which one in 50 is written down; gateways: addresses that are no client's own.
    """

    rules: list[str]
    bridge: int
    uplink: int
    sent: int
    again: int
    overflows: int
    tracked: int
    most: int
    kinds: dict[str, int]
    crowded: dict[str, int]
    gateways: list[str]


def traffic(nginx: dict[str, Any]) -> Traffic:
    """See Traffic. nginx: its container, which runs, as `docker inspect` has it. Changes nothing."""
    networks = nginx["NetworkSettings"]["Networks"]
    ports = [port.partition("/")[0] for port, hosts in (nginx["NetworkSettings"]["Ports"] or {}).items() if hosts]
    own = Path(f"/proc/{nginx['State']['Pid']}/net")
    tcp, more = counters(_text(own / "snmp")), counters(_text(own / "netstat"))
    out, error = _log(nginx["Id"])
    tracked = Path("/proc/sys/net/netfilter")
    return {
        "rules": _rules(ports),
        "bridge": max((_number(Path(f"/sys/class/net/br-{each['NetworkID'][:12]}/mtu")) for each in networks.values()),
                      default=0),
        "uplink": _number(Path(f"/sys/class/net/{uplink(_text(Path('/proc/net/route'))) or 'none'}/mtu")),
        "sent": tcp.get("OutSegs", 0), "again": tcp.get("RetransSegs", 0),
        "overflows": more.get("ListenOverflows", 0),
        "tracked": _number(tracked / "nf_conntrack_count"), "most": _number(tracked / "nf_conntrack_max"),
        "kinds": kinds(error), "crowded": crowded(out),
        "gateways": [each[key] for each in networks.values() for key in ("Gateway", "IPv6Gateway") if each.get(key)],
    }  # fmt: skip


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text("utf-8", "replace")
    return ""


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0


def _said(*argv: str) -> str:
    """What a program of the host says; '' where it fails, or is not there."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            argv, capture_output=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL, timeout=5,
            check=False,
        )  # fmt: skip
        return "" if done.returncode else done.stdout
    return ""


def _rules(ports: Iterable[str]) -> list[str]:
    saved = _said("iptables-save")
    if not saved or NO_RULES.search(_text(Path("/etc/docker/daemon.json")) + _engine()):
        return []
    missing = lacking(saved, ports)
    return [] if missing and NFTABLES.search(_said("nft", "list", "tables")) else missing


def _engine() -> str:
    """How Docker's engine was started."""
    with contextlib.suppress(OSError):
        for place in Path("/proc").glob("[0-9]*"):
            if _text(place / "comm").strip() == "dockerd":
                return _text(place / "cmdline").replace("\0", " ")
    return ""


def lacking(saved: str, ports: Iterable[str]) -> list[str]:
    """Which rules of Docker's are missing, in words. saved: what `iptables-save` prints; ports: published ones."""
    lines = saved.splitlines()
    found = [
        f"none leads to port {port}"
        for port in sorted(ports, key=int)
        if not any("-j DNAT" in line and f"--dport {port} " in line for line in lines)
    ]
    if not any(line.startswith("-A POSTROUTING") and "-j MASQUERADE" in line for line in lines):
        found.append("none lets containers out")
    shut = any(line.startswith(":FORWARD DROP") for line in lines)
    if shut and not any(line.startswith("-A FORWARD") and "DOCKER" in line for line in lines):
        found.append("FORWARD drops all")
    return found


def uplink(routes: str) -> str:
    """The device of the default route. routes: /proc/net/route."""
    rows = [line.split() for line in routes.splitlines()[1:]]
    return next((row[0] for row in rows if len(row) > 7 and row[1] == row[7] == "00000000"), "")


def counters(text: str) -> dict[str, int]:
    """Name -> value, of TCP. text: /proc/net/snmp or /proc/net/netstat, a line of names before each of values."""
    found: dict[str, int] = {}
    lines = [line.split() for line in text.splitlines()]
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        if names[:1] in (["Tcp:"], ["TcpExt:"]):
            found |= {name: int(value) for name, value in zip(names[1:], values[1:], strict=False)}
    return found


def _log(container: str) -> tuple[str, str]:
    """nginx's access log and its error log."""
    done = subprocess.run(
        ["docker", "logs", "--since", SINCE, "--tail", LINES, container],
        capture_output=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return done.stdout, done.stderr


def kinds(error_log: str) -> dict[str, int]:
    """Kind -> how many lines are of it."""
    found = Counter(kind for line in error_log.splitlines() for kind, words in KINDS.items() if words in line)
    return dict(found)


def crowded(access_log: str) -> dict[str, int]:
    """Address -> lines that say 429."""
    matches = [LINE.match(line) for line in access_log.splitlines()]
    return dict(Counter(each[1] for each in matches if each and each[2] == "429"))
