"""What `init` writes is what is read back: with one server, and with several."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabfile import settings
from fabfile.steps import init


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("server", ("server",)),
        ("root@a.example.com", ("root@a.example.com",)),
        ("root@a.example.com,  root@b.example.com", ("root@a.example.com", "root@b.example.com")),
    ],
)
def test_the_servers_that_are_given_are_those_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, read: tuple[str, ...]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    path = tmp_path / ".env"
    given = {init.DOMAIN: "registry.test", init.EMAIL: "operator@registry.test", init.HOSTS: typed}
    init.init(path, given)
    assert settings.hosts(path) == read
    assert f"HOSTS={' '.join(read)}" in path.read_text().splitlines()
