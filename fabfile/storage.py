"""What the settings of an S3 store may be: text -> value, or ValueError with what is expected."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

NAME = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
ENDPOINT = rf"https?://({NAME}|\[[0-9a-f:.]+\])(:[0-9]{{1,5}})?"
# Names that nobody can have on the Internet (RFC 6762, 6761, 8375; ICANN SAC113).
PRIVATE = (".internal", ".local", ".lan", ".test", ".home.arpa", ".localhost")
UNITS = {"m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
# Slices are kept whole, and nginx looks only now and then how much there is.
LEAST_CACHE = 256 << 20


def endpoint(text: str) -> str:
    """The address of a store: scheme, host, maybe a port."""
    address = text.rstrip("/").lower()
    if not address:
        return ""
    if not re.fullmatch(ENDPOINT, address):
        raise ValueError("expected the address of the store without the bucket, such as https://s3.example.com")
    if address.startswith("http://") and not private(urlsplit(address).hostname or ""):
        raise ValueError("expected https://: without it everybody on the way reads the images and the answers")
    return address


def private(host: str) -> bool:
    """Whether a host is in a network of one's own, by its name or address."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(PRIVATE)


def region(text: str) -> str:
    """The region that requests are signed for."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", text):
        raise ValueError("expected the name of a region such as eu-central-1; us-east-1 where the store has none")
    return text


def bucket(text: str) -> str:
    """The name of a bucket, as AWS and all others take it."""
    if text and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", text):
        raise ValueError("expected the name of a bucket: 3 to 63 small letters, digits, - and dots")
    return text


def prefix(text: str) -> str:
    """A path in the bucket, without slashes around it."""
    path = text.strip("/")
    if path and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*", path):
        raise ValueError("expected a path of letters, digits, _ and -, such as registries/one")
    return path


def cache_size(text: str) -> str:
    """A size as nginx takes it."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mgt])", text.lower())
    if not found or int(found[1]) * UNITS[found[2]] < LEAST_CACHE:
        raise ValueError("expected a size from 256m on, such as 500m or 50g")
    # nginx knows no terabytes.
    return f"{int(found[1]) * 1024}g" if found[2] == "t" else text.lower()
