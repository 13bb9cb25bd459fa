"""One order of a certificate, and everything that is done so that no limit is spent in vain."""

from __future__ import annotations

from .. import layout
from ..errors import StepError
from ..machine.host import Host
from ..machine.remote_call import Call
from ..settings import Settings
from ..stack.onhost import lineage
from ..stack.onhost.lineage import Broken, OnDisk
from . import certbot, current, self_test
from .lifetime import moment
from .lifetime import paused as paused_for
from .onhost import acme, attempts, half_made
from .onhost import certbot as onhost

COST = "it may spend one of the 5 failed tries an hour, or 5 certificates a week, of Let's Encrypt"

# A tried order failed, lately or just now: why, `remembered` has.
FAILED = "order failed"


def order(
    host: Host, settings: Settings, *, have: OnDisk | Broken | None, first: bool, force: bool = False
) -> list[str]:
    """Order a certificate: no pause running, self-test green, rehearsed, and only then the real one.

    have: the one that is there, None for none. first: this authority never gave one for these names, so it is
    rehearsed. force: neither a pause nor the self-test keeps it from being asked.
    Returns lines for people. Raises StepError where something is not right; nothing was ordered then,
    or certbot says why the order failed, and a pause begins.
    """
    memory = remembered(host, settings)
    if paused(memory) and not force:
        raise StepError(
            f"{host.name}: nothing was asked: {pause_text(memory)}",
            f"wait, or: ./fab -H … init-letsencrypt --force ({COST})",
            reason=FAILED,
        )
    _require_room(host, settings)
    found = _self_test(host, settings, memory, force=force)
    lines = [f"warn     {problem}" for problem in found.problems]
    if first and settings.rehearsal:
        _rehearse(host, settings)
        lines.append("rehearsed first, at the test service")
    lines += _ask(host, settings, certbot.issue(settings, again=bool(have)), certbot.account(settings))
    if _serial(current.on_disk(host, settings)) == _serial(have):
        reason = f"certbot has got a certificate, but not in {settings.lineage}"
        raise StepError(
            f"{host.name}: {reason}; {_remember(host, settings, reason, 0)}",
            f"{layout.CERTIFICATES} on the server is damaged: look into {layout.CERTBOT_LOG} before you order again",
            reason=FAILED,
        )
    _succeeded(host, settings, found.unseen)
    return lines


def _serial(certificate: OnDisk | Broken | None) -> str:
    return "" if certificate is None or "broken" in certificate else certificate["serial"]


def renewal(host: Host, settings: Settings, *, due: bool, dry_run: bool = False) -> tuple[str, list[str]]:
    """Let certbot renew what is due. Returns why it was not asked, '' when it was, and lines for people.

    due: by the date, so that the self-test comes first; when the authority wants a renewal earlier
    (ARI), only certbot knows. Raises as `order`.
    """
    memory = remembered(host, settings)
    if paused(memory) and not dry_run:
        return pause_text(memory), []
    unseen = None
    if due or dry_run:
        _require_room(host, settings)
        unseen = _self_test(host, settings, memory, remember=not dry_run).unseen
    server = certbot.rehearsed_renewal_server(settings) if dry_run else ""
    account = certbot.account(settings, server=server)
    lines = _ask(host, settings, certbot.renew(settings, dry_run=dry_run), account, remember=not dry_run)
    if not dry_run:
        _succeeded(host, settings, unseen)
    return "", lines


def learn(host: Host, settings: Settings) -> None:
    """Remember at which addresses the server does not see itself although others do: a router that
    does not lead back. Cron, which has nobody outside to ask, must not take that for a fault.
    """
    if settings.acme_challenge == "http-01" and not host.local:
        seen = self_test.fetch(host, settings)
        unseen = [address for address in seen.inside["wrong"] if address in seen.outside["right"]]
        host.call(attempts.unseen, settings.attempts_file, settings.acme_directory, sorted(unseen))


def _ask(
    host: Host, settings: Settings, args: list[str], account: onhost.AcmeAccount, *, remember: bool = True
) -> list[str]:
    """Run certbot with these arguments. Returns lines for people. Raises StepError in its own words when it fails.

    remember: a pause begins then.
    """
    answer = host.call(onhost.ask, settings.deploy_dir, args, account)
    if answer["code"] == 0:
        return _moved(answer)
    reason = certbot.reason(answer["output"])
    if not answer["asked"]:
        raise StepError(
            f"{host.name}: certbot did not run: {reason}",
            "./fab -H … check",
            "an image that is missing comes back with ./fab -H … renew, with IMAGES=ship: ./fab -H … ship renew",
        )
    error = StepError(
        f"{host.name}: certbot: {reason}",
        f"{settings.deploy_dir}/{layout.CERTBOT_LOG} on the server has the whole story; the certificate in use stays",
        reason=FAILED,
    )
    if remember:
        error.add(_remember(host, settings, reason, answer["retry_after"]))
    raise error


def _moved(answer: onhost.Ran) -> list[str]:
    return [
        "warn     the ACME server knows no such account any more, or its files are damaged: another one is used; "
        f"the old one lies in {layout.CERTIFICATES}/{place}"
        for place in answer["moved"]
    ]


def paused(memory: attempts.Memory) -> bool:
    """Whether the ACME server must be left alone now, by the host's own clock.

    One that begins in the future was made while that clock was wrong.
    """
    return memory["since"] <= memory["now"] < memory["next"]


def pause_text(memory: attempts.Memory) -> str:
    """`the last 2 tries failed (…), the next one is at …`."""
    tries = "try" if memory["failures"] == 1 else f"{memory['failures']} tries"
    return f"the last {tries} failed ({memory['reason']}); the next one is not before {moment(memory['next'])}"


def before(settings: Settings) -> list[Call]:
    """What an order asks of the server before anything else, for Host.foresee."""
    place = (settings.deploy_dir, settings.registry_domain)
    whole: Call = (lineage.damage, (current.certbot_conf(settings), settings.registry_domain), {})
    return [(half_made.untidy, place, {}), whole, (half_made.no_room, (settings.deploy_dir,), {}), look(settings)]


def _require_room(host: Host, settings: Settings) -> None:
    """An order that finds the disk full on its way spends a certificate and leaves it half made: `--force` or not."""
    if problem := host.call(half_made.no_room, settings.deploy_dir):
        raise StepError(
            f"{host.name}: nothing was ordered: {problem}",
            "on the server: df -h and df -i show which disk is full; docs/care.md, When the disk is full; then again",
        )


def _self_test(
    host: Host,
    settings: Settings,
    memory: attempts.Memory,
    *,
    force: bool = False,
    remember: bool = True,
) -> self_test.Findings:
    offered = self_test.offer(host, settings)
    if why := offered["refused"]:
        if not force:
            error = StepError(f"{host.name}: {why}", acme.LATER, reason=FAILED)
            if remember:
                error.add(_remember(host, settings, why, offered["retry_after"]))
            raise error
        # This host may be unable to reach it where certbot's container can.
        offered["profiles"], offered["ahead"] = [settings.acme_profile], 0
    found = self_test.look(host, settings, offered, memory["unseen"])
    if found.problems and not force:
        remedies = (found.remedy,) if found.remedy else (
            "correct that at your DNS provider, firewall or in .env; ./fab -H … check shows more",
            f"when you know better: ./fab -H … init-letsencrypt --force ({COST})",
        )  # fmt: skip
        raise StepError(
            f"{host.name}: nothing was ordered: {'; '.join(found.problems)}",
            *remedies,
        )
    return found


def _rehearse(host: Host, settings: Settings) -> None:
    account = certbot.account(settings, rehearsal=True)
    answer = host.call(onhost.ask, settings.deploy_dir, certbot.rehearse(settings), account)
    if answer["code"] != 0:
        raise StepError(
            f"{host.name}: the rehearsal at {settings.rehearsal} failed, so nothing was ordered: "
            f"{certbot.reason(answer['output'])}",
            "correct that, then run this again: a rehearsal costs nothing. ACME_REHEARSAL=none does without",
        )


def _succeeded(host: Host, settings: Settings, unseen: list[str] | None) -> None:
    host.call(attempts.succeeded, settings.attempts_file, settings.acme_directory, unseen)


def _remember(host: Host, settings: Settings, reason: str, retry_after: float) -> str:
    memory = host.call(
        attempts.failed, settings.attempts_file, settings.acme_directory,
        reason, paused_for(settings.pauses), retry_after,
    )  # fmt: skip
    return f"not asked again before {moment(memory['next'])}"


def look(settings: Settings) -> Call:
    """What `remembered` asks of the server, for Host.foresee."""
    return attempts.remembered, (settings.attempts_file, settings.acme_directory), {}


def remembered(host: Host, settings: Settings) -> attempts.Memory:
    """What the host remembers of the ACME server. Changes nothing.

    Where nothing is ordered any more, no failure of the past counts.
    """
    memory = host.call(attempts.remembered, settings.attempts_file, settings.acme_directory)
    return {**memory, "failures": 0, "reason": ""} if settings.tls_certificate else memory
