"""certbot: its commands, as what follows its name, and what it says. Nothing here runs anything."""

from __future__ import annotations

import re
from pathlib import Path

from .. import layout
from ..authority import ACME_SERVERS
from ..layout import Inside
from ..settings import Settings
from .onhost.certbot import AcmeAccount

LONGEST_WORDS = 300
_REHEARSAL = ("--config-dir", f"{Inside.REHEARSAL}/conf", "--work-dir", f"{Inside.REHEARSAL}/work")


def issue(settings: Settings, *, again: bool) -> list[str]:
    """Order a certificate for all names.

    again: order although the one at hand is still good (another ACME server, other names).
    """
    return [
        "certonly",
        *_order(settings, settings.acme_directory),
        *_chain(settings),
        *_binding(settings),
        *(["--force-renewal", "--renew-with-new-domains", "--break-my-certs"] if again else ["--keep-until-expiring"]),
    ]


def rehearse(settings: Settings) -> list[str]:
    """The same order at another ACME server, in a certbot directory of its own that `issue` never sees."""
    return ["certonly", *_order(settings, settings.rehearsal), "--force-renewal", *_REHEARSAL]


def account(settings: Settings, *, server: str = "", rehearsal: bool = False) -> AcmeAccount:
    """What onhost.certbot.ask wants to know of the account that a command uses.

    server: the directory URL, that of the settings by default. rehearsal: certbot's directory is that of `rehearse`.
    """
    server = server or (settings.rehearsal if rehearsal else settings.acme_directory)
    registration = [
        "register", "--non-interactive", "--agree-tos", "-m", settings.acme_email, "--server", server,
        *(_REHEARSAL if rehearsal else []), *(_binding(settings) if server == settings.acme_directory else []),
    ]  # fmt: skip
    return {
        "server": server,
        "conf": f"{layout.REHEARSAL}/conf" if rehearsal else layout.CERTIFICATES,
        "name": settings.registry_domain,
        "register": registration,
    }


def rehearsed_renewal_server(settings: Settings) -> str:
    """The directory URL of the ACME server that `renew --dry-run` asks: see `renew`."""
    private = settings.acme_server.startswith("https://")
    return settings.acme_server if private else ACME_SERVERS["staging"]


def _binding(settings: Settings) -> list[str]:
    """The account with the authority that an order is for (RFC 8555, 7.3.4). The key comes from a file: everybody
    on the server can read a command line.
    """
    if not settings.acme_eab_kid:
        return []
    return ["--eab-kid", settings.acme_eab_kid, "--config", f"{Inside.ACME}/{Path(layout.ACME_EAB).name}"]


def _order(settings: Settings, server: str) -> list[str]:
    names = [part for name in settings.certificate_names for part in ("-d", name)]
    return [
        *_challenge(settings), "--non-interactive", "--agree-tos", "-m", settings.acme_email,
        "--server", server, "--cert-name", settings.registry_domain, *names, *_profile(settings),
    ]  # fmt: skip


def _challenge(settings: Settings) -> list[str]:
    if settings.acme_challenge == "http-01":
        return ["--webroot", "-w", Inside.WEBROOT, "--preferred-challenges", "http"]
    return [
        "--manual", "--preferred-challenges", "dns",
        "--manual-auth-hook", f"{Inside.HOOKS}/dns-auth", "--manual-cleanup-hook", f"{Inside.HOOKS}/dns-cleanup",
    ]  # fmt: skip


def _profile(settings: Settings) -> list[str]:
    # Required, not preferred: a certificate of another lifetime than asked for is no small thing.
    return ["--required-profile", settings.acme_profile] if settings.acme_profile else []


def _chain(settings: Settings) -> list[str]:
    """By the issuer of its last certificate (certbot's manual). Not for a rehearsal, whose roots have other names."""
    return ["--preferred-chain", settings.acme_preferred_chain] if settings.acme_preferred_chain else []


def renew(settings: Settings, *, dry_run: bool) -> list[str]:
    """Renew the certificate where it is due, at once: cron already spreads the load.

    When it is due, certbot says: at the time that the authority names (ARI, RFC 9773), else when a
    third of the lifetime is left, of a short one (10 days) half.
    The way of the challenge is given anew: certbot would go on as at the first order.
    A rehearsal asks Let's Encrypt's staging unless certbot is told another server
    (certbot's manual, --dry-run).
    """
    private = settings.acme_server.startswith("https://")
    rehearsal = ["--dry-run", *(["--server", settings.acme_server] if private else [])]
    return [
        "renew", "--non-interactive", "--no-random-sleep-on-renew",
        "--cert-name", settings.registry_domain, *_challenge(settings), *_profile(settings),
        *([] if dry_run else _chain(settings)), *(rehearsal if dry_run else []),
    ]  # fmt: skip


def reason(output: str) -> str:
    """The one line of certbot's output that says why it failed, and what a DNS hook that failed said of it."""
    return "; ".join([_reason(output), *_hooks(output)])


def _hooks(output: str) -> list[str]:
    """`the hook dns-auth for NAME ended with status 3: its last words`, for each that failed.

    certbot goes on all the same, so the authority's answer alone would hide the cause.
    """
    found = []
    for hook, name, status in re.findall(r"Hook '--manual-(\w+)-hook' for (\S+) reported error code (\d+)", output):
        told = f"the hook dns-{hook} for {name} ended with status {status}"
        said = re.search(
            rf"Hook '--manual-{hook}-hook' for {re.escape(name)} ran with error output:\n((?: .*\n?)+)", output
        )
        said = said or re.search(
            rf"Hook '--manual-{hook}-hook' for {re.escape(name)} ran with output:\n((?: .*\n?)+)", output
        )
        words = [line.strip() for line in said[1].splitlines() if line.strip()] if said else []
        found.append(f"{told}: {words[-1][:LONGEST_WORDS]}" if words else f"{told} and said nothing")
    return list(dict.fromkeys(found))


def _reason(output: str) -> str:
    if found := re.search(r"HTTPS?ConnectionPool\(host='([^']+)', port=(\d+)\).*", output):
        known = {
            # getaddrinfo(3): EAI_AGAIN. With the others it was answered: there is no such name, or no address of it.
            "[Errno -3]": "no DNS server answers",
            "NameResolutionError": "its name has no address",
            "Connection refused": "connection refused",
            "CERTIFICATE_VERIFY_FAILED": "its own certificate is not trusted: see ACME_CA_BUNDLE",
        }
        why = next((text for word, text in known.items() if word in found[0]), "no answer")
        return f"the ACME server {found[1]}:{found[2]} cannot be reached: {why}"
    if re.search(r"unrecognized arguments:.*--required-profile", output):
        return "this certbot knows no ACME profiles: CERTBOT_IMAGE must be version 4.0 or later"
    for pattern in (
        r"^\s*Detail: (.+)$",
        r"(urn:ietf:params:acme:error:.+)$",
        r"^(?:.*: )?(Failed to renew certificate .+)$",
        r"^(An unexpected error occurred:.*(?:\n.+)?)$",
    ):
        if found := re.search(pattern, output, re.M):
            return " ".join(found[1].split())
    noise = (
        "Saving debug log", "Ask for help", "- - -", "See the logfile", "Some challenges", "For more help",
    )  # fmt: skip
    lines = [line.strip() for line in output.splitlines()]
    lines = [line for line in lines if line and not line.startswith(noise)]
    return lines[-1] if lines else "it failed without a word"
