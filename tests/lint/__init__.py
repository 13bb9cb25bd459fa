"""What `./inv lint` looks at besides Python: shell scripts, and nginx's configuration."""

from __future__ import annotations

from . import configurations, scripts


def check() -> None:
    """Raises StepError for what has to be mended; says so where a tool for it is missing."""
    scripts.check()
    configurations.check()
