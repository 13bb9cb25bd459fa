"""What of a certificate, of the names and of alerts does not show in `status`: for `doctor`. Changes nothing."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
from pathlib import Path
from typing import TypedDict

from ...layout import BACKUP_LOG, CARE_LOG, CERTIFICATES, FULLCHAIN, LIVE, QUOTA_LOG, RENEW_LOG, SETTINGS_FILE, TLS
from ...stack.onhost import lineage
from . import probe

CRON_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.S)
# How far back a log is read.
TAIL = 65536


class Health(TypedDict):
    """alone: who issued a certificate that is served without theirs, '' for none. damage: see lineage.damage. unseen:
    addresses of our names that do not answer on the server itself, in words. alert: why ALERT_COMMAND tells nobody.
    """

    alone: str
    damage: str
    unseen: list[str]
    alert: str


def health(directory: str, names: list[str], name: str, command: str) -> Health:
    """See Health. names: of the registry; name: of certbot's lineage, '' for none; command: ALERT_COMMAND."""
    root = Path(directory)
    damage = ""
    if name:
        with contextlib.suppress(OSError):
            damage = lineage.damage(str(root / CERTIFICATES), name)
    return {
        "alone": _alone(root), "damage": damage, "unseen": list(probe.knock(names, 443)["wrong"].values()),
        "alert": alert_problem(root, command),
    }  # fmt: skip


def _alone(root: Path) -> str:
    try:
        return alone((root / LIVE / TLS / FULLCHAIN).read_bytes())
    except (OSError, ValueError):
        return ""


def alone(pem: bytes) -> str:
    """Who issued the only certificate in a file, where its issuer's is to be had and is no root; '' otherwise.

    A certificate says where the one of its issuer is (RFC 5280, 4.2.2.1) where that is not the root that clients have.
    """
    found = PEM.findall(pem)
    if len(found) != 1:
        return ""
    parsed = lineage.parsed(found[0] + b"\n")
    if not parsed.get("caIssuers") or parsed["issuer"] == parsed["subject"]:
        return ""
    names = {key: value for part in parsed["issuer"] for key, value in part}
    return str(names.get("commonName") or names.get("organizationName") or "unknown")


def alert_problem(root: Path, command: str) -> str:
    """Why ALERT_COMMAND cannot tell anybody, or could not when it last had to; '' for nothing. It is not run."""
    if not command:
        return ""
    shell = ["/bin/sh", "-n", "-c", command]
    done = subprocess.run(shell, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        return f"the shell does not understand it: {done.stderr.strip().rpartition(chr(10))[2]}"
    if (program := _program(command)) and not _there(program):
        return f"there is no {program} on the server"
    return _last_word(root)


def _program(command: str) -> str:
    """The program that it begins with; '' where only the shell knows."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        return ""
    first = next((word for word in words if not re.match(r"\w+=", word)), "")
    return first if re.fullmatch(r"[\w./+-]+", first) else ""


def _there(program: str) -> bool:
    look = ["/bin/sh", "-c", 'command -v -- "$1" >/dev/null', "sh", program]
    return not subprocess.run(look, env={"PATH": CRON_PATH}, capture_output=True, check=False).returncode


def _last_word(root: Path) -> str:
    """What the newest log that says something of it says, since it was last changed."""
    said: list[tuple[float, str]] = []
    for name in (RENEW_LOG, CARE_LOG, BACKUP_LOG, QUOTA_LOG):
        with contextlib.suppress(OSError):
            changed = (root / name).stat().st_mtime
            if changed > (root / SETTINGS_FILE).stat().st_mtime:
                lines = (root / name).read_bytes()[-TAIL:].decode("utf-8", "replace").splitlines()
                said += [(changed, line) for line in lines if "ALERT_COMMAND" in line][-1:]
    last = max(said, default=(0.0, ""))[1]
    return last.partition("ALERT_COMMAND: ")[2]
