"""What `./inv lint` looks at beside ruff and mypy: every Python, shell scripts, the page, nginx's configuration."""

from __future__ import annotations

from . import configurations, pages, pythons, scripts


def check() -> None:
    """Raises StepError for what has to be mended; says so where a tool for it is missing."""
    pythons.check()
    scripts.check()
    pages.check()
    configurations.check()
