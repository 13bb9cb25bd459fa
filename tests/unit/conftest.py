from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fabfile.settings import Settings, load

MANDATORY = "REGISTRY_DOMAIN=registry.example.org\nACME_EMAIL=you@example.org\nREGISTRY_USER=admin\n"


@pytest.fixture
def env_file(tmp_path: Path) -> Callable[[str], Path]:
    """Write a .env with the mandatory settings and these lines behind them."""

    def write(text: str = "") -> Path:
        path = tmp_path / ".env"
        path.write_bytes((MANDATORY + text).encode())
        return path

    return write


@pytest.fixture
def settings(env_file: Callable[[str], Path]) -> Settings:
    return load(env_file(""))
