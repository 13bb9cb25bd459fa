"""What `check` says of a host's ports and of the DNS records that lead to it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from ..layout import COMPOSE_FILE, PROJECT
from ..settings import Settings
from .rows import Facts, Row, one


def network(facts: Facts, settings: Settings) -> Iterator[Row]:
    """Facts -> rows."""
    for port in ("80", "443"):
        yield _port(port, facts, settings)
    addresses = _addresses(facts)
    for name in settings.hosts:
        yield from _dns(name, facts, addresses | set(settings.server_addresses), settings)


def _port(port: str, facts: Facts, settings: Settings) -> Row:
    ours = f"{settings.deploy_dir}/{COMPOSE_FILE}"
    for text in facts.get("port_container", ()):
        number, state, name, *files = text.split(" ", 3)
        taken = state != "created" or files == [ours]
        if number == port and taken:
            if files == [ours]:
                return Row(f"port {port}", "ok", "ours")
            if name.startswith(f"{PROJECT}-"):
                return Row(f"port {port}", "failed", f"this registry, deployed as {files[0] if files else name}",
                           "set DEPLOY_DIR to that directory")  # fmt: skip
            return Row(f"port {port}", "failed", f"taken by the container {name}",
                       f"docker stop {name}, if you can do without it")  # fmt: skip
    for text in facts.get("port_taken", ()):
        number, _, owner = text.partition(" ")
        if number == port:
            program, _, pid = owner.replace('"', "").partition(" ")
            if not pid:
                return Row(f"port {port}", "failed", "taken by a program that cannot be seen",
                           f"on the server: ss -ltnp 'sport = :{port}' shows it")  # fmt: skip
            return Row(f"port {port}", "failed", f"taken by {program} (process {pid})",
                       f"stop it: systemctl disable --now {program}, or kill {pid}")  # fmt: skip
    return Row(f"port {port}", "ok", "free")


def _addresses(facts: Facts) -> set[str]:
    found = set()
    for text in one(facts, "addresses").split():
        address = ipaddress.ip_address(text.partition("%")[0])
        if not address.is_loopback and not address.is_link_local:
            found.add(str(address))
    return found


def _dns(name: str, facts: Facts, addresses: set[str], settings: Settings) -> Iterator[Row]:
    a, aaaa = _records("a", name, facts), _records("aaaa", name, facts)
    yours = ", ".join(sorted(addresses)) or "unknown"
    # Behind NAT a host does not know the address that the world sees.
    behind_nat = not any(ipaddress.ip_address(ip).is_global for ip in addresses if ":" not in ip)
    if not a and not aaaa and name in facts.get("dns_silent", ()):
        yield Row(f"DNS {name}", "failed", "no A and no AAAA record: no DNS server says anything of it",
                  f"at your DNS provider: {name} A ADDRESS-OF-THIS-SERVER (it has {yours}); if other names have no "
                  "address there either: /etc/resolv.conf of the server, and its firewall (port 53)")  # fmt: skip
        return
    if not a and not aaaa:
        yield Row(f"DNS {name}", "failed", "no A and no AAAA record",
                  f"at your DNS provider: {name} A ADDRESS-OF-THIS-SERVER (it has {yours})")  # fmt: skip
        return
    if settings.fleet:
        yield from _one_of_several(name, settings, a, aaaa, addresses, behind_nat)
        return
    if a:
        strange = [ip for ip in a if ip not in addresses]
        if not strange:
            yield Row(f"A {name}", "ok", ", ".join(a))
        elif any(ipaddress.ip_address(ip).is_loopback for ip in strange):
            yield Row(f"A {name}", "warn", f"{', '.join(strange)}, from /etc/hosts",
                      "the real record cannot be seen from this server")  # fmt: skip
        else:
            yield Row(f"A {name}", "warn" if behind_nat else "failed",
                      f"{', '.join(strange)}, but this server has {yours}",
                      "right if that is your router's address" if behind_nat else
                      f"at your DNS provider: correct the A record of {name}; "
                      "is it another address of yours? SERVER_ADDRESSES")  # fmt: skip
    strange = [ip for ip in aaaa if ip not in addresses]
    if strange:
        yield Row(f"AAAA {name}", "failed", f"{', '.join(strange)}, but this server has {yours}",
                  f"at your DNS provider: correct or delete the AAAA record of {name}; it is tried first. "
                  "Is it another address of yours? SERVER_ADDRESSES")  # fmt: skip
    elif aaaa:
        yield Row(f"AAAA {name}", "ok", ", ".join(aaaa))


def _one_of_several(  # noqa: PLR0913, PLR0917 - all that is known of a name
    name: str, settings: Settings, a: list[str], aaaa: list[str], addresses: set[str], behind_nat: bool
) -> Iterator[Row]:
    """A name with the addresses of several servers: this one's must be among them."""
    for kind, found in (("A", a), ("AAAA", aaaa)):
        others = [ip for ip in found if ip not in addresses]
        if len(others) < len(found):
            rest = f", and {', '.join(others)} of the other servers" if others else ""
            own = ", ".join(ip for ip in found if ip in addresses)
            many = len(found) > len(settings.fleet)
            yield Row(f"{kind} {name}", "warn" if many else "ok", f"{own}{rest}",
                      f"more addresses than the {len(settings.fleet)} servers of HOSTS: does each lead to one of them?"
                      if many else "")  # fmt: skip
        elif others and not (kind == "AAAA" and any(ip in addresses for ip in a)):
            yield Row(f"{kind} {name}", "warn" if behind_nat else "failed",
                      f"{', '.join(others)}, and none of them is this server's ({', '.join(sorted(addresses))})",
                      f"at your DNS provider: {name} {kind} ADDRESS-OF-THIS-SERVER beside the others; behind a load "
                      "balancer: its address into SERVER_ADDRESSES")  # fmt: skip


def _records(kind: str, name: str, facts: Facts) -> list[str]:
    for text in facts.get(kind, ()):
        found, _, addresses = text.partition(" ")
        if found == name:
            return [str(ipaddress.ip_address(ip)) for ip in addresses.split()]
    return []
