"""`doctor`: why is it not as it should be? Each subject brings its symptoms; `check` and `status` bring their rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import report
from ..certificate import outside
from ..certificate import symptoms as certificate
from ..certificate.onhost import attempts
from ..certificate.onhost import health as certificate_health
from ..copies import symptoms as copies
from ..copies.onhost import rot
from ..errors import StepError, addressed
from ..machine import symptoms as machine
from ..machine.host import Host, here, require_deployed
from ..machine.onhost import mount
from ..machine.remote_call import Call
from ..machine.rows import Row
from ..machine.symptom import Finding, Rows, Symptom, findings
from ..registry import symptoms as registry
from ..registry.onhost import between
from ..settings import Settings
from ..stack import symptoms as stack
from ..stack.onhost import health as stack_health
from ..store import symptoms as store
from ..store.onhost import health as store_health
from ..text import printable
from . import check, status

INDENT = 4
# Rows that `status` has, too, or that are no symptom: another system may work as well.
LEFT = ("system", "architecture", "root", "free disk", "cron", "images' disk")
# An older tool than the server's is a warning, and every task that changes something says so.
LEFT_OF_STATUS = ("version",)
ADDRESSES = ("A ", "AAAA ")
BY_ROW: tuple[Symptom[Rows], ...] = (
    *machine.BY_ROW, *stack.BY_ROW, *certificate.BY_ROW, *registry.BY_ROW, *store.BY_ROW, *copies.BY_ROW,
)  # fmt: skip
# For the page about them: title -> symptoms.
SUBJECTS: Mapping[str, tuple[Symptom[Any], ...]] = {
    "The server": (*machine.BY_ROW, *machine.SYMPTOMS),
    "Containers": (*stack.BY_ROW, *stack.SYMPTOMS),
    "Certificate, names and alerts": (*certificate.BY_ROW, *certificate.SYMPTOMS),
    "Images": (*registry.BY_ROW, *registry.SYMPTOMS, *store.BY_ROW, *store.SYMPTOMS),
    "Copies": (*copies.BY_ROW, *copies.SYMPTOMS),
}
FOREVER = 1e9


@dataclass
class Diagnosis:
    """What `--json` prints. notes: what was not looked at, and why; what came of a test."""

    registry: str
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def looks(settings: Settings, *, deep: bool = False) -> list[Call]:
    """What `doctor` asks of the server beyond `check`, for Host.foresee."""
    directory = settings.deploy_dir
    return [
        *status.looks(settings),
        (mount.mount, (directory,), {}),
        (stack_health.health, (directory,), {}),
        (certificate_health.health, (directory, *_of_certificate(settings)), {}),
        (store_health.health, (directory, _seconds(deep)), {}),
    ]


def _of_certificate(settings: Settings) -> tuple[list[str], str, str]:
    lineage = "" if settings.tls_certificate else settings.registry_domain
    return list(settings.hosts), lineage, settings.alert_command


def _seconds(deep: bool) -> float:
    return FOREVER if deep else store_health.SECONDS


def doctor(host: Host, settings: Settings, *, deep: bool = False) -> Diagnosis:
    """What is wrong on the server, and what to do. Changes nothing.

    deep: also read every layer. Raises UsageError where nothing is deployed.
    """
    found, directory = Diagnosis(settings.registry_domain), settings.deploy_dir
    checked = [each for each in check.inside(host, settings, check.gathered(host, settings)) if each.name not in LEFT]
    rows = _bad(checked, found)
    host.foresee(looks(settings, deep=deep))
    require_deployed(host, directory)
    unseen: list[str] = []
    rows |= _bad(_of_status(host, settings, unseen), found)
    found.findings += findings(BY_ROW, rows)
    found.findings += findings(machine.SYMPTOMS, host.call(mount.mount, directory))
    containers = host.call(stack_health.health, directory)
    found.findings += findings(stack.SYMPTOMS, containers)
    health = host.call(certificate_health.health, directory, *_of_certificate(settings))
    found.findings += findings(certificate.SYMPTOMS, certificate.Known(health, rows))
    if any(each.name.startswith(ADDRESSES) and each.mark != "ok" for each in checked):
        found.findings += findings(registry.SYMPTOMS, here().call(between.between, settings.registry_domain))
    images = host.call(store_health.health, directory, _seconds(deep))
    found.findings += findings(store.SYMPTOMS, images)
    if deep:
        found.findings += findings(copies.SYMPTOMS, host.call(rot.rot, directory))
    unseen += [each for each in (containers["problem"], images["problem"]) if each]
    found.findings += _rest(rows, unseen)
    found.notes += unseen
    if not images["whole"]:
        found.notes.append("there was no time to look at all images: ./fab -H … doctor --deep does")
    return found


def test_alert(host: Host, settings: Settings, found: Diagnosis) -> None:
    """Have ALERT_COMMAND tell people that this is a test: what is wrong with it is a finding."""
    symptom = next(each for each in certificate.SYMPTOMS if each.name == certificate.ALERT)
    if not settings.alert_command:
        found.notes.append("ALERT_COMMAND is empty, so nobody is told of anything")
        return
    message = f"{settings.registry_domain}: this is a test of ALERT_COMMAND; nothing is wrong"
    if problem := host.call(attempts.tell, settings.alert_command, message):
        rest = [each for each in found.findings if each.symptom != symptom.name]
        found.findings = [*rest, Finding(symptom.name, symptom.said, f"ALERT_COMMAND: {problem}", symptom.remedy)]
    else:
        found.notes.append("ALERT_COMMAND was told that this is a test: did the message come?")


def _bad(rows: Iterable[Row], found: Diagnosis) -> dict[str, Row]:
    """Those that are not as they should be."""
    bad: dict[str, Row] = {}
    for each in rows:
        # Another address may be the router's, or be in /etc/hosts on purpose: only you know.
        if each.mark == outside.UNSEEN or (each.mark == "warn" and each.name.startswith(ADDRESSES)):
            found.notes.append(": ".join(filter(None, (each.name, each.found, each.remedy))))
        elif each.mark != "ok":
            bad[each.name] = each
    return bad


def _of_status(host: Host, settings: Settings, unseen: list[str]) -> Iterator[Row]:
    """Its rows; of those that it has from outside, the names are those of `check`."""
    try:
        lines = status.rows(status.status(host, settings), settings.standby)
    except StepError as error:
        unseen.append(error.what)
        return
    for mark, name, text in lines:
        if name not in LEFT_OF_STATUS:
            yield Row(f"{name} from here" if name.startswith("port ") else name, mark, text.removeprefix("from here: "))


def _rest(rows: Rows, unseen: Iterable[str]) -> Iterator[Finding]:
    """What is wrong and no symptom of ours; and what could not be looked at, where nothing else says why."""
    known = {name for each in BY_ROW for name in rows if each.look({name: rows[name]})}
    for name, row in rows.items():
        if name not in known:
            yield Finding(name, "", row.found, row.remedy or "./fab -H … status")
    for what in () if rows else dict.fromkeys(unseen):
        yield Finding("not-looked-at", "", what, "./fab -H … status")


def show(found: Diagnosis, *, as_json: bool, option: str | None = None) -> None:
    """Print the findings. option: see errors.addressed. Raises StepError where there is one."""
    if as_json:
        print(addressed(json.dumps(asdict(found), indent=2, ensure_ascii=False), option))
    else:
        _print(found, option)
    if found.findings:
        names = ", ".join(each.symptom for each in found.findings)
        raise StepError(f"found: {names}", "what the arrows say; then ./fab -H … doctor again")


def _print(found: Diagnosis, option: str | None) -> None:
    for each in found.findings:
        print(report.loud(printable(each.symptom)))
        for text in filter(None, (each.said and f"people see: {each.said}", f"found: {each.found}")):
            report.paragraph(printable(text), INDENT)
        report.paragraph(printable(f"-> {addressed(each.remedy, option)}"), INDENT)
    if not found.findings:
        print("nothing found")
    for note in found.notes:
        report.paragraph(printable(f"note: {addressed(note, option)}"), 0)
