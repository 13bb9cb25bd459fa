"""What the value of each setting may be: text -> value, or ValueError with what is expected."""

from __future__ import annotations

import ipaddress
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import authority, storage
from .names import is_address, server

SYSTEM = frozenset(
    ["bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "tmp", "usr"]
)
SHARED = frozenset(["home", "media", "mnt", "opt", "root", "srv", "var"])
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# minute, hour, day of the month, month, day of the week (crontab(5))
CRON_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
IMAGE = r"[a-z0-9][a-zA-Z0-9._:/-]*(@sha256:[0-9a-f]{64})?"


def user_name(text: str) -> str:
    """Check an account's name. Raises ValueError with what is expected."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", text):
        raise ValueError("expected 1 to 64 letters, digits or . _ @ -, beginning with a letter or digit")
    if text.startswith("push-test-"):
        raise ValueError("names that begin with push-test- belong to the push-test task")
    return text


def repositories(texts: Sequence[str]) -> list[str]:
    """Patterns of repository names, each once; `*` is anything, slashes too. `*` alone means all: none."""
    for text in texts:
        if not re.fullmatch(r"[a-z0-9*][a-z0-9._/*-]{0,254}", text) or "//" in text:
            raise ValueError(f"'{text}': expected the name of a repository in lower case, * for anything: team-a/*")
    return [] if "*" in texts else list(dict.fromkeys(texts))


def _anonymous_pull(text: str) -> tuple[str, ...]:
    patterns = text.split()
    if patterns in ([], ["off"]):
        return ()
    if "*" in patterns:
        return ("*",)
    return tuple(repositories(patterns))


def _domain(text: str) -> str:
    name = text.lower().rstrip(".")
    if name == "registry.example.com":
        raise ValueError("this is the example; expected the domain name of your own registry")
    if not name.isascii():
        try:
            ascii_form = name.encode("idna").decode()
        except UnicodeError:
            ascii_form = "xn--…"
        raise ValueError(f"expected the ASCII form of the name: {ascii_form}")
    if not re.fullmatch(rf"({LABEL}\.)+{LABEL}", name) or len(name) > 253 or name[-1].isdigit():
        expected = "expected a full domain name such as registry.example.com, no https://, no port"
        if is_address(name.strip("[]")):
            expected += ". An IP address is none: give yours a name at a DNS provider"
        raise ValueError(expected)
    return name


def wildcard(name: str) -> str:
    """The one that covers a name: it stands for exactly one label (RFC 9525, 6.3)."""
    return f"*.{name.partition('.')[2]}"


def _aliases(text: str) -> tuple[str, ...]:
    """Names, each once; `*.` may stand in front (whether it may here, settings.py says)."""
    return tuple(dict.fromkeys(_alias(name) for name in re.split(r"[\s,]+", text) if name))


def _alias(name: str) -> str:
    try:
        return "*." * name.startswith("*.") + _domain(name.removeprefix("*."))
    except ValueError as error:
        raise ValueError(f"'{name}': {error}") from None


def _addresses(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_address(part)) for part in re.split(r"[\s,]+", text) if part)
    except ValueError:
        raise ValueError("expected IP addresses, separated by spaces") from None


def _email(text: str) -> str:
    if text == "you@example.com":
        raise ValueError("this is the example; expected your own mail address")
    if not re.fullmatch(r"[A-Za-z0-9._%+-]+@([A-Za-z0-9-]+\.)+[A-Za-z0-9-]+", text):
        raise ValueError("expected a mail address such as you@example.com")
    return text


def _command(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected one line: a command for a shell")
    if subprocess.run(["/bin/sh", "-n", "-c", text], capture_output=True, check=False).returncode:
        raise ValueError(
            "expected a command that a shell understands: is a quote not closed? "
            "With # behind a space put the whole of it into quotes"
        )
    return text


def pem_file(text: str, base: Path, label: str = "CERTIFICATE") -> str:
    """The absolute path of a PEM file that is there; a relative one starts at `base`.

    label: what must be in it; CERTIFICATE or PRIVATE KEY.
    """
    if not text:
        return ""
    try:
        path = base / Path(text).expanduser()
        if not path.is_file():
            raise ValueError(f"expected a file; there is none at {path}")
        content = path.read_bytes()
    except RuntimeError:  # ~NAME, and nobody has that name
        raise ValueError(f"expected a file; {text.partition('/')[0]} is nobody's home") from None
    except OSError as error:
        raise ValueError(f"expected a file that you may read: {path}: {error.strerror}") from None
    if not re.search(rf"-----BEGIN ([A-Z]+ )?{label}-----".encode(), content):
        raise ValueError(f"expected a PEM file with a {label}")
    return str(path.resolve())


def _directory(text: str) -> str:
    path = text.rstrip("/")
    # Cron gives % a meaning, shells and Compose give one to $ and spaces: none of them is needed.
    if not re.fullmatch(r"(/[A-Za-z0-9_][A-Za-z0-9._-]*)+", path):
        raise ValueError("expected an absolute path of letters, digits, . _ -, for example /docker-registry")
    top = path.split("/")[1]
    if top in SYSTEM or (top in SHARED and path.count("/") == 1):
        raise ValueError(f"{path} belongs to the system; expected a directory of its own")
    return path


def _backup_to(text: str) -> str:
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9_][A-Za-z0-9._-]*)+", path):
        raise ValueError("expected an absolute path of letters, digits, . _ -, for example /mnt/backup/registry")
    if path and path.split("/")[1] in SYSTEM:
        raise ValueError(f"{path} belongs to the system; expected a directory of another disk")
    return path


def _keep(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise ValueError("expected a number from 1 on, for example 7")
    return int(text)


def _schedule(text: str) -> str:
    parts = text.split()
    good = len(parts) == len(CRON_RANGES) and all(map(_cron_field, parts, CRON_RANGES))
    if parts and not good:
        raise ValueError("expected five fields of cron in digits, for example: 17 3,15 * * *")
    return " ".join(parts)


def _cron_field(text: str, limits: tuple[int, int]) -> bool:
    for part in text.split(","):
        match = re.fullmatch(r"(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/(\d{1,2}))?", part)
        # A step goes with `*` or with a range: crontab(5).
        if not match or match[3] in ("0", "00") or (match[3] and match[1] and not match[2]):
            return False
        first = int(match[1] or limits[0])
        if not limits[0] <= first <= int(match[2] or first) <= limits[1]:
            return False
    return True


def _one_of(*choices: str) -> Callable[[str], str]:
    def rule(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected {' or '.join(choices)}")
        return text

    return rule


def _switch(text: str) -> str:
    """`on`, or '' for off: what `dump` writes is read again."""
    return _one_of("on", "off")(text or "off").removeprefix("off")


def _page(text: str) -> str:
    if text not in ("on", "admin", "off"):
        raise ValueError("expected on, admin or off")
    return text


def _seconds(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("expected a number of seconds, for example 31536000")
    return int(text)


def _pause(text: str) -> int:
    """Less than what strangers have makes no sense; each pause holds one of the places of its address."""
    if not re.fullmatch(r"\d{1,5}", text) or not 60 <= int(text) <= 86400:
        raise ValueError("expected a number of seconds from 60 to 86400")
    return int(text)


def _image(text: str) -> str:
    if not re.fullmatch(IMAGE, text):
        raise ValueError("expected the name of an image, for example nginx:1.30-alpine")
    return text


def _mirror(text: str) -> str:
    prefix = text.rstrip("/")
    host = r"([a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?|[a-z0-9-]+:\d+|localhost)"
    if prefix and not re.fullmatch(rf"{host}(/[a-z0-9._-]+)*", prefix):
        raise ValueError("expected a host and maybe a path, for example mirror.example.com/hub")
    return prefix


# Files on the operator's machine, and what must be in them.
PEM_FILES = {
    "ACME_CA_BUNDLE": "CERTIFICATE",
    "S3_CA_BUNDLE": "CERTIFICATE",
    "TLS_CERTIFICATE": "CERTIFICATE",
    "TLS_KEY": "PRIVATE KEY",
}

RULES: Mapping[str, Callable[[str], object]] = {
    "REGISTRY_DOMAIN": _domain,
    "ACME_EMAIL": _email,
    "REGISTRY_USER": user_name,
    "HOSTS": server,
    "ACME_SERVER": authority.acme_server,
    "ACME_REHEARSAL": authority.rehearsal,
    "ACME_CHALLENGE": _one_of("http-01", "dns-01"),
    "ACME_PROFILE": authority.profile,
    "ACME_PREFERRED_CHAIN": authority.chain,
    "ACME_EAB_KID": authority.eab_kid,
    "RETRY_PAUSES": authority.pauses,
    "ALERT_COMMAND": _command,
    "METRICS": _switch,
    "EVENT_COMMAND": _command,
    "ANONYMOUS_PULL": _anonymous_pull,
    "PAGE": _page,
    "CLIENT_PAUSE": _pause,
    "REGISTRY_ALIASES": _aliases,
    "SERVER_ADDRESSES": _addresses,
    "DEPLOY_DIR": _directory,
    "RENEW_SCHEDULE": _schedule,
    "BACKUP_TO": _backup_to,
    "BACKUP_COMMAND": _command,
    "BACKUP_SCHEDULE": _schedule,
    "BACKUP_KEEP": _keep,
    "STANDBY": server,
    "STORAGE": _one_of("disk", "s3"),
    "S3_ENDPOINT": storage.endpoint,
    "S3_REGION": storage.region,
    "S3_BUCKET": storage.bucket,
    "S3_PREFIX": storage.prefix,
    "S3_ADDRESSING": _one_of("path", "host"),
    "BLOBS": _one_of("cache", "redirect"),
    "BLOB_CACHE": storage.cache_size,
    "HSTS_MAX_AGE": _seconds,
    "IMAGES": _one_of("pull", "ship"),
    "REGISTRY_IMAGE": _image,
    "NGINX_IMAGE": _image,
    "CERTBOT_IMAGE": _image,
    "IMAGE_MIRROR": _mirror,
}
