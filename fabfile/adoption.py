"""`adopt`: a registry that the old scripts set up becomes one of ours, in place, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from . import (
    accounts,
    certificates,
    chain,
    compose,
    files,
    lock,
    nginx,
    preflight,
    report,
    stack,
    validity,
)
from .compose import PROJECT
from .errors import StepError, UsageError
from .host import Host
from .onhost import adopt as onhost
from .onhost import sync as onhost_sync
from .onhost.accounts import BCRYPT
from .onhost.cron import CRON_FILE
from .report import Outcome
from .rules import ACME_SERVERS
from .settings import Settings


@dataclass(frozen=True)
class Plan:
    """What was found of the old layout, and what becomes of it."""

    containers: list[dict[str, Any]]
    overwritten: list[str]
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)


def plan(host: Host, settings: Settings) -> Plan:
    """Look at DEPLOY_DIR on the server. Changes nothing.

    Raises StepError where there is nothing to adopt or where it could not be kept as it is,
    UsageError where the settings ask for another certificate authority than the one that it has.
    """
    found = host.call(onhost.inspect, settings.deploy_dir, PROJECT)
    directory = settings.deploy_dir
    if found["ours"]:
        raise StepError(
            f"{host.name}: {directory} was set up by this tool: nothing to adopt",
            "./fab -H … bootstrap brings it up to date",
        )
    if not found["repositories"] and not found["accounts"]:
        raise StepError(
            f"{host.name}: {directory} has neither images in registry/data nor "
            "registry/auth/registry.password: nothing to adopt",
            "set DEPLOY_DIR to the directory of the old docker-compose.yml, or: ./fab -H … bootstrap",
        )
    if found["strange"]:
        raise StepError(
            f"{host.name}: the old registry is set up by {', '.join(found['strange'])}: its images are "
            "not in registry/data, and adopt moves none",
            "bootstrap a new one and copy the images: skopeo sync",
        )
    overwritten = files.foreign(host, settings)
    certificate = certificates.on_disk(host, settings)
    _refuse_other_authority(certificate, settings)
    rows = [
        ("ok", "images", _counted(found["repositories"], "repository"), "stay where they are"),
        *_accounts(found["entries"], settings),
        _certificate(certificate, settings),
        ("ok", "files", ", ".join(overwritten) or "none in the way",
         "copied to .adopt/, then replaced" if overwritten else "the old ones stay beside ours"),
        *(("ok", "container", f"{each['name']} ({each['image']})",
           "runs until ours is ready, then is stopped and kept" if each["running"] else "stays stopped, is kept")
          for each in found["containers"]),
        *(("ok", "crontab", line, "becomes a comment") for line in found["cron"]
          if not line.startswith("#")),
    ]  # fmt: skip
    return Plan(found["containers"], overwritten, rows)


def show(planned: Plan, host: Host) -> None:
    """Print the plan, and how to go on."""
    report.table(("", "what", "found", "what becomes of it"), planned.rows)
    print(f"\nNothing was changed. To do it: ./fab -H {host.name} adopt --yes")


def adopt(host: Host, settings: Settings) -> None:
    """Do it: `bootstrap`, with the old containers serving until ours are ready to start.

    When ours do not start, all is put back and the old ones are started again. Raises StepError at
    the first step that fails; running it again goes on.
    """
    planned = plan(host, settings)
    names = [str(each["name"]) for each in planned.containers]
    domain = settings.registry_domain

    def sync(host: Host, settings: Settings) -> Outcome:
        host.call(
            onhost.record, settings.deploy_dir, planned.containers, planned.overwritten, domain
        )
        return files.sync(host, settings, over=planned.overwritten)

    def htpasswd(passwords: list[str]) -> Outcome:
        kept = host.call(onhost.accounts, settings.deploy_dir)
        made = accounts.first(host, settings, passwords)
        summary = f"{kept} accounts keep their passwords; {made.summary}" if kept else made.summary
        return Outcome(summary, bool(kept) or made.changed)

    with lock.exclusive(host, settings, "adopt"):
        chain.carry_out(
            host, settings, "adopt --yes",
            lambda passwords: {
                "check": lambda h, s: preflight.require(h, s, stopping=names),
                "sync": lambda h, s: report.step("sync", lambda: sync(h, s)),
                "htpasswd": lambda h, s: report.step("htpasswd", lambda: htpasswd(passwords)),
                "up": lambda h, s: report.step("up", lambda: _switch(h, s)),
            },
        )  # fmt: skip
    print(f"The old containers are stopped, not removed. Back: ./fab -H {host.name} adopt --back")


def back(host: Host, settings: Settings) -> Outcome:
    """Our containers and files go, the old ones come back; images and certificates stay.

    Raises StepError where nothing was adopted.
    """
    host.call(onhost.require, settings.deploy_dir)
    started = _undo(host, settings)
    return Outcome(f"started {', '.join(started) or 'nothing: nothing ran before'}")


def _undo(host: Host, settings: Settings) -> list[str]:
    directory = settings.deploy_dir
    synced = host.call(onhost_sync.state, directory, [])["ours"]
    if synced:
        host.run(compose.down(settings), remedy="./fab -H … check")
    # An old web server may read a directory that has files of ours by now: so these go first.
    host.call(onhost.restore, directory, list(synced))
    started = host.call(onhost.restart, directory)
    host.run(["rm", "-f", CRON_FILE])
    host.call(onhost.forget, directory)
    return started


def _switch(host: Host, settings: Settings) -> Outcome:
    """Everything that can be done beside the old containers first; then they stop and ours start."""
    directory = settings.deploy_dir
    nginx.prepare(host, settings)
    host.run(compose.create(settings), remedy="./fab -H … check; the old containers go on")
    stopped = host.call(onhost.switch, directory)
    try:
        done = stack.up(host, settings)
    except StepError as error:
        started = _undo(host, settings)
        raise StepError(
            f"{error.what}; all is as it was before, {', '.join(started)} started again",
            error.remedy,
        ) from None
    if not stopped:
        return done
    return Outcome(f"stopped {', '.join(stopped)}; {done.summary}")


def _accounts(entries: Sequence[str], settings: Settings) -> list[tuple[str, str, str, str]]:
    good: list[str] = []
    bad: list[str] = []
    for entry in entries:
        user, _, digest = entry.strip().partition(":")
        (good if BCRYPT.fullmatch(digest) else bad).append(user)
    rows: list[tuple[str, str, str, str]] = []
    if good:
        rows.append(("ok", "accounts", ", ".join(good), "keep their passwords"))
    if bad:
        rows.append(("warn", "accounts", ", ".join(bad),
                     "the registry takes bcrypt only: give them new passwords with htpasswd --user"))  # fmt: skip
    if settings.registry_user not in good:
        rows.append(("ok", "account", settings.registry_user, "is made: it is REGISTRY_USER"))
    return rows


def _certificate(have: dict[str, Any], settings: Settings) -> tuple[str, str, str, str]:
    if settings.tls_certificate:
        return ("ok", "certificate", "your own, of TLS_CERTIFICATE", "is used; nothing is ordered")
    if not have:
        return ("warn", "certificate", "none for this domain", "one is ordered")
    found = validity.described(have)
    if why := certificates.why_order(have, settings):
        return ("warn", "certificate", found, f"one is ordered: {why}")
    return ("ok", "certificate", found, "stays; nothing is ordered")


def _refuse_other_authority(have: dict[str, Any], settings: Settings) -> None:
    theirs = have.get("server")
    if not theirs or theirs == settings.acme_directory:
        return
    if theirs != ACME_SERVERS["staging"]:
        name = next((key for key, url in ACME_SERVERS.items() if url == theirs), theirs)
        raise UsageError(
            f"ACME_SERVER is {settings.acme_server}, but the certificate that is there is from {theirs}",
            f"write ACME_SERVER={name} into .env: then it stays and nothing is ordered",
        )


def _counted(names: Sequence[str], what: str) -> str:
    shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
    plural = f"{what[:-1]}ies" if len(names) != 1 else what
    return f"{len(names)} {plural}" + (f": {shown}" if names else "")
