"""The configuration and the certificate that nginx runs; `up` and the certificate steps share it."""

from __future__ import annotations

from dataclasses import replace

from .. import layout
from ..errors import StepError
from ..machine.host import Host
from ..machine.remote_call import Call
from ..report import Outcome
from ..settings import Settings
from .onhost import nginx as onhost


def up(host: Host, settings: Settings, *, ordering: bool = False) -> Outcome:
    """Test the configuration, start every container, reload nginx where something changed.

    ordering: the certificate comes next, so that a broken one is a line, and no error.
    Raises StepError when `nginx -t` refuses (the old configuration goes on), when a container does
    not become healthy, or when the newest certificate is broken (the last good one goes on).
    """
    if settled(host, settings):
        return Outcome("running, nothing to change", changed=False)
    answer = host.call(onhost.up, settings.deploy_dir, settings.lineage)
    if ordering and answer["problem"]:
        doubt = f"warn     the newest certificate is not used: {answer['problem']}; init-letsencrypt comes next"
        done = told(host, {**answer, "problem": ""})
        return replace(done, details=[*done.details, doubt])
    return told(host, answer)


def looks(settings: Settings) -> list[Call]:
    """What `settled` asks of the server, for Host.foresee."""
    return [(onhost.settled, (settings.deploy_dir, settings.lineage), {})]


def settled(host: Host, settings: Settings) -> bool:
    """Whether all runs, and is what it should be. Changes nothing."""
    return host.call(onhost.settled, settings.deploy_dir, settings.lineage)


def prepare(host: Host, settings: Settings) -> None:
    """Test what was synced and let it be what nginx runs once it is started. Raises as `up`."""
    host.call(onhost.prepare, settings.deploy_dir, settings.lineage)


def activate(host: Host, settings: Settings) -> Outcome:
    """Have the running nginx take over the configuration and the newest certificate. As `up`."""
    answer = host.call(onhost.activate, settings.deploy_dir, settings.lineage)
    return told(host, answer)


def restore(host: Host, settings: Settings) -> bool:
    """Have nginx run again what it ran before the last change; False where there was nothing."""
    return host.call(onhost.restore, settings.deploy_dir)


def told(host: Host, answer: onhost.Running) -> Outcome:
    """What a change did, in words. Raises StepError where nginx took nothing of it."""
    if answer["problem"]:
        raise StepError(
            f"{host.name}: the newest certificate is not used: {answer['problem']}; the last good one goes on",
            "./fab -H … init-letsencrypt --force orders a new one",
        )
    done = []
    if answer["started"]:
        done.append("started " + ", ".join(answer["started"]))
    if answer["replaced"]:
        done.append("replaced " + ", ".join(answer["replaced"]))
    if answer["reloaded"]:
        done.append("nginx reloaded")
    # What starts runs all that was synced: no news.
    news = () if layout.Service.NGINX in answer["started"] else answer["changed"]
    details = [f"live     {layout.NGINX}/{name}" for name in news]
    if answer["cut"]:
        details.append(
            f"cut      {answer['cut']} connections that were at a push or a pull when nginx was replaced: "
            "their clients begin again"
        )
    return Outcome("; ".join(done) or "running, nothing to change", bool(done), details)
