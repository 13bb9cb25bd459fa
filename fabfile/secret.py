"""A value that nobody reads by accident: in a log, an error, a stack trace."""

from __future__ import annotations

from dataclasses import dataclass, field


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
