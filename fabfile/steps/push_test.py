"""`push-test`: the proof that the registry does what it is for."""

from __future__ import annotations

import contextlib
import time

from .. import report
from ..certificate import outside
from ..errors import StepError, UsageError
from ..machine.host import Host, here, require_deployed
from ..registry import through
from ..registry.proof import Proof, Receipt, Tell, UnusableEngineError, short
from ..settings import Settings

# What `tell` is told.
Part = tuple[str, str, str, float]
# Which part is no detail: which client it was, and what nobody saw from outside.
SHOWN = ("warn", outside.UNSEEN)


def push_test(host: Host, machine: Host, settings: Settings, tell: Tell, receipt: Receipt) -> None:
    """Prove with a docker client that the registry works, and leave nothing behind.

    machine: whose docker client to use. Where it has none, or its engine does not trust the issuer
    of the certificate, the server's own is used, and `tell` is told. One of several servers proves itself without
    docker, as their name leads to any of them. Nobody else may be at work on the host. First of all port 443 is knocked
    at from here, unless the server's own client is meant from the start.
    Raises StepError when a part of the proof fails; `receipt` then has what was proven.
    """
    require_deployed(host, settings.deploy_dir)
    if machine is not host:
        for text in outside.require_open(host, settings):
            tell(outside.UNSEEN, "port 443", text, 0.0)
    if settings.fleet:
        through.prove(host, settings, tell, receipt)
        return
    for client in [machine] if machine is host else [machine, host]:
        try:
            Proof(host, client, settings, tell, receipt).run()
        except UnusableEngineError as reason:
            if client is host:
                raise StepError(f"{host.name}: {reason}", "./fab -H … check") from None
            tell("warn", "client", f"{client.name}: {reason}; going on from the server", 0.0)
            receipt.lines.clear()
        else:
            return


def prove(
    host: Host, settings: Settings, *, source: str = "here", as_json: bool = False, verbose: bool = False
) -> None:
    """Run `push_test`. Prints one line when all is well and every part of it when not; or the receipt, on failure too.

    source: `here`, the docker client of the operator's machine, or `host`, the server's. verbose: every part in any
    case.
    """
    if source not in ("here", "host"):
        raise UsageError(f"--from {source}: expected here or host")
    parts: list[Part] = []

    def tell(mark: str, name: str, text: str, seconds: float) -> None:
        if verbose:
            told(mark, name, text, seconds)
        elif mark == "warn":
            # What the other client proved counts no more.
            parts[:] = [*(part for part in parts if part[0] == outside.UNSEEN), (mark, name, text, seconds)]
        else:
            parts.append((mark, name, text, seconds))

    def told(mark: str, name: str, text: str, seconds: float) -> None:
        if not as_json:
            report.line(mark, "push-test", f"{name}: {text}", seconds)

    receipt, start = Receipt(settings.registry_domain), time.monotonic()
    try:
        with contextlib.nullcontext() if as_json or verbose else report.working("push-test"):
            push_test(host, host if source == "host" else here(), settings, tell, receipt)
    except BaseException:
        for part in parts:
            told(*part)
        raise
    finally:
        if as_json:
            print(receipt.json())
    if not as_json and not verbose:
        for part in parts:
            if part[0] in SHOWN:
                told(*part)
        report.line("ok", "push-test", summary(receipt), time.monotonic() - start)


def summary(receipt: Receipt) -> str:
    """All that was proven, in one line."""
    return f"strangers refused, {short(receipt.digest)} pushed, pulled, equal, deleted"
