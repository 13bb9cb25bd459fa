"""Two servers of which one stands by, as the operator's machine sees them."""

from __future__ import annotations

import ipaddress
import time

from .. import layout
from ..errors import StepError
from ..machine.host import Host
from ..report import Outcome
from ..settings import Settings
from ..store.words import since
from ..text import counted, one_line
from . import follow
from .onhost import behind, peer, standing

Row = tuple[str, str, str]
# Cron comes each minute, and the first copy takes longer.
LATE = 300.0
LAST_SECONDS = 600


def called(host: Host) -> str:
    """How people name a server."""
    return host.name.rpartition("@")[2]


def state(host: Host, settings: Settings) -> standing.State | None:
    """Who it is; None where it knows of no other one, or has no Python yet."""
    if not host.run(["sh", "-c", "command -v python3"], check=False).ok:
        return None
    return host.call(standing.read, settings.deploy_dir)


def require_first(host: Host, settings: Settings) -> None:
    """Raise StepError for a server that stands by, or that another one took over from.

    It has no say in images, accounts and certificate. Where STANDBY is not set nobody is asked.
    """
    if not settings.standby or host.forced:
        return
    now = host.call(standing.read, settings.deploy_dir)
    if now and now["role"] != standing.FIRST:
        what = "stands by for" if now["role"] == standing.SECOND else "was replaced by"
        raise StepError(f"{host.name} {what} {now['other']}, which decides; nothing was changed", "do it there")


def places(host: Host, settings: Settings) -> list[tuple[str, int]]:
    """Where another server may find it: as we have it, as SSH came in there, and by the registry's own name."""
    came = [(str(where), int(port)) for where, port in host.call(peer.addresses)]
    found = [host.reached, *came, (settings.registry_domain, came[0][1] if came else 22)]
    return [each for each in dict.fromkeys(found) if not _loopback(each[0])]


def _loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name in {"", "localhost"}


def followed(host: Host, settings: Settings) -> Outcome:
    """Have a standby copy what is new, now. Raises StepError where that does not come to an end."""
    script = 'cd "$1" && exec ./inv follow --wait'
    done = host.run(["sh", "-c", script, "sh", settings.deploy_dir], check=False)
    if not done.ok:
        lines = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
        raise StepError(
            f"{host.name}: {one_line(lines[0]) if lines else one_line(done.stderr)[:500] or 'no message'}",
            "./fab standby again goes on where it stopped",
        )
    last = host.call(standing.copied, settings.deploy_dir)
    return Outcome(f"has all of it: {counted(last['tags'], 'tag')}", changed="nothing is new" not in done.stdout)


def rests(found: behind.Report) -> bool:
    """Whether another server does what cron does here otherwise."""
    return found["state"] is not None and found["state"]["role"] != standing.FIRST


def rows(found: behind.Report, wanted: str) -> list[Row]:
    """The line of `status`; none where there is no standby, and never was. wanted: STANDBY."""
    now, last = found["state"], found["copied"]
    if now is None:
        if not wanted:
            return []
        return [("warn", "standby", f"{wanted} does not stand by yet: ./fab -H … standby")]
    if now["role"] == standing.FORMER:
        remedy = "docs/standby.md, The first one comes back"
        return [("failed", "standby", f"{one_line(follow.former(now, found['lost']))}: {remedy}")]
    if now["role"] == standing.FIRST:
        return [_first(found, now, last)]
    lag = time.time() - last["good"]
    text = f"stands by for {now['other']}: {counted(last['tags'], 'tag')}, as of {lag:.0f} s ago"
    if not last["good"]:
        text = f"stands by for {now['other']}, and nothing was copied yet"
    if last["problem"]:
        text += f"; {one_line(last['problem'])}"
    if last["settings"]:
        text += "; the first one has other settings: ./fab standby brings them"
    good = last["good"] and lag < LATE and not last["settings"]
    return [("ok" if good else "warn", "standby", text)]


def _first(found: behind.Report, now: standing.State, last: standing.Copied) -> Row:
    lag = time.time() - last["good"]
    if not last["good"]:
        return "warn", "standby", f"{now['other']} has fetched nothing yet: ./fab -H … standby"
    images = counted(found["images"], "image") if found["images"] >= 0 else "an unknown number of images"
    text = f"{now['other']} is {lag:.0f} s and {images} behind"
    if lag > LATE:
        return "warn", "standby", f"{text}: {layout.STANDBY_LOG} there, ./fab -H … standby"
    return "ok", "standby", text


def copy_age(found: standing.Copied) -> str:
    """When the last copy was, for people."""
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(found["when"]))
    return f"{when} ({since(found['good'])})" if found["when"] else "never"
