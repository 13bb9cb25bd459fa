"""`/metrics`: what is counted and looked at each minute, as one text that nginx serves."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from ... import layout
from ...copies.onhost import last as copies
from ...layout import Service
from ...machine.onhost import audit, disk
from ...machine.onhost.atomic import RefusedError, locked, replace
from ...machine.onhost.owner import NGINX
from ...machine.onhost.reserve import given
from ...stack.onhost import lineage
from ...store.onhost import care
from . import ask, counted, storage, tails
from .exposition import Metric, one, text

# So much of a log that was counted is given back to the disk at once.
FREED = 1 << 20
# Of the pages of a disk.
BLOCK = 4096
HELP_STATUS = {
    "active": "Active client connections", "reading": "Connections where NGINX is reading the request header",
    "writing": "Connections where NGINX is writing the response back to the client",
    "waiting": "Idle client connections", "accepted": "Accepted client connections",
    "handled": "Handled client connections",
}  # fmt: skip


class Record(TypedDict):
    """What is kept from one minute to the next: it is written before the text that comes of it.

    freed: up to where the log's bytes were given back to the disk.
    """

    known: tails.Known
    counts: counted.Counts
    storage: storage.Storage | None
    freed: tails.Known


class Written(TypedDict):
    """Of one run. lines: requests that were counted; series: that the text has."""

    lines: int
    series: int


def write(directory: str) -> Written:
    """Count what nginx wrote since, look at the rest, and put the text where nginx serves it.

    Killed anywhere, the next run goes on: no line is counted twice.
    Raises RefusedError where nothing is deployed, or another one is at it.
    """
    root = Path(directory)
    if not (root / layout.NGINX).is_dir():
        raise RefusedError(f"nothing is deployed in {root}", "./fab -H … bootstrap")
    (root / layout.METRICS).mkdir(exist_ok=True)
    (root / layout.METRICS).chmod(0o755)
    with locked(root / f"{layout.COUNTED}.lock", 0), given(root):
        now, log = time.time(), root / layout.REQUESTS_LOG
        before = _record(root)
        lines, known = tails.new(log, before["known"])
        counts = counted.add(before["counts"], lines)
        seen = before["storage"]
        if storage.due(seen, now, changed=counted.came_or_went(lines)):
            seen = storage.look(root, now) or seen
        record: Record = {"known": known, "counts": counts, "storage": seen, "freed": before["freed"]}
        replace(root / layout.COUNTED, json.dumps(record).encode(), 0o600)
        shown = text(_metrics(root, record, now))
        # Others on this host have no business with the names of repositories.
        replace(root / layout.METRICS / layout.METRICS_TEXT, shown.encode(), 0o640, (0, NGINX))
        record["freed"] = _free(log, known, before["freed"])
        if record["freed"] != before["freed"]:
            replace(root / layout.COUNTED, json.dumps(record).encode(), 0o600)
    return {"lines": len(lines), "series": sum(not line.startswith("#") for line in shown.splitlines())}


def forget(directory: str) -> None:
    """METRICS is off again: what was served goes; what was counted stays."""
    Path(directory, layout.METRICS, layout.METRICS_TEXT).unlink(missing_ok=True)


def _record(root: Path) -> Record:
    try:
        found: Record = json.loads((root / layout.COUNTED).read_text())
    except (OSError, ValueError):
        return {"known": {}, "counts": {}, "storage": None, "freed": {}}
    return found


def _free(log: Path, known: tails.Known, freed: tails.Known) -> tails.Known:
    """Give back to the disk what was counted (fallocate(1), --punch-hole): the file keeps its length, and nginx goes on
    writing at its end. A file system that cannot do that has the log until the night, when nginx begins a new one.
    """
    done: tails.Known = {}
    for path in tails.files(log):
        inode = str(path.stat().st_ino)
        end = known.get(inode, 0) // BLOCK * BLOCK
        done[inode] = freed.get(inode, 0)
        if end - done[inode] >= FREED:
            punch = ["fallocate", "--punch-hole", "--offset", "0", "--length", str(end), str(path)]
            with contextlib.suppress(OSError):
                subprocess.run(punch, capture_output=True, check=False)
            done[inode] = end
    return done


def _metrics(root: Path, record: Record, now: float) -> Iterator[Metric]:
    yield from _service(root)
    yield from _requests(record["counts"])
    yield from _storage(record["storage"])
    yield from _disks(root)
    yield from _dates(root)
    version = root / layout.RECORD
    name = version.read_text("utf-8", "replace").strip() if version.is_file() else ""
    yield Metric("registry_tool_info", "gauge", "Which version of the tool deployed this.", [({"version": name}, 1)])
    yield one("registry_metrics_timestamp_seconds", "gauge", "When this text was written.", int(now))


def _service(root: Path) -> Iterator[Metric]:
    status = ask.status()
    for service in (Service.REGISTRY, Service.AUTH):
        name = "registry_up" if service == Service.REGISTRY else f"registry_{service}_up"
        words = f"Whether {service} answered on its socket."
        yield one(name, "gauge", words, ask.answers(root, service))
    # The names and words of nginx-prometheus-exporter. Its counters without `_total` are untyped here: promtool
    # finds fault with such a counter.
    yield one("nginx_up", "gauge", "Status of the last metric scrape", bool(status))
    for word, words in HELP_STATUS.items():
        kind = "untyped" if word in ("accepted", "handled") else "gauge"
        yield one(f"nginx_connections_{word}", kind, words, status.get(word))
    yield one("nginx_http_requests_total", "counter", "Total http requests", status.get("requests"))


def _requests(counts: counted.Counts) -> Iterator[Metric]:
    yield Metric(
        "registry_http_requests_total", "counter", "Requests over HTTPS, by method, class of status and role.",
        [({"method": m, "code": c, "role": r}, n) for (m, c, r), n in counted.of(counts, "requests").items()],
    )  # fmt: skip
    for kind, name, words in (
        ("sent", "registry_http_response_bytes_total", "Bytes sent to clients over HTTPS."),
        ("received", "registry_http_request_bytes_total", "Bytes received from clients over HTTPS."),
    ):
        yield Metric(name, "counter", words, [({"role": r}, n) for (r,), n in counted.of(counts, kind).items()])
    done = {action: counts.get(f"images {action}", 0) for action in sorted(counted.ACTIONS.values())}
    yield Metric(
        "registry_image_actions_total", "counter", "Manifests that were pulled, pushed and deleted.",
        [({"action": action}, number) for action, number in done.items()],
    )  # fmt: skip


def _storage(found: storage.Storage | None) -> Iterator[Metric]:
    if not found:
        return
    yield Metric(
        "registry_storage_repository_bytes", "gauge",
        "What the images of a repository take up; a layer of two repositories counts in both.",
        [({"repository": name}, size) for name, size in found["repositories"].items()],
    )  # fmt: skip
    yield one("registry_storage_repositories", "gauge", "How many repositories there are.", found["count"])
    yield one("registry_storage_blobs_bytes", "gauge", "What all layers and manifests take up.", found["blobs"])
    yield one("registry_storage_trash_bytes", "gauge", "What was removed and is not purged yet.", found["trash"])
    yield one("registry_storage_seen_timestamp_seconds", "gauge", "When the storage was measured.", int(found["when"]))


def _disks(root: Path) -> Iterator[Metric]:
    places = {"deploy": root, "images": root / layout.DATA}
    spaces = {name: disk.space(place) for name, place in places.items() if place.is_dir()}
    for word, name in (("free", "avail"), ("total", "size")):
        yield Metric(
            f"registry_filesystem_{name}_bytes", "gauge",
            f"{name.capitalize()} bytes of the disk of DEPLOY_DIR and of that of the images.",
            [({"disk": each}, float(space[word])) for each, space in spaces.items()],  # type: ignore[literal-required]
        )  # fmt: skip
    flags = {path.stem for path in (root / layout.FULL).glob("*.json")}
    words = "Whether pushes are refused, as the disk of the images is nearly full."
    yield one("registry_disk_full", "gauge", words, layout.FULL_DISK in flags)
    words = "How many quotas are reached."
    yield one("registry_quotas_reached", "gauge", words, len(flags - {layout.FULL_DISK}))


def _dates(root: Path) -> Iterator[Metric]:
    served = lineage.on_disk(str(root / layout.LIVE / layout.TLS), "")
    if served and "broken" not in served:
        for end in ("not_before", "not_after"):
            yield one(
                f"registry_certificate_{end}_timestamp_seconds", "gauge",
                f"The certificate that nginx serves: {end.replace('_', ' ')}.", float(served[end]),
            )  # fmt: skip
    run, good = _tasks(root)
    for name, words, times in (("run", "ended", run), ("success", "ended well", good)):
        yield Metric(
            f"registry_task_last_{name}_timestamp_seconds", "gauge", f"When a task last {words}.",
            [({"task": task}, int(when)) for task, when in sorted(times.items()) if when],
        )  # fmt: skip


def _tasks(root: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Task -> when it last ended, and when it last ended well; from the audit log, and what cron wrote down."""
    run: dict[str, float] = {}
    good: dict[str, float] = {}
    for line in audit.lines(str(root / layout.AUDIT_LOG)):
        task = line["task"].partition(" ")[0]
        if task in ("renew", "init-letsencrypt", "gc", "backup", "upgrade", "restore"):
            when = audit.seconds(line["when"])
            task = "renew" if task == "init-letsencrypt" else task
            run[task] = when
            if line["outcome"] == "ok":
                good[task] = when
    if night := care.last(str(root)):
        well = not night["problems"]
        for task in ("care", *(["gc"] if not night["by_hand"] else [])):
            run[task] = max(run.get(task, 0), night["when"])
            good[task] = max(good.get(task, 0), night["when"] if well else 0)
    if copy := copies.last(str(root)):
        run["backup"] = max(run.get("backup", 0), copy["when"])
        good["backup"] = max(good.get("backup", 0), copy["good"])
    return run, good
