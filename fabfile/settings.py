"""`.env` -> a frozen `Settings`, or one clear error that names file, line and key.

`.env.dist` is the schema: a key that stands in it is known, one that is not commented out is
mandatory, the value of a commented one is its default. What a value may be is said here.
"""

from __future__ import annotations

import difflib
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from dotenv.parser import parse_stream

from .errors import UsageError

HOME = Path(__file__).resolve().parent.parent
SCHEMA = HOME / ".env.dist"

# https://letsencrypt.org/docs/staging-environment/
ACME_SERVERS = {
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "production": "https://acme-v02.api.letsencrypt.org/directory",
}

SYSTEM = frozenset(
    [
        "bin",
        "boot",
        "dev",
        "etc",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "proc",
        "run",
        "sbin",
        "sys",
        "tmp",
        "usr",
    ]
)
SHARED = frozenset(["home", "media", "mnt", "opt", "root", "srv", "var"])
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# minute, hour, day of the month, month, day of the week (crontab(5))
CRON_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
IMAGE = r"[a-z0-9][a-zA-Z0-9._:/-]*(@sha256:[0-9a-f]{64})?"


@dataclass(frozen=True)
class Settings:
    """Every setting, checked. One field for each key of `.env.dist`, in lower case."""

    registry_domain: str
    acme_email: str
    registry_user: str
    acme_server: str
    acme_ca_bundle: str
    registry_aliases: tuple[str, ...]
    deploy_dir: str
    renew_schedule: str
    hsts_max_age: int
    registry_image: str
    nginx_image: str
    certbot_image: str
    images: str

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that the certificate must carry, the domain first."""
        return (self.registry_domain, *self.registry_aliases)

    @property
    def acme_directory(self) -> str:
        """The directory URL of the ACME server."""
        return ACME_SERVERS.get(self.acme_server, self.acme_server)

    @property
    def accounts_file(self) -> str:
        """The accounts, on the server."""
        return f"{self.deploy_dir}/registry/auth/htpasswd"

    @property
    def lineage(self) -> str:
        """certbot's directory of the newest certificate, on the server."""
        return f"{self.deploy_dir}/certbot/conf/live/{self.registry_domain}"

    @property
    def cron_schedule(self) -> str:
        """Five cron fields: the setting, or twice a day at a minute that differs between domains.

        Let's Encrypt asks not to come at the full hour
        (https://letsencrypt.org/docs/integration-guide/#when-to-renew).
        """
        if self.renew_schedule:
            return self.renew_schedule
        seed = zlib.crc32(self.registry_domain.encode())
        hour = seed // 59 % 12
        return f"{seed % 59 + 1} {hour},{hour + 12} * * *"


def load(path: Path | None = None, *, schema: Path = SCHEMA) -> Settings:
    """Read and check the settings.

    path: the file; without it `$ENV_FILE`, or `.env` beside `.env.dist`.
    Raises UsageError with file, line, key, what was wrong and what is expected.
    """
    path = path or Path(os.environ.get("ENV_FILE") or HOME / ".env")
    known = _schema(schema)
    if not path.is_file():
        raise UsageError(
            f"{path}: there is no such file",
            f"cp {schema.name} {path.name}, fill in its first lines, and run this again",
        )
    values: dict[str, object] = {}
    for line, key, value in _entries(path):
        where = f"{path}:{line}: {key}"
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"{schema.name} lists every key"
            raise UsageError(f"{where}: unknown key", hint)
        if key in values:
            raise UsageError(f"{where}: stands here a second time", "keep one of the two lines")
        values[key] = _checked(where, key, value, path.parent)
    for key, (line, default) in known.items():
        if key in values:
            continue
        if default is None:
            raise UsageError(
                f"{path}: {key} is missing", f"{schema.name}:{line} explains it; add {key}=…"
            )
        values[key] = _checked(f"{schema}:{line}: {key}", key, default, path.parent)
    return Settings(**{key.lower(): value for key, value in values.items()})  # type: ignore[arg-type]


def dump(settings: Settings, **changes: str) -> str:
    """The same settings as the text of a file that `load` reads back."""
    lines = []
    for field in fields(settings):
        value = changes.get(field.name, getattr(settings, field.name))
        text = " ".join(value) if isinstance(value, tuple) else str(value)
        lines.append(f"{field.name.upper()}='{text}'\n")
    return "".join(lines)


def user_name(text: str) -> str:
    """Check an account's name. Raises ValueError with what is expected."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", text):
        raise ValueError(
            "expected 1 to 64 letters, digits or . _ @ -, beginning with a letter or digit"
        )
    if text.startswith("push-test-"):
        raise ValueError("names that begin with push-test- belong to the push-test task")
    return text


def _schema(path: Path) -> dict[str, tuple[int, str | None]]:
    """Key -> (line in the schema, default or None where the key is mandatory)."""
    known: dict[str, tuple[int, str | None]] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if match := re.fullmatch(r"(#?)([A-Z_]+)=(.*)", line):
            known[match[2]] = (number, match[3] if match[1] else None)
    return known


def _entries(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, key, value) of each setting. Nothing is expanded, nothing is executed."""
    try:
        # The signature (BOM) that Windows editors put first is not part of the first key.
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}:{line}: not UTF-8 text", "save the file as UTF-8") from None
    for binding in parse_stream(io.StringIO(text.replace("\r\n", "\n"), newline="")):
        text = binding.original.string
        line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        if binding.error or (binding.key is not None and binding.value is None):
            shown = text.strip().splitlines()[0]
            raise UsageError(f"{path}:{line}: cannot read '{shown}'", "expected KEY=value")
        if binding.key is not None:
            yield line, binding.key, binding.value or ""


def _checked(where: str, key: str, value: str, base: Path) -> object:
    """The value in its own type. Raises UsageError with the place and what is expected."""
    try:
        if key == "ACME_CA_BUNDLE":
            return _pem_file(value, base)
        return RULES[key](value)
    except ValueError as error:
        raise UsageError(f"{where}: '{value}' is not allowed", str(error)) from None


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
        raise ValueError(
            f"'{text}': expected a full domain name such as registry.example.com, no https://, no port"
        )
    return name


def _domains(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_domain(name) for name in re.split(r"[\s,]+", text) if name))


def _email(text: str) -> str:
    if text == "you@example.com":
        raise ValueError("this is the example; expected your own mail address")
    if not re.fullmatch(r"[A-Za-z0-9._%+-]+@([A-Za-z0-9-]+\.)+[A-Za-z0-9-]+", text):
        raise ValueError("expected a mail address such as you@example.com")
    return text


def _acme_server(text: str) -> str:
    if text not in ACME_SERVERS and not re.fullmatch(
        r"https://[A-Za-z0-9.:\[\]-]+[A-Za-z0-9._~/-]*", text
    ):
        raise ValueError(
            "expected staging, production, or the https:// directory URL of an ACME server"
        )
    return text


def _pem_file(text: str, base: Path) -> str:
    if not text:
        return ""
    path = base / Path(text).expanduser()
    if not path.is_file():
        raise ValueError(f"expected a file; there is none at {path}")
    if b"-----BEGIN CERTIFICATE-----" not in path.read_bytes():
        raise ValueError("expected a PEM file with at least one certificate")
    return str(path.resolve())


def _directory(text: str) -> str:
    path = text.rstrip("/")
    # Cron gives % a meaning, shells and Compose give one to $ and spaces: none of them is needed.
    if not re.fullmatch(r"(/[A-Za-z0-9_][A-Za-z0-9._-]*)+", path):
        raise ValueError(
            "expected an absolute path of letters, digits, . _ -, for example /docker-registry"
        )
    top = path.split("/")[1]
    if top in SYSTEM or (top in SHARED and path.count("/") == 1):
        raise ValueError(f"{path} belongs to the system; expected a directory of its own")
    return path


def _schedule(text: str) -> str:
    parts = text.split()
    good = len(parts) == len(CRON_RANGES) and all(map(_cron_field, parts, CRON_RANGES))
    if parts and not good:
        raise ValueError("expected five fields of cron in digits, for example: 17 3,15 * * *")
    return " ".join(parts)


def _cron_field(text: str, limits: tuple[int, int]) -> bool:
    for part in text.split(","):
        match = re.fullmatch(r"(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/(\d{1,2}))?", part)
        if not match or match[3] in ("0", "00"):
            return False
        first = int(match[1] or limits[0])
        if not limits[0] <= first <= int(match[2] or first) <= limits[1]:
            return False
    return True


def _images(text: str) -> str:
    if text not in ("pull", "ship"):
        raise ValueError("expected pull or ship")
    return text


def _seconds(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("expected a number of seconds, for example 31536000")
    return int(text)


def _image(text: str) -> str:
    if not re.fullmatch(IMAGE, text):
        raise ValueError("expected the name of an image, for example nginx:1.30.7-alpine")
    return text


RULES: Mapping[str, Callable[[str], object]] = {
    "REGISTRY_DOMAIN": _domain,
    "ACME_EMAIL": _email,
    "REGISTRY_USER": user_name,
    "ACME_SERVER": _acme_server,
    "REGISTRY_ALIASES": _domains,
    "DEPLOY_DIR": _directory,
    "RENEW_SCHEDULE": _schedule,
    "HSTS_MAX_AGE": _seconds,
    "IMAGES": _images,
    "REGISTRY_IMAGE": _image,
    "NGINX_IMAGE": _image,
    "CERTBOT_IMAGE": _image,
}
