"""Names of servers and of images, as a person types them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence


def is_address(text: str) -> bool:
    """Whether it is an IP address, of either version, without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def server(text: str) -> str:
    """The server as it stands behind -H, '' for none. Raises ValueError with what is expected."""
    if not text:
        return ""
    if "://" in text:
        raise ValueError("expected root@registry.example.com: a name, without https://")
    if re.search(r"[\s,]", text):
        raise ValueError("expected one server, such as root@registry.example.com")
    user, at, host = text.rpartition("@")
    good = not at or re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", user)
    if not good or not (is_address(host) or re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*(:\d{1,5})?", host)):
        raise ValueError("expected USER@NAME, USER@ADDRESS or a name of ~/.ssh/config: root@registry.example.com")
    return text


def servers(text: str) -> tuple[str, ...]:
    """Several of them, each once. Raises ValueError with what is expected."""
    return tuple(dict.fromkeys(server(name) for name in re.split(r"[\s,]+", text.strip()) if name))


def place(name: str) -> str:
    """A server as behind -H, without the user: the same machine, whoever logs in."""
    return name.rpartition("@")[2]


def short(name: str, others: Sequence[str]) -> str:
    """A server's name as it stands before its lines: without the user, and without the domain where that tells enough.

    name: as behind -H; others: the names of all.
    """
    first = [_first(each) for each in others]
    return place(name) if first.count(_first(name)) > 1 else _first(name)


def _first(name: str) -> str:
    host = place(name)
    return host if is_address(host) or is_address(host.partition(":")[0]) else re.split(r"[.:]", host)[0]


def mirrored(name: str, mirror: str) -> str:
    """The name of a Docker Hub image at a mirror of it; other names stay as they are.

    A first part with a dot or a colon, or `localhost`, is a host (distribution/reference,
    normalize.go); a name without any slash is one of Docker Hub's `library`.
    """
    if not mirror:
        return name
    name = re.sub(r"^(index\.)?docker\.io/", "", name)
    first, slash, _ = name.partition("/")
    if not slash:
        return f"{mirror}/library/{name}"
    if "." in first or ":" in first or first == "localhost":
        return name
    return f"{mirror}/{name}"
