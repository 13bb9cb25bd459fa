"""`gc`: space on the disk, while everybody pushes and pulls."""

from __future__ import annotations

import sys
from typing import Any

from .. import report
from ..copies.onhost import stage
from ..errors import UsageError
from ..layout import RETENTION
from ..machine.host import Host, require_deployed
from ..report import Outcome
from ..settings import Settings
from ..store import page, quota
from ..store.onhost import collect
from ..store.words import ago, seconds, size
from ..text import one_line

# How many repositories have a line of their own.
LINES = 20


def require_asked(*, yes: bool) -> None:
    """Raises UsageError where nobody can be asked, and nobody said yes."""
    if not yes and not sys.stdin.isatty():
        raise UsageError("to take something it needs a yes", "add --yes; --dry-run only shows what would go")


def gc(  # noqa: PLR0913 - each is an option
    host: Host, settings: Settings, *, dry: bool = False, now: bool = False, untagged: str = "", grace: str = ""
) -> Outcome:
    """Free what nothing needs on the server's disk. No push is refused, no pull notices.

    dry: only say what would go; now: for a full disk, do not keep it for a day; untagged: an age from which on
    images without a tag go, too; grace: how long something has to be unused, instead of a day.
    Raises StepError where another one is at work, or where not all of the store can be read.
    """
    options: dict[str, Any] = {"dry": dry, "now": now, "untagged": seconds(untagged, "untagged") if untagged else -1.0}
    if grace:
        options["grace"] = seconds(grace, "grace")
        if options["grace"] < collect.LEAST_GRACE:
            report.line(
                "warn", "gc", f"--grace {grace}: a push that takes longer than that may have to be repeated", 0.0
            )
    require_deployed(host, settings.deploy_dir)
    if not dry:
        # What a copy that was cut off still holds could not be freed.
        host.call(stage.forget, settings.deploy_dir)
    found = host.call(collect.collect, settings.deploy_dir, **options)
    if not dry:
        quota.look(host, settings)
        page.look(host, settings)
    return outcome(found, dry=dry)


def outcome(found: collect.Collected, *, dry: bool) -> Outcome:
    """What the collector did, in words."""
    for name, problems in sorted(found["left"].items()):
        text = f"{name} is left as it is: {problems[0]}"
        report.line("warn", "gc", one_line(text), 0.0)
    if found["rules"]:
        report.line("warn", "gc", f"{one_line(found['rules'])}: images without a tag stay", 0.0)
    for name, why in sorted(found["held"].items()):
        text = f"{one_line(name)}: {why} by {RETENTION}, so they stay: gc --untagged takes them, if that is right"
        report.line("warn", "gc", text, 0.0)
    total = sum(found["bytes"].values())
    things = sum(found["counts"].values())
    details = [f"{size(count):>8}  {one_line(name)}" for name, count in _largest(found["bytes"])]
    details += _manifests(found, dry=dry)
    if found["untagged"]:
        details.append(
            f"{found['untagged']} images without a tag hold {size(found['untagged_bytes'])}: gc --untagged 30d takes"
            " those that were neither pushed nor used for 30 days"
        )
    if dry:
        if found["waiting"]:
            details.append(f"{size(found['waiting'])} in the trash: what is there for a day goes for good")
        return Outcome(f"would free {size(total)} in {things} parts", changed=False, details=details)
    words = []
    if found["purged"]:
        words.append(f"freed {size(found['purged'])}")
    if found["waiting"]:
        words.append(f"{size(found['waiting'])} in the trash, to be freed by a gc a day later")
    if found["restored"]:
        words.append(f"{found['restored']} parts put back, as somebody needs them")
    if found["delayed"]:
        details.insert(0, f"not freed yet: {found['delayed']}; run it again later")
    return Outcome(", ".join(words) or "nothing to free", bool(things or found["purged"]), details)


def _manifests(found: collect.Collected, *, dry: bool) -> list[str]:
    """The images without a tag that go, one a line."""
    rows = found["manifests"]
    lines = [
        f"{'goes' if dry else 'gone':>8}  {one_line(name)}@{digest}, unused {ago(seen)}"
        for name, digest, seen in rows[:LINES]
    ]
    rest = found["counts"].get("manifest", 0) - len(lines)
    return lines + ([f"{'':8}  ({rest} more manifests without a tag)"] if rest > 0 else [])


def _largest(sizes: dict[str, int]) -> list[tuple[str, int]]:
    """The repositories that give most, and the rest as one."""
    rows = sorted(sizes.items(), key=lambda row: (-row[1], row[0]))
    rows = [(name if name != "-" else "(of no repository)", count) for name, count in rows]
    rest = rows[LINES:]
    return rows[:LINES] + ([(f"({len(rest)} more repositories)", sum(count for _, count in rest))] if rest else [])
