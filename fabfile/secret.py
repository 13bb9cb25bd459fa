"""A value that nobody reads by accident: in a log, an error, a stack trace; and a file with one."""

from __future__ import annotations

import configparser
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# The setting that names a file with an HMAC key.
EAB_FILE = "ACME_EAB_HMAC_FILE"
# And the one of the keys of an S3 store.
S3_FILE = "S3_KEY_FILE"
S3_NAMES = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


@dataclass(frozen=True)
class Secret:
    """A password or the like. It prints as `[REDACTED]`, whoever prints it; `reveal` says it."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        """The value itself, for what cannot do without: standard input, a hash, a person who asked for it."""
        return self._value

    def __str__(self) -> str:
        """Never the value."""
        return "[REDACTED]"

    __repr__ = __str__

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self._value)


def eab_key(content: str) -> str:
    """The HMAC key in the content of a file: the key alone, or as `sync` writes it for certbot.

    Raises ValueError without showing anything of it.
    """
    found = re.fullmatch(r"\s*(?:eab-hmac-key\s*=\s*)?([A-Za-z0-9_+/-]{16,}={0,2})\s*", content)
    if not found:
        raise ValueError("expected a file with the HMAC key alone in it, in base64url as your authority shows it")
    # RFC 8555, 7.3.4 has it without padding in the other alphabet.
    return found[1].rstrip("=").translate(str.maketrans("+/", "-_"))


def s3_keys(content: str) -> str:
    """The keys in the content of a file, as a shared-credentials file of AWS with a section `default` alone.

    Raises ValueError without showing anything of it.
    """
    lines = [line.strip() for line in content.splitlines() if line.strip() and line.strip()[0] not in "#;"]
    if len(lines) == 2 and not any(re.search(r"[\s\[\]]|^aws_", line) for line in lines):
        found = dict(zip(S3_NAMES, lines, strict=False))
    else:
        parser = configparser.ConfigParser(interpolation=None, default_section="none")
        try:
            parser.read_string(content)
            found = {name: parser["default"][name] for name in S3_NAMES if name in parser["default"]}
        except (configparser.Error, KeyError):
            found = {}
    values = [found.get(name, "") for name in S3_NAMES]
    if not all(values[:2]) or any(re.search(r"[^!-~]", value) for value in values):
        raise ValueError(
            "expected a file with two lines, the id of the key and its secret, or one with [default], "
            "aws_access_key_id and aws_secret_access_key"
        )
    return "[default]\n" + "".join(f"{name} = {value}\n" for name, value in found.items())


# What reads the file of a setting, and refuses another one.
SECRET_FILES: Mapping[str, Callable[[str], str]] = {EAB_FILE: eab_key, S3_FILE: s3_keys}


def secret_file(text: str, base: Path, read: Callable[[str], str]) -> str:
    """The absolute path of a file with a secret that nobody else can read; a relative one starts at `base`.

    read: makes of its content what is needed, or raises ValueError.
    """
    if not text:
        return ""
    path = base / Path(text).expanduser()
    if not path.is_file():
        raise ValueError(f"expected a file; there is none at {path}")
    if path.stat().st_mode & 0o077:
        raise ValueError(f"others can read the key in it: chmod 600 {path}")
    try:
        read(path.read_text("utf-8", "replace"))
    except OSError as error:
        raise ValueError(f"expected a file that you may read: {path}: {error.strerror}") from None
    return str(path.resolve())
