"""`push-test`: the proof that the registry does what it is for."""

from __future__ import annotations

from .. import report
from ..certificate import outside
from ..errors import StepError, UsageError
from ..machine.host import Host, here, require_deployed
from ..registry.proof import Proof, Receipt, Tell, UnusableEngineError
from ..settings import Settings


def push_test(host: Host, machine: Host, settings: Settings, tell: Tell, receipt: Receipt) -> None:
    """Prove with a docker client that the registry works, and leave nothing behind.

    machine: whose docker client to use. Where it has none, or its engine does not trust the issuer
    of the certificate, the server's own is used, and `tell` is told. Nobody else may be at work on
    the host. First of all port 443 is knocked at from here, unless the server's own client is meant from the start.
    Raises StepError when a part of the proof fails; `receipt` then has what was proven.
    """
    require_deployed(host, settings.deploy_dir)
    if machine is not host:
        for text in outside.require_open(host, settings):
            tell(outside.UNSEEN, "port 443", text, 0.0)
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


def prove(host: Host, settings: Settings, *, source: str = "here", as_json: bool = False) -> None:
    """Run `push_test` and print its lines, or its receipt, on failure too.

    source: `here`, the docker client of the operator's machine, or `host`, the server's.
    """
    if source not in ("here", "host"):
        raise UsageError(f"--from {source}: expected here or host")

    def tell(mark: str, name: str, text: str, seconds: float) -> None:
        if not as_json:
            report.line(mark, "push-test", f"{name}: {text}", seconds)

    receipt = Receipt(settings.registry_domain)
    try:
        push_test(host, host if source == "host" else here(), settings, tell, receipt)
    finally:
        if as_json:
            print(receipt.json())
