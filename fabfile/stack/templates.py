"""Settings -> the files of the server, as {path below DEPLOY_DIR: file}. Nothing here talks to it."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from .. import layout
from ..accounts.onhost.accounts_conf import pattern
from ..errors import UsageError
from ..layout import Service
from ..machine.onhost.owner import AUTH, NGINX, REGISTRY
from ..rules import PROXY
from ..secret import eab_key
from ..settings import HOME, SCHEMA, Settings, dump
from ..version import VERSION
from . import bucket, page
from .capacity import Capacity
from .carried import carried

if TYPE_CHECKING:
    from jinja2 import Environment

# Pure Python, for what runs on the server: no jinja2, no fabric.
SERVER_LIBRARIES = ("invoke", "dotenv")
MADE = (layout.SCHEMA, layout.SETTINGS_FILE, layout.LIBRARIES, layout.RECORD)
OWN = (f"{layout.TLS}/{layout.FULLCHAIN}", f"{layout.TLS}/{layout.PRIVKEY}")
FOR_ANONYMOUS_PULL = (f"{layout.NGINX}/anonymous.conf", f"{layout.NGINX}/token.conf")
FOR_S3 = f"{layout.NGINX}/store.conf"
FOR_METRICS = f"{layout.NGINX}/metrics.conf"
FOR_FLEET = f"{layout.NGINX}/{layout.FLEET_CONF}"
FOR_PAGE = (f"{layout.NGINX}/{layout.PAGE_CONF}", f"{layout.NGINX}/addresses.conf")
Sections = Sequence[tuple[str, str]]
CONFIGS = (layout.REGISTRY_CONFIG, layout.AUTH_CONFIG, layout.PASSWD, layout.GROUP)


@dataclass(frozen=True)
class File:
    """What a file on the server must be."""

    content: bytes
    mode: int = 0o644

    @property
    def digest(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


def names(settings: Settings, deploy: Path = HOME / "deploy") -> list[str]:
    """The paths of what `tree` makes. Raises UsageError where a hook is missing."""
    found = {str(name) for name, _ in _sources(deploy, settings)}
    if settings.acme_challenge == "dns-01":
        _require_hooks(deploy)
    if settings.acme_ca_bundle:
        found.add(layout.ACME_CA_BUNDLE)
    if settings.acme_eab_kid:
        found.add(layout.ACME_EAB)
    if settings.tls_certificate:
        found |= set(OWN)
    if settings.on_s3:
        found |= {
            layout.S3_PLACE,
            layout.S3_KEYS,
            *((layout.S3_BUNDLE, layout.STORE_CA) if settings.s3_ca_bundle else ()),
        }
    return sorted({*found, *carried(), *MADE})


def tree(
    settings: Settings, capacity: Capacity, deploy: Path = HOME / "deploy", sections: Sections = ()
) -> dict[str, File]:
    """Every file that `sync` keeps on the server. Secrets are root's alone: keys, hooks, settings.

    sections: patterns of repositories in the order in which they count, and for each what its quota is called, or "".
    """
    # By the PROXY protocol, on a port of its own; else by X-Forwarded-For.
    proxied = settings.load_balancer[:1] == (PROXY,)
    context: dict[str, object] = {
        "fleet": bool(settings.fleet),
        "proxied": proxied,
        "balancers": settings.load_balancer[proxied:],
        "settings": settings,
        "capacity": capacity,
        "layout": layout,
        "inside": layout.Inside,
        "users": {Service.REGISTRY: f"{REGISTRY}:{NGINX}", Service.AUTH: f"{AUTH}:{NGINX}", Service.NGINX: NGINX},
        "public": [pattern(text) for text in settings.anonymous_pull],
        "sections": [(pattern(text), key) for text, key in sections],
        "healthy": _healthy,
        "listening": _listening,
    }
    context["digests"] = (
        dict.fromkeys((layout.S3_KEYS, layout.S3_BUNDLE), "")
        | {name: hashlib.sha256(_render(deploy / f"{name}.j2", context)).hexdigest()[:16] for name in CONFIGS}
        | {name: file.digest[:16] for name, file in (_of_the_store(settings) if settings.on_s3 else {}).items()}
    )
    files = {
        str(name): File(_render(path, context) if path.suffix == ".j2" else unix(path.read_bytes()), _mode(name, path))
        for name, path in _sources(deploy, settings)
    }
    if shell := files.get(layout.PAGE_SHELL):
        files[layout.PAGE_SHELL] = File(page.addressed(shell.content, deploy))
    if settings.acme_ca_bundle:
        files[layout.ACME_CA_BUNDLE] = File(unix(Path(settings.acme_ca_bundle).read_bytes()))
    if settings.acme_eab_kid:
        key = eab_key(Path(settings.acme_eab_hmac_file).read_text("utf-8", "replace"))
        files[layout.ACME_EAB] = File(f"eab-hmac-key = {key}\n".encode(), 0o600)
    if settings.on_s3:
        files |= _of_the_store(settings)
    if settings.tls_certificate:
        files[OWN[0]] = File(unix(Path(settings.tls_certificate).read_bytes()))
        files[OWN[1]] = File(unix(Path(settings.tls_key).read_bytes()), 0o600)
    return files | _server_side(settings)


def _of_the_store(settings: Settings) -> dict[str, File]:
    """STORAGE=s3: where the images are (store/onhost/where.py), the keys for it, and whom to trust there."""
    bundle = f"{settings.deploy_dir}/{layout.S3_BUNDLE}" if settings.s3_ca_bundle else ""
    files = {
        layout.S3_PLACE: File(f"{json.dumps(bucket.place(settings, bundle))}\n".encode()),
        layout.S3_KEYS: File(bucket.keys(settings).encode(), 0o600),
    }
    if settings.s3_ca_bundle:
        files[layout.S3_BUNDLE] = files[layout.STORE_CA] = File(unix(Path(settings.s3_ca_bundle).read_bytes()))
    return files


def unix(content: bytes) -> bytes:
    """A text without the carriage returns that a clone on Windows, or an editor there, puts before its line breaks.

    `#!/bin/sh` with one of them is "not found" to the server. What has a NUL is no text, and stays.
    """
    return content if b"\0" in content else content.replace(b"\r\n", b"\n")


def _mode(name: PurePosixPath, path: Path) -> int:
    """Executable or not, as in deploy/; hooks may hold the token of a DNS provider, so root's alone."""
    executable = path.stat().st_mode & 0o100
    if str(name).startswith(f"{layout.HOOKS}/"):
        return 0o700 if executable else 0o600
    return 0o755 if executable else 0o644


def _require_hooks(deploy: Path) -> None:
    for name in ("dns-auth", "dns-cleanup"):
        file = deploy / layout.HOOKS / name
        if not file.is_file() or not file.stat().st_mode & 0o100:
            raise UsageError(
                f"ACME_CHALLENGE=dns-01 needs an executable {file}",
                "write it (docs/certificates.md has an example), chmod +x, and run this again",
            )


def _healthy(port: int) -> str:
    """A shell command that asks a port of its own container, with what the image has for it.

    Where there is neither wget nor curl, that the port listens must do (state 0A in proc(5)).
    """
    url = f"http://127.0.0.1:{port}/"
    return (
        f"if command -v wget >/dev/null; then exec wget -q -O /dev/null {url}; fi; "
        f"if command -v curl >/dev/null; then exec curl -fsS -o /dev/null {url}; fi; "
        f"grep -q ':{port:04X} .* 0A ' /proc/net/tcp /proc/net/tcp6"
    )


def _listening(service: str) -> str:
    """A command, for Compose, that looks whether a container listens on its socket: its flag is 00010000 (unix(7))."""
    # Two $ are one to Compose.
    return f"grep -q ' 00010000 .* {layout.Inside.SOCKETS}/{service}/'$$(cat /etc/hostname)'.sock$$' /proc/net/unix"


def _sources(deploy: Path, settings: Settings) -> Iterator[tuple[PurePosixPath, Path]]:
    for path in sorted(deploy.rglob("*")):
        # Templates take macros from *.jinja.
        if path.is_file() and path.suffix != ".jinja" and "__pycache__" not in path.parts:
            source = PurePosixPath(path.relative_to(deploy))
            name = source.with_suffix("") if path.suffix == ".j2" else source
            if source.parts[0] == layout.PAGE:
                name = page.place(deploy, source)
            if _wanted(name, settings):
                yield name, path


def _wanted(name: PurePosixPath, settings: Settings) -> bool:
    if str(name) in FOR_ANONYMOUS_PULL:
        return bool(settings.anonymous_pull)
    if str(name) == FOR_S3:
        return settings.on_s3
    if str(name) == FOR_METRICS:
        return bool(settings.metrics)
    if str(name) == FOR_FLEET:
        return bool(settings.fleet)
    return settings.page != "off" or not (name.parts[0] == layout.PAGE or str(name) in FOR_PAGE)


def _render(path: Path, context: dict[str, object]) -> bytes:
    return _environment(path.parent).get_template(path.name).render(context).encode()


@cache
def _environment(directory: Path) -> Environment:
    # Slow to import, and only this function needs it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # These are configuration files, not HTML; every value was checked by settings.py.
    return Environment(  # noqa: S701
        loader=FileSystemLoader(directory), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip


def _server_side(settings: Settings) -> dict[str, File]:
    """`inv renew` for the server: our modules, the settings, and invoke and python-dotenv."""
    return {
        **{name: File(unix((HOME / name).read_bytes())) for name in carried()},
        layout.SCHEMA: File(unix(SCHEMA.read_bytes())),
        layout.SETTINGS_FILE: File(dump(settings, **_paths_on_host(settings)).encode(), 0o600),
        layout.LIBRARIES: File(_libraries()),
        layout.RECORD: File(f"{VERSION}\n".encode()),
    }


def _paths_on_host(settings: Settings) -> dict[str, str]:
    own = bool(settings.tls_certificate)
    return {
        "acme_ca_bundle": settings.acme_bundle_on_host,
        "acme_eab_hmac_file": f"{settings.deploy_dir}/{layout.ACME_EAB}" if settings.acme_eab_kid else "",
        "tls_certificate": f"{settings.lineage}/{layout.FULLCHAIN}" if own else "",
        "tls_key": f"{settings.lineage}/{layout.PRIVKEY}" if own else "",
        "s3_key_file": f"{settings.deploy_dir}/{layout.S3_KEYS}" if settings.on_s3 else "",
        "s3_ca_bundle": f"{settings.deploy_dir}/{layout.S3_BUNDLE}" if settings.on_s3 and settings.s3_ca_bundle else "",
    }


def _libraries() -> bytes:
    """The pure Python libraries in one file that Python imports from, the same bytes every time."""
    buffer = io.BytesIO()
    # Stored, not compressed: two versions of zlib would give two different files.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for library in SERVER_LIBRARIES:
            spec = find_spec(library)
            if spec is None or spec.origin is None:
                raise ModuleNotFoundError(library)
            root = Path(spec.origin).parent
            for path in sorted(root.rglob("*.py")):
                archive.writestr(zipfile.ZipInfo(f"{library}/{path.relative_to(root)}"), path.read_bytes())
    return buffer.getvalue()
