"""The lock files hold what pyproject.toml asks for: `./inv lock` was run after it was changed."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement

from fabfile.settings import HOME

PINNED = re.compile(r"(?m)^(\S+)==(\S+)( ;.*)? \\$")
RUNTIME, DEVELOPMENT = "requirements.lock", "requirements-dev.lock"


def pinned(name: str) -> dict[str, set[str]]:
    """Package -> versions; some have one for older Pythons."""
    found: dict[str, set[str]] = {}
    for package, version, _ in PINNED.findall((HOME / name).read_text("utf-8")):
        found.setdefault(package, set()).add(version)
    return found


@pytest.mark.parametrize(("name", "groups"), [(RUNTIME, []), (DEVELOPMENT, ["dev"])])
def test_all_that_pyproject_asks_for_is_locked(name: str, groups: list[str]) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has none")
    project = tomllib.loads((HOME / "pyproject.toml").read_text("utf-8"))
    asked = [*project["project"]["dependencies"], *(line for g in groups for line in project["dependency-groups"][g])]
    locked = pinned(name)
    for requirement in map(Requirement, asked):
        versions = locked.get(requirement.name, set())
        assert versions, requirement
        assert [version for version in versions if version not in requirement.specifier] == []


def test_both_lock_files_name_the_same_versions() -> None:
    """They are installed into one .venv."""
    development = pinned(DEVELOPMENT)
    assert {name: development.get(name) for name in pinned(RUNTIME)} == pinned(RUNTIME)
