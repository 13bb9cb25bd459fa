"""`.env` -> a frozen `Settings`, or one clear error that names file, line and key.

`.env.dist` is the schema: a key that stands in it is known, one that is not commented out is
mandatory, the value of a commented one is its default. What a value may be, rules.py says.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import cast

from . import layout, together
from .authority import ACME_SERVERS
from .entries import as_text, entries, schema_of
from .errors import UsageError
from .layout import Service
from .names import mirrored, place
from .rules import PEM_FILES, RULES, pem_file, wildcard
from .secret import SECRET_FILES, secret_file
from .text import beginning

HOME = Path(__file__).resolve().parent.parent
SCHEMA = HOME / layout.SCHEMA
# For the command line of this machine, see `hosts`; and `Settings.fleet`, where it names several.
HOSTS = "HOSTS"
# ALERT_COMMAND becomes an argument of a shell, and a kernel takes 128 KiB for one (execve(2)).
LONGEST = 10_000


@dataclass(frozen=True)
class Settings:
    """Every setting of the server, checked. One field for each key of `.env.dist`, in lower case.

    fleet: HOSTS where it names several servers, and on each of them that one first (see `of`); else nothing, as how one
    server is reached is no part of what it is.
    """

    registry_domain: str
    acme_email: str
    registry_user: str
    acme_server: str
    acme_rehearsal: str
    acme_ca_bundle: str
    acme_eab_kid: str
    acme_eab_hmac_file: str
    acme_challenge: str
    acme_profile: str
    acme_preferred_chain: str
    retry_pauses: tuple[str, ...]
    alert_command: str
    metrics: str
    event_command: str
    tls_certificate: str
    tls_key: str
    registry_aliases: tuple[str, ...]
    server_addresses: tuple[str, ...]
    load_balancer: tuple[str, ...]
    anonymous_pull: tuple[str, ...]
    page: str
    client_pause: int
    deploy_dir: str
    renew_schedule: str
    backup_to: str
    backup_command: str
    backup_schedule: str
    backup_keep: int
    standby: str
    storage: str
    s3_endpoint: str
    s3_region: str
    s3_bucket: str
    s3_prefix: str
    s3_key_file: str
    s3_addressing: str
    s3_ca_bundle: str
    blobs: str
    blob_cache: str
    hsts_max_age: int
    registry_image: str
    nginx_image: str
    certbot_image: str
    images: str
    image_mirror: str
    fleet: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that the certificate must be good for, the domain first."""
        return (self.registry_domain, *self.registry_aliases)

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """Those that are ordered: Let's Encrypt refuses a name beside a wildcard that covers it."""
        covered = [name for name in self.hosts if wildcard(name) in self.names]
        return tuple(name for name in self.names if name not in covered)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names that have addresses: all but the wildcards."""
        return tuple(name for name in self.names if not name.startswith("*."))

    @property
    def rehearsal(self) -> str:
        """The directory URL of the ACME server where a first order is rehearsed; '' for none.

        None for several servers that answer for one account: a rehearsal has another one.
        """
        if self.answers_alike:
            return ""
        if self.acme_rehearsal == "none" or (not self.acme_rehearsal and self.acme_server != "production"):
            return ""
        return ACME_SERVERS.get(self.acme_rehearsal or "staging", self.acme_rehearsal)

    @property
    def pauses(self) -> list[float]:
        """Seconds to wait after each failed order in a row."""
        return [float(minutes) * 60 for minutes in self.retry_pauses]

    @property
    def attempts_file(self) -> str:
        """What the server remembers of its authority."""
        return f"{self.deploy_dir}/{layout.ATTEMPTS}"

    @property
    def stack_images(self) -> dict[str, str]:
        """Service -> the full name of its image, by way of the mirror where it is Docker Hub's."""
        return {
            Service.REGISTRY: mirrored(self.registry_image, self.image_mirror),
            Service.NGINX: mirrored(self.nginx_image, self.image_mirror),
            Service.CERTBOT: mirrored(self.certbot_image, self.image_mirror),
        }

    @property
    def acme_directory(self) -> str:
        """The directory URL of the ACME server."""
        return ACME_SERVERS.get(self.acme_server, self.acme_server)

    @property
    def acme_bundle_on_host(self) -> str:
        """ACME_CA_BUNDLE on the server; '' when there is none."""
        return f"{self.deploy_dir}/{layout.ACME_CA_BUNDLE}" if self.acme_ca_bundle else ""

    @property
    def accounts_file(self) -> str:
        """The accounts, on the server."""
        return f"{self.deploy_dir}/{layout.ACCOUNTS}"

    @property
    def lineage(self) -> str:
        """The directory of the newest certificate on the server: your own, or certbot's."""
        if self.tls_certificate:
            return f"{self.deploy_dir}/{layout.TLS}"
        return f"{self.deploy_dir}/{layout.CERTIFICATES}/live/{self.registry_domain}"

    def of(self, server: str) -> Settings:
        """The same as one of several servers has them. server: as HOSTS names it."""
        mine = [each for each in self.fleet if place(each) == place(server)]
        return replace(self, fleet=(*mine, *(each for each in self.fleet if each not in mine)))

    @property
    def answers_alike(self) -> bool:
        """Whether several servers answer each other's challenges."""
        return bool(self.fleet) and self.acme_challenge == "http-01" and not self.tls_certificate

    @property
    def on_s3(self) -> bool:
        """Whether the images are in a bucket, and not on the server's disk."""
        return self.storage == "s3"

    @property
    def backs_up(self) -> bool:
        """Whether the server makes copies by itself."""
        return bool(self.backup_to or self.backup_command)


def location() -> Path:
    """The file of the settings: `$ENV_FILE`, or `.env` beside `.env.dist`."""
    return Path(os.environ.get("ENV_FILE") or HOME / ".env")


def hosts(path: Path | None = None) -> tuple[str, ...]:
    """The servers that HOSTS names, for a command line without -H; none where there is no file.

    Raises UsageError, as load does, for a value that names none.
    """
    path = path or location()
    if not path.is_file():
        return ()
    for where, value in _found(path, HOSTS):
        return cast("tuple[str, ...]", _checked(where, HOSTS, value, path.parent))
    return ()


def _found(path: Path, wanted: str) -> Iterator[tuple[str, str]]:
    """Place and value of each line of that key, up to the first line that cannot be read."""
    with contextlib.suppress(UsageError):
        for line, key, value in entries(path):
            if key == wanted:
                yield f"{path}:{line}: {key}", value


def load(path: Path | None = None, *, schema: Path = SCHEMA) -> Settings:
    """Read and check the settings.

    path: the file; without it `$ENV_FILE`, or `.env` beside `.env.dist`.
    Raises UsageError with file, line, key, what was wrong and what is expected.
    """
    path = path or location()
    known = schema_of(schema)
    if path.exists() and not path.is_file():
        what = "a directory" if path.is_dir() else "no ordinary file (a pipe, for example)"
        raise UsageError(f"{path}: this is {what}", "write the settings into a file, and name that one in ENV_FILE")
    if not path.is_file():
        raise UsageError(
            f"{path}: there is no such file",
            f"./fab init asks and writes it; or cp {schema.name} {path.name}, and fill in its first lines",
        )
    values: dict[str, object] = {}
    for line, key, value in entries(path):
        where = f"{path}:{line}: {beginning(key)}"
        if key not in known:
            near = difflib.get_close_matches(key[:100], known, 1)
            hint = f"did you mean {near[0]}?" if near else f"{schema.name} lists every key"
            raise UsageError(f"{where}: unknown key", hint)
        if key in values:
            raise UsageError(f"{where}: stands here a second time", "keep one of the two lines")
        values[key] = _checked(where, key, value, path.parent)
    for key, (line, default) in known.items():
        if key in values:
            continue
        if default is None:
            raise UsageError(f"{path}: {key} is missing", f"{schema.name}:{line} explains it; add {key}=…")
        values[key] = _checked(f"{schema}:{line}: {key}", key, default, path.parent)
    if found := together.wrong(values):
        raise UsageError(f"{path}: {found[0]}", found[1])
    several = cast("tuple[str, ...]", values.pop(HOSTS))
    values["FLEET"] = several if len(several) > 1 else ()
    return Settings(**{key.lower(): value for key, value in values.items()})  # type: ignore[arg-type]


def dump(settings: Settings, **changes: str) -> str:
    """The same settings as the text of a file that `load` reads back."""
    lines = []
    for field in fields(settings):
        value = changes.get(field.name, getattr(settings, field.name))
        text = as_text(value)
        quoted = text.replace("\\", "\\\\").replace("'", "\\'")
        if field.name != "fleet":
            lines.append(f"{field.name.upper()}='{quoted}'\n")
        elif text:
            lines.append(f"{HOSTS}='{quoted}'\n")
    return "".join(lines)


def _checked(where: str, key: str, value: str, base: Path) -> object:
    """The value in its own type. Raises UsageError with the place and what is expected."""
    if len(value) > LONGEST:
        raise UsageError(f"{where}: {len(value)} characters are not allowed", f"expected {LONGEST} at most")
    try:
        if key in PEM_FILES:
            return pem_file(value, base, PEM_FILES[key])
        if key in SECRET_FILES:
            return secret_file(value, base, SECRET_FILES[key])
        return RULES[key](value)
    except ValueError as error:
        raise UsageError(f"{where}: '{beginning(value)}' is not allowed", beginning(str(error), 1000)) from None
