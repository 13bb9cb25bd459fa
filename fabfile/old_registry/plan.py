"""What was found of the old scripts' registry, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .. import layout
from ..accounts.onhost.accounts_file import BCRYPT
from ..authority import ACME_SERVERS
from ..certificate import current, lifetime
from ..errors import StepError, UsageError
from ..machine.host import Host, refuse_away
from ..registry import schema1
from ..registry.onhost.schema1 import Found
from ..settings import Settings
from ..stack.onhost.lineage import Broken, OnDisk
from .onhost import takeover
from .onhost.found import Container


@dataclass(frozen=True)
class Plan:
    """What was found of the old layout, and what becomes of it."""

    containers: list[Container]
    overwritten: list[str]
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The names of the old containers."""
        return [each["name"] for each in self.containers]


def plan(host: Host, settings: Settings, in_the_way: Callable[[], list[str]]) -> Plan:
    """Look at DEPLOY_DIR on the server. Changes nothing.

    in_the_way: asks which files that are not ours `sync` would replace.

    Raises StepError where there is nothing to adopt or where it could not be kept as it is,
    UsageError where the settings ask for another certificate authority than the one that it has.
    """
    found = host.call(takeover.inspect, settings.deploy_dir)
    directory = settings.deploy_dir
    if found["ours"]:
        raise StepError(
            f"{host.name}: {directory} was set up by this tool: nothing to adopt",
            "./fab -H … bootstrap brings it up to date",
        )
    if not found["repositories"] and not found["accounts"]:
        refuse_away(host, directory)
        raise StepError(
            f"{host.name}: {directory} has neither images in {layout.DATA} nor {layout.OLD_ACCOUNTS}: nothing to adopt",
            "set DEPLOY_DIR to the directory of the old docker-compose.yml, or: ./fab -H … bootstrap",
        )
    if found["strange"]:
        raise StepError(
            f"{host.name}: the old registry is set up by {', '.join(found['strange'])}: its images are "
            f"not in {layout.DATA}, and adopt moves none",
            "bootstrap a new one and copy the images: skopeo sync",
        )
    overwritten = in_the_way()
    certificate = current.on_disk(host, settings)
    _refuse_other_authority(certificate, settings)
    rows = [
        ("ok" if found["repositories"] else "warn", "images",
         _counted(found["repositories"], "repository"), "stay where they are"),
        *_old_images(found["schema1"], settings),
        *_accounts(found["entries"], settings),
        _certificate(certificate, settings),
        ("ok", "files", ", ".join(overwritten) or "none in the way",
         f"copied to {layout.ADOPTED}/, then replaced" if overwritten else "the old ones stay beside ours"),
        *((("ok", "directory", f"{directory} belongs to {found['owner']}, and root's cron will run what is in it",
            "becomes root's; --back gives it back"),) if found["owner"] else ()),
        *(("ok", "container", f"{each['name']} ({each['image']})",
           "runs until ours is ready, then is stopped and kept" if each["running"] else "stays stopped, is kept")
          for each in found["containers"]),
        *(("ok", "crontab", line, "becomes a comment") for line in found["cron"]
          if not line.startswith("#")),
    ]  # fmt: skip
    return Plan(found["containers"], overwritten, rows)


def _old_images(found: Found, settings: Settings) -> list[tuple[str, str, str, str]]:
    text = "" if schema1.second(settings.stack_images[layout.Service.REGISTRY]) else schema1.described(found)
    return [("warn", "old images", text, schema1.REMEDY)] if text else []


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


def _certificate(have: OnDisk | Broken | None, settings: Settings) -> tuple[str, str, str, str]:
    if settings.tls_certificate:
        return ("ok", "certificate", "your own, of TLS_CERTIFICATE", "is used; nothing is ordered")
    if not have:
        return (
            "warn",
            "certificate",
            "none for this domain",
            "one is ordered; port 443 is away until then",
        )
    found = lifetime.described(have)
    if why := current.why_order(have, settings):
        return ("warn", "certificate", found, f"one is ordered: {why}")
    return ("ok", "certificate", found, "stays; nothing is ordered")


def _refuse_other_authority(have: OnDisk | Broken | None, settings: Settings) -> None:
    theirs = have and have["server"]
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
