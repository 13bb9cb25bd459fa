"""`doctor`: why is it not as it should be? Each subject brings its symptoms; `check` and `status` bring their rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from .. import report
from ..errors import StepError, addressed
from ..machine.host import Host, require_deployed
from ..machine.remote_call import Call
from ..machine.rows import Row
from ..machine.symptom import Finding, Rows, Symptom, findings
from ..settings import Settings
from ..stack import symptoms as stack
from ..stack.onhost import health as stack_health
from ..store import symptoms as store
from ..store.onhost import health as store_health
from ..text import printable
from . import check, status

INDENT = 4
# Rows that `status` has, too, or that are no symptom: another system may work as well.
LEFT = ("system", "architecture", "root", "free disk", "cron", "images' disk", "version")
BY_ROW: tuple[Symptom[Rows], ...] = (*stack.BY_ROW, *store.BY_ROW)
# For the page about them: title -> symptoms.
SUBJECTS: Mapping[str, tuple[Symptom[Any], ...]] = {
    "Containers": (*stack.BY_ROW, *stack.SYMPTOMS),
    "Images": (*store.BY_ROW, *store.SYMPTOMS),
}


def looks(settings: Settings) -> list[Call]:
    """What `doctor` asks of the server beyond `check`, for Host.foresee."""
    directory = settings.deploy_dir
    return [
        *status.looks(settings),
        (stack_health.health, (directory,), {}),
        (store_health.health, (directory,), {}),
    ]


def doctor(host: Host, settings: Settings) -> list[Finding]:
    """What is wrong on the server, and what to do. Changes nothing.

    Raises UsageError where nothing is deployed.
    """
    facts = check.gathered(host, settings)
    rows = bad(check.inside(host, settings, facts))
    host.foresee(looks(settings))
    require_deployed(host, settings.deploy_dir)
    unseen: list[str] = []
    rows |= _of_status(host, settings, unseen)
    found = findings(BY_ROW, rows)
    containers = host.call(stack_health.health, settings.deploy_dir)
    images = host.call(store_health.health, settings.deploy_dir)
    found += [*findings(stack.SYMPTOMS, containers), *findings(store.SYMPTOMS, images)]
    unseen += filter(None, (containers["problem"], images["problem"]))
    return [*found, *_rest(rows, unseen, found)]


def bad(rows: Iterable[Row]) -> dict[str, Row]:
    """Those of `check` that are not as they should be, and that `status` has not."""
    return {each.name: each for each in rows if each.mark in ("warn", "failed") and each.name not in LEFT}


def _of_status(host: Host, settings: Settings, unseen: list[str]) -> dict[str, Row]:
    try:
        lines = status.rows(status.status(host, settings))
    except StepError as error:
        unseen.append(error.what)
        return {}
    named = [(mark, f"{name} from here" if name.startswith("port ") else name, text) for mark, name, text in lines]
    return {
        name: Row(name, mark, text) for mark, name, text in named if mark in ("warn", "failed") and name != "version"
    }


def _rest(rows: Rows, unseen: Iterable[str], found: list[Finding]) -> Iterator[Finding]:
    """What is wrong and no symptom of ours; and what could not be looked at, where nothing else says why."""
    known = {name for each in BY_ROW for name in rows if each.look({name: rows[name]})}
    for name, row in rows.items():
        if name not in known:
            yield Finding(name, "", row.found, row.remedy or "./fab -H … status")
    if not rows:
        for what in dict.fromkeys(unseen):
            yield Finding("not looked at", "", what, "./fab -H … status")


def show(found: list[Finding], *, as_json: bool, option: str | None = None) -> None:
    """Print the findings. option: see errors.addressed. Raises StepError where there is one."""
    if as_json:
        print(json.dumps([{**asdict(each), "remedy": addressed(each.remedy, option)} for each in found], indent=2))
    elif not found:
        print("nothing found")
    for each in () if as_json else found:
        print(report.loud(printable(each.symptom)))
        for text in filter(None, (each.said and f"people see: {each.said}", f"found: {each.found}")):
            report.paragraph(printable(text), INDENT)
        report.paragraph(printable(f"-> {addressed(each.remedy, option)}"), INDENT)
    if found:
        names = ", ".join(each.symptom for each in found)
        raise StepError(f"found: {names}", "what the arrows say; then ./fab -H … doctor again")
