"""What all servers of one registry have alike: made on one of them, handed to the others."""

from __future__ import annotations

from ..errors import StepError
from ..machine.host import Host
from ..report import Outcome
from ..settings import Settings
from . import certbot
from .onhost import alike as onhost
from .onhost import certbot as onhost_certbot
from .onhost import thumbprint


def begin(host: Host, settings: Settings) -> Outcome:
    """On the server that the others take it from: see to an account at the authority, with which all answer.

    The accounts, of people, are there. Raises StepError in certbot's own words where it gets none.
    """
    if not settings.answers_alike:
        return Outcome("nothing to register: no challenge is answered by HTTP", changed=False)
    made = host.call(onhost_certbot.register, settings.deploy_dir, certbot.account(settings))
    if made and made["code"]:
        raise StepError(
            f"{host.name}: no account at {settings.acme_directory}: {certbot.reason(made['output'])}",
            "correct that, then run this again: nothing was ordered yet",
        )
    new = host.call(thumbprint.keep, *_place(settings))
    where = "registered at the authority" if made else "the account at the authority is there"
    return Outcome(f"{where}; all servers answer for it", changed=bool(made) or new)


def of(host: Host, settings: Settings) -> onhost.Alike:
    """What that server has. It is secret: it stays in memory."""
    directory, server, name = _place(settings)
    return host.call(onhost.of, directory, server if settings.answers_alike else "", name, settings.page != "off")


def hand(alike: onhost.Alike, host: Host, settings: Settings) -> Outcome:
    """Give it to another server. Once more changes nothing."""
    directory, server, name = _place(settings)
    news = host.call(onhost.take, directory, server, alike)
    if settings.answers_alike:
        host.call(thumbprint.keep, directory, server, name)
    return Outcome(f"took {', '.join(news)}" if news else "has what all have", changed=bool(news))


def _place(settings: Settings) -> tuple[str, str, str]:
    return settings.deploy_dir, settings.acme_directory, settings.registry_domain
