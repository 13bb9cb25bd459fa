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
    templates,
    validity,
)
from .compose import PROJECT
from .errors import StepError, UsageError
from .host import Host
from .onhost import adopt as onhost
from .onhost.accounts import BCRYPT
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
        ("ok" if found["repositories"] else "warn", "images",
         _counted(found["repositories"], "repository"), "stay where they are"),
        *_accounts(found["entries"], settings),
        _certificate(certificate, settings),
        ("ok", "files", ", ".join(overwritten) or "none in the way",
         "copied to .adopt/, then replaced" if overwritten else "the old ones stay beside ours"),
        *((("ok", "directory", f"{directory} belongs to {found['owner']}, and root's cron will run what is in it",
            "becomes root's; --back gives it back"),) if found["owner"] else ()),
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
            onhost.record, settings.deploy_dir, planned.containers, planned.overwritten, domain,
            templates.names(settings),
        )  # fmt: skip
        return files.sync(host, settings, over=planned.overwritten)

    def htpasswd(passwords: list[str]) -> Outcome:
        kept = host.call(onhost.accounts, settings.deploy_dir)
        made = accounts.first(host, settings, passwords)
        summary = f"{kept} accounts keep their passwords; {made.summary}" if kept else made.summary
        return Outcome(summary, bool(kept) or made.changed)

    switched: list[bool] = []
    # By an earlier run, so what serves now is ours: no failure of this one takes it away.
    already = host.call(onhost.switched, settings.deploy_dir)

    def up(host: Host, settings: Settings) -> Outcome:
        done = _switch(host, settings)
        switched.append(True)
        return done

    def undo() -> str | None:
        """Before the switch, and after one that left port 443 without a certificate, all is put back."""
        if already or (switched and certificates.on_disk(host, settings)):
            return None
        try:
            if not host.call(onhost.recorded, settings.deploy_dir):
                # The switch has done it and said so, or nothing had begun.
                return ""
            host.call(onhost.back, settings.deploy_dir, compose.remove())
        except StepError:
            return None  # the connection is gone
        return "; all is as it was before"

    with lock.exclusive(host, settings, "adopt"):
        chain.carry_out(
            host, settings, "adopt --yes",
            lambda passwords: {
                "check": lambda h, s: preflight.require(h, s, stopping=names, adopting=True),
                "sync": lambda h, s: report.step("sync", lambda: sync(h, s)),
                "htpasswd": lambda h, s: report.step("htpasswd", lambda: htpasswd(passwords)),
                "up": lambda h, s: report.step("up", lambda: up(h, s)),
            },
            undo,
        )  # fmt: skip
    print(f"The old containers are stopped, not removed. Back: ./fab -H {host.name} adopt --back")


def back(host: Host, settings: Settings) -> Outcome:
    """Our containers and files go, the old ones come back; images and certificates stay.

    Raises StepError where nothing was adopted, or where the old containers were removed.
    """
    started = host.call(onhost.back, settings.deploy_dir, compose.remove())
    return Outcome(f"started {', '.join(started) or 'nothing: nothing ran before'}")


def _switch(host: Host, settings: Settings) -> Outcome:
    """Everything that can be done beside the old containers first; then they stop and ours start."""
    nginx.prepare(host, settings)
    host.run(compose.create(settings), remedy="./fab -H … check; the old containers go on")
    stopped = host.call(onhost.switch, settings.deploy_dir, compose.up(settings), compose.remove())
    # Their renewals end here, so ours begin.
    certificates.schedule(host, settings)
    done = stack.up(host, settings)
    return Outcome(f"stopped {', '.join(stopped)}; ours runs") if stopped else done


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
        return (
            "warn",
            "certificate",
            "none for this domain",
            "one is ordered; port 443 is away until then",
        )
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
