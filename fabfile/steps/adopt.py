"""`adopt`: a registry that the old scripts set up becomes one of ours, in place, and back."""

from __future__ import annotations

from dataclasses import dataclass

from .. import report
from ..certificate import current
from ..errors import StepError
from ..machine import lock
from ..machine.host import Host
from ..old_registry import plan
from ..old_registry.onhost import takeover
from ..old_registry.plan import Plan
from ..report import Outcome
from ..settings import Settings
from ..stack import nginx, templates
from ..stack.onhost import containers
from . import bootstrap, check, htpasswd, schedule, sync, up


def planned(host: Host, settings: Settings) -> Plan:
    """Look at DEPLOY_DIR on the server. Changes nothing. Raises as plan.plan."""
    return plan.plan(host, settings, lambda: sync.foreign(host, settings))


def show(found: Plan, host: Host) -> None:
    """Print the plan, and how to go on."""
    report.table(("", "what", "found", "what becomes of it"), found.rows)
    print(f"\nNothing was changed. To do it: {host.fab} adopt --yes")


@dataclass(kw_only=True)
class Adoption(bootstrap.Run):
    """The run of `bootstrap` that takes a registry over: some steps do more, and all can be undone."""

    found: Plan
    already: bool  # by an earlier run, so what serves now is ours: no failure of this one takes it away
    switched: bool = False  # by this run

    def check(self, _: bootstrap.Run) -> None:
        """`check`, for a machine that the old containers will have left."""
        self.complete = check.require(self.host, self.settings, stopping=self.found.names, adopting=True)

    def sync(self, host: Host, settings: Settings) -> Outcome:
        """Write down what was found; then our files, over the old ones of the same names."""
        files = self.found.overwritten
        names = templates.names(settings)
        host.call(takeover.record, settings.deploy_dir, self.found.containers, files, settings.registry_domain, names)
        return sync.sync(host, settings, over=files)

    def htpasswd(self, host: Host, settings: Settings) -> Outcome:
        """The old accounts first."""
        kept = host.call(takeover.accounts, settings.deploy_dir)
        made = htpasswd.first(host, settings, self.made)
        summary = f"{kept} accounts keep their passwords; {made.summary}" if kept else made.summary
        return Outcome(summary, bool(kept) or made.changed)

    def up(self, host: Host, settings: Settings) -> Outcome:
        """Everything that can be done beside the old containers first; then they stop and ours start."""
        nginx.prepare(host, settings)
        host.call(containers.create, settings.deploy_dir)
        stopped = host.call(takeover.switch, settings.deploy_dir)
        # Their renewals end here, so ours begin.
        schedule.schedule(host, settings)
        done = up.up(host, settings)
        self.switched = True
        return Outcome(f"stopped {', '.join(stopped)}; ours runs") if stopped else done

    def undo(self) -> str | None:
        """Before the switch, and after one that left port 443 without a certificate, all is put back."""
        host, directory = self.host, self.settings.deploy_dir
        if self.already or (self.switched and current.on_disk(host, self.settings)):
            return None
        try:
            if not host.call(takeover.recorded, directory):
                # The switch has done it and said so, or nothing had begun.
                return ""
            host.call(takeover.back, directory)
        except StepError:
            return None  # the connection is gone
        return "all is as it was before"


def adopt(host: Host, settings: Settings) -> None:
    """Do it: `bootstrap`, with the old containers serving until ours are ready to start.

    When ours do not start, all is put back and the old ones are started again. Raises StepError at
    the first step that fails; running it again goes on.
    """
    found = planned(host, settings)
    run = Adoption(host, settings, found=found, already=host.call(takeover.switched, settings.deploy_dir))
    changed: dict[str, bootstrap.Step] = {
        "check": run.check,
        "sync": bootstrap.told("sync", run.sync),
        "htpasswd": bootstrap.told("htpasswd", run.htpasswd),
        "up": bootstrap.told("up", run.up),
    }
    with lock.exclusive(host, settings, "adopt"):
        bootstrap.carry_out(run, "adopt --yes", {**bootstrap.STEPS, **changed}, run.undo)
    print(f"The old containers are stopped, not removed. Back: {host.fab} adopt --back")


def back(host: Host, settings: Settings) -> Outcome:
    """Our containers and files go, the old ones come back; images and certificates stay.

    Raises StepError where nothing was adopted, or where the old containers were removed.
    """
    started = host.call(takeover.back, settings.deploy_dir)
    return Outcome(f"started {', '.join(started) or 'nothing: nothing ran before'}")
