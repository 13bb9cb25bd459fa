"""The ports of the registry as the operator's machine sees them: a firewall of the provider shows only from outside."""

from __future__ import annotations

from ..errors import StepError
from ..machine.host import Host, here
from ..settings import Settings
from .onhost import probe
from .onhost import way_out as onhost
from .onhost.probe import Knocked

# Beside ok, warn and failed: nobody looked, so it is neither good nor bad.
UNSEEN = "unseen"
ITSELF = "this is the server itself: a firewall of the provider shows only from another machine"


def _itself() -> Knocked:
    return {"nameless": [], "unanswered": [], "wrong": {}, "right": [], "unreachable": [], "own": [""]}


def ports(settings: Settings) -> tuple[int, ...]:
    """Which ports must be open to the world: 80 for the authority alone."""
    return (443,) if settings.tls_certificate or settings.acme_challenge == "dns-01" else (80, 443)


def seen(host: Host, settings: Settings, port: int) -> Knocked:
    """Knock at a port of each address of each name, from the machine that this program runs on. See probe.knock.

    Where that is the server itself, `own` alone has something: nothing is seen from outside then.
    """
    return _itself() if host.local else here().call(probe.knock, list(settings.hosts), port)


def _of(host: Host, settings: Settings, found: Knocked) -> Knocked:
    """Only what leads to that one of several servers: the others prove themselves. Where nobody knows what that is, as
    behind a router, nothing is known to be wrong.
    """
    own = set(host.call(probe.mine, list(settings.hosts)))
    return {
        **found,
        "wrong": {address: why for address, why in found["wrong"].items() if address in own},
        "right": [address for address in found["right"] if address in own],
        "unreachable": [address for address in found["unreachable"] if address in own],
    }


def told(port: int, found: Knocked) -> list[tuple[str, str]]:
    """What `seen` found, as (mark, words): ok, failed, or UNSEEN with what nobody looked at."""
    lines = []
    if wrong := found["wrong"]:
        lines.append(("failed", "; ".join(wrong.values())))
    if right := found["right"]:
        lines.append(("ok", f"answers at {', '.join(right)}"))
    if found["own"]:
        lines.append((UNSEEN, ITSELF))
    if nameless := [*found["nameless"], *found["unanswered"]]:
        lines.append((UNSEEN, f"this machine finds no address of {', '.join(nameless)}, so nobody looked from outside"))
    if unreachable := found["unreachable"]:
        lines.append(
            (UNSEEN, f"no way from this machine to {', '.join(unreachable)}, so nobody looked at port {port} there")
        )
    return lines


def lines(port: int, found: Knocked | None) -> list[tuple[str, str, str]]:
    """As `told`, each with what to do. found: None where nothing answers on the server itself."""
    if found is None:
        step = "push-test" if port == 443 else "init-letsencrypt"
        text = f"nothing answers there on the server yet, so nobody looked from outside; {step} will"
        return [(UNSEEN, text, "")]
    return [(mark, text, remedy(port) if mark == "failed" else "") for mark, text in told(port, found)]


def way_out(where: str, host: str, container: str | None, no_iptables: bool) -> tuple[str, str, str] | None:
    """Whether the ACME server `where` is reached by the server and by a container on it, as certbot is one.

    host, container: '' for no; None where no container runs. Returns (mark, words, what to do), None for nothing to
    say.
    """
    if not host:
        return (
            "warn",
            f"this server does not reach {where}",
            "no certificate can be ordered: look at its firewall and DNS",
        )
    if container:
        return "ok", f"containers reach {where}", ""
    if container is not None:
        text = f"containers have no way out: this server reaches {where}, and its containers do not"
        return "failed", text, onhost.REMEDY
    if no_iptables:
        text = "`iptables: false` is in /etc/docker/daemon.json: Docker gives containers no way out"
        return "warn", text, "take it out and restart Docker, unless rules of your own do that"
    return None


def remedy(port: int) -> str:
    """What to do where a port is closed from outside."""
    return f"open port {port} in the firewall of your provider, and in the server's own (ufw, firewalld)"


def require_open(host: Host, settings: Settings) -> list[str]:
    """Raise StepError where port 443 of an address does not answer from this machine. Returns what nobody looked at."""
    found = seen(host, settings, 443)
    if settings.fleet:
        found = _of(host, settings, found)
    lines = told(443, found)
    if closed := [text for mark, text in lines if mark == "failed"]:
        raise StepError(
            f"from your machine: {'; '.join(closed)}",
            f"{remedy(443)}; then ./fab -H … push-test",
            "on purpose? ./fab -H … push-test --from host tries from the server itself",
        )
    return [text for mark, text in lines if mark == UNSEEN]
