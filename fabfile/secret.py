"""A value that nobody reads by accident: in a log, an error, a stack trace; and a file with one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

# The setting that names a file with an HMAC key.
EAB_FILE = "ACME_EAB_HMAC_FILE"


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


def eab_file(text: str, base: Path) -> str:
    """The absolute path of a file with an HMAC key that nobody else can read; a relative one starts at `base`."""
    if not text:
        return ""
    path = base / Path(text).expanduser()
    if not path.is_file():
        raise ValueError(f"expected a file; there is none at {path}")
    if path.stat().st_mode & 0o077:
        raise ValueError(f"others can read the key in it: chmod 600 {path}")
    try:
        eab_key(path.read_text("utf-8", "replace"))
    except OSError as error:
        raise ValueError(f"expected a file that you may read: {path}: {error.strerror}") from None
    return str(path.resolve())
