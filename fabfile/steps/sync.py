"""`sync`: the rendered files on the server, only what differs, all or nothing."""

from __future__ import annotations

import base64
import difflib
import re
from collections.abc import Collection, Sequence

from .. import layout
from ..certificate import own
from ..errors import StepError, UsageError
from ..machine import ownership
from ..machine.host import Host, refuse_away
from ..machine.onhost import owner
from ..machine.onhost.atomic import RefusedError
from ..machine.remote_call import Call
from ..report import Outcome
from ..settings import HOME, Settings
from ..stack import capacity, templates
from ..stack.onhost import sync as onhost
from ..store import page, quota
from ..store.onhost import rules
from ..text import counted

# Not text, or nobody else's business: keys, tokens.
UNSHOWN = (layout.LIBRARIES, f"{layout.TLS}/", f"{layout.HOOKS}/", layout.ACME_EAB, layout.S3_KEYS)
SECRET = ("ALERT_COMMAND", "BACKUP_COMMAND", "EVENT_COMMAND")


def _sections() -> templates.Sections:
    """Of deploy/retention.ini, where one has a quota. Raises UsageError for a mistake, before anything is sent."""
    try:
        found = rules.read(str(HOME / "deploy")) or []
    except RefusedError as error:
        raise UsageError(f"deploy/{error.what}", *error.remedies) from None
    some = any(rule.quota for rule in found)
    return [(rule.pattern, rule.key if rule.quota else "") for rule in found] if some else []


def looks(settings: Settings) -> list[Call]:
    """What `sync` asks of the server, for Host.foresee."""
    return [(onhost.state, (settings.deploy_dir, templates.names(settings)), {})]


def sync(
    host: Host,
    settings: Settings,
    *,
    diff: bool = False,
    over: Collection[str] = (),
    moved: bool = False,
) -> Outcome:
    """Bring DEPLOY_DIR on the server up to date with deploy/ and the settings.

    diff: only show what would change. over: files that may be replaced although they are not ours.
    moved: the images are in the new place already, where the settings name another one.
    Data, accounts and certificates are never touched.
    Raises StepError where a file that is not ours stands in the way, or where the server has been another registry.
    """
    directory = settings.deploy_dir
    if settings.tls_certificate:
        own.check(settings)
    sections = _sections()
    names = templates.names(settings)
    there = host.call(onhost.state, directory, names)
    # First of all: what a stranger left there, a journal for example, must not be carried out.
    _refuse_strangers(host, directory, there)
    if diff and not there["ours"]:
        # Who changes something has been told by the lock.
        refuse_away(host, directory)
    if there["unfinished"] and not diff:
        host.call(onhost.finish, directory)
        there = host.call(onhost.state, directory, names)
    files = templates.tree(settings, capacity.derived(there["machine"]), sections=sections)
    changed = {
        name: file
        for name, file in files.items()
        if there["files"].get(name) != {"digest": file.digest, "mode": file.mode, "owner": owner.READ.get(name, 0)}
    }
    removed = sorted(name for name in there["ours"] if name not in files)
    _refuse_foreign(host, directory, changed.keys() - set(over), there)
    if layout.SETTINGS_FILE in changed and layout.SETTINGS_FILE in there["ours"] and not diff:
        _refuse_other_registry(host, settings, moved=moved)
    if diff:
        text = _diff(host, directory, changed, removed, there)
        return Outcome(
            f"{counted(len(changed) + len(removed) + len(there['closed']), 'file')} would change",
            changed=False,
            details=text,
        )
    digests = {name: file.digest for name, file in files.items()}
    if not changed and not removed and not there["closed"] and digests == there["ours"]:
        return Outcome(f"{directory} is up to date", changed=False)
    payload: dict[str, onhost.Sent] = {
        name: {"content": base64.b64encode(file.content).decode(), "mode": file.mode} for name, file in changed.items()
    }
    host.call(onhost.apply, directory, payload, removed, digests)
    if layout.RETENTION in {*changed, *removed}:
        quota.look(host, settings)
        page.look(host, settings)
    if not there["ours"]:
        return Outcome(f"{len(changed)} new files in {directory}")
    count = len(changed) + len(removed) + len(there["closed"])
    return Outcome(f"{counted(count, 'file')} changed in {directory}", details=_details(changed, removed, there))


def _details(changed: Collection[str], removed: Sequence[str], there: onhost.State) -> list[str]:
    """A line a file; but of this tool itself, as cron runs it, one for all that only changed: there are many."""
    lines = [(name, _described(name, there)) for name in sorted(changed)]
    lines += [(name, f"removed  {name}") for name in removed]
    lines += [(name, f"mode     {name}") for name in there["closed"]]
    ours = [name for name, line in lines if name.startswith("fabfile/") and "(" not in line]
    details = [line for name, line in lines if name not in ours]
    return details + ([f"tool     {counted(len(ours), 'file')} below fabfile/"] if ours else [])


def foreign(host: Host, settings: Settings) -> list[str]:
    """Files in DEPLOY_DIR that have the names of ours and were not made by `sync`."""
    there = host.call(onhost.state, settings.deploy_dir, templates.names(settings))
    return sorted(there["files"].keys() - there["ours"].keys())


def _refuse_strangers(host: Host, directory: str, there: onhost.State) -> None:
    if there["strangers"]:
        raise StepError(
            f"{host.name}: nothing was changed: somebody else than root can change {there['strangers'][0]}, "
            "and what root's cron runs there",
            ownership.remedy(directory, there["strangers"]),
        )
    if there["taken"]:
        raise StepError(
            f"{host.name}: nothing was changed: {there['taken']}, a number that the containers need for themselves",
            "on the server, usermod --uid (and chown) gives it another",
        )


def _refuse_foreign(host: Host, directory: str, changed: Collection[str], there: onhost.State) -> None:
    for name in sorted({*changed, *there["blocked"]}):
        if name in there["blocked"] or (name in there["files"] and name not in there["ours"]):
            raise StepError(
                f"{host.name}: {directory}/{name} is there already and was not made by sync",
                "move it away, or set another DEPLOY_DIR, then run this again",
            )


def _refuse_other_registry(host: Host, settings: Settings, *, moved: bool) -> None:
    """Settings of one registry must not reach the server of another by a slip of -H or ENV_FILE.

    Nor may they lead the registry to another place for images, where it would be empty.
    """
    text = host.call(onhost.read, settings.deploy_dir, [layout.SETTINGS_FILE]).get(layout.SETTINGS_FILE, "")
    found = re.search(r"^REGISTRY_DOMAIN='(.+)'$", text, re.M)
    if found and not own.covered(found[1], settings.names):
        raise StepError(
            f"{host.name} is {found[1]}, and the settings are for {settings.registry_domain}; nothing was changed",
            f"another server, or another ENV_FILE? If it shall have a new name, keep the old one for now: "
            f"REGISTRY_ALIASES={found[1]} (docs/care.md, Another name)",
        )
    if not moved:
        _refuse_other_place(host, settings, text)


def _refuse_other_place(host: Host, settings: Settings, text: str) -> None:
    old = dict(re.findall(r"^(STORAGE|S3_BUCKET|S3_PREFIX)='(.*)'$", text, re.M))
    was, bucket, prefix = (old.get(key, "") for key in ("STORAGE", "S3_BUCKET", "S3_PREFIX"))
    if was != "s3":
        if settings.on_s3 and host.call(onhost.has_images, settings.deploy_dir):
            raise StepError(
                f"{host.name}: nothing was changed: its images are on its disk, and in the bucket are none",
                "./fab -H … move-to s3 brings them there",
            )
        return
    where = (settings.s3_bucket, settings.s3_prefix) if settings.on_s3 else None
    if where != (bucket, prefix):
        named = f"bucket {bucket}" + (f", below {prefix}" if prefix else "")
        raise StepError(
            f"{host.name}: nothing was changed: its images are in the {named}, and the settings name another place",
            "./fab -H … move-to disk brings them to its disk, with the old S3_ settings and STORAGE=disk",
        )


def _described(name: str, there: onhost.State) -> str:
    if name not in there["files"]:
        return f"new      {name}"
    by_hand = there["files"][name]["digest"] != there["ours"].get(name)
    return f"changed  {name}{' (it had been edited on the server)' if by_hand else ''}"


def _diff(
    host: Host,
    directory: str,
    changed: dict[str, templates.File],
    removed: list[str],
    there: onhost.State,
) -> list[str]:
    lines = [f"removed  {name}" for name in removed] + [f"mode     {name}" for name in there["closed"]]
    known = [name for name in changed if name in there["files"] and not name.startswith(UNSHOWN)]
    old = host.call(onhost.read, directory, known)
    # First what the person wrote, and then what follows from it.
    for name, file in sorted(changed.items(), key=lambda item: (item[0] != layout.SETTINGS_FILE, item[0])):
        lines.append(_described(name, there))
        if name in old:
            before = old[name].splitlines()
            after = file.content.decode("utf-8", "replace").splitlines()
            if name == layout.SETTINGS_FILE:
                lines += settings_diff(before, after)
                continue
            lines += difflib.unified_diff(before, after, "on the server", "new", lineterm="")
    return lines


def settings_diff(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """The settings that differ, as `-KEY='old'` and `+KEY='new'`; the value of one that may hold a secret is hidden."""
    old, new = (dict(line.split("=", 1) for line in lines if "=" in line) for lines in (before, after))
    found = []
    for key in {**new, **old}:
        was, will = old.get(key), new.get(key)
        if was == will:
            continue
        hidden = key in SECRET
        found += [f"-{key}={'(hidden)' if hidden else was}"] if was is not None else []
        found += [f"+{key}={'(hidden)' if hidden else will}"] if will is not None else []
    return found
