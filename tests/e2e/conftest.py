"""The sandbox for the end-to-end tests, started by pytest-docker once for each of pytest's processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_docker.plugin import Services

from tests.sandbox import Sandbox
from tests.sandbox.commands import ROOT
from tests.sandbox.engine import ensure_engine, ensure_rsync
from tests.sandbox.images import ensure_images
from tests.sandbox.store import Store

from .world import World, own_copy


@pytest.fixture(scope="session")
def sandbox_files() -> Iterator[Sandbox]:
    """Images, keys and ports, before the containers; nothing of it is left afterwards."""
    # Python keeps what it compiled, as it does for people: else each `./fab` compiles all of it again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    ensure_engine(print)
    ensure_rsync(print)
    ensure_images(print)
    sandbox = Sandbox(f"test{os.environ.get('PYTEST_XDIST_WORKER', '')}", ROOT)
    sandbox.down()
    sandbox.begin()
    os.environ.update(sandbox.environment)
    yield sandbox
    sandbox.down()


@pytest.fixture(scope="session")
def docker_compose_file(sandbox_files: Sandbox) -> Path:
    return sandbox_files.compose_file


@pytest.fixture(scope="session")
def docker_compose_project_name(sandbox_files: Sandbox) -> str:
    return sandbox_files.project


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    return ["up --detach --quiet-pull"]


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    return ["--profile store down --volumes --remove-orphans"]


@pytest.fixture(scope="session")
def world(sandbox_files: Sandbox, docker_services: Services) -> World:
    """The running sandbox."""
    sandbox_files.wait()
    sandbox_files.prepare(print)
    world = World(sandbox_files)
    world.clean()
    return world


@pytest.fixture
def clean(world: World) -> World:
    """A server on which nothing is deployed."""
    world.clean()
    return world


@pytest.fixture
def deployed(world: World) -> World:
    """A server that was bootstrapped with the standard settings; quick where it is so already."""
    world.standard()
    return world


@pytest.fixture(scope="session")
def store(world: World) -> Store:
    """The sandbox's S3 store."""
    store = Store(world.sandbox)
    store.up(print)
    return store


@pytest.fixture
def rules(deployed: World, tmp_path: Path) -> Iterator[Path]:
    """The place for a retention.ini, in a copy of the tool that deploys the server for this test alone."""
    deployed.root = own_copy(tmp_path)
    yield deployed.root / "deploy/retention.ini"
    deployed.root = ROOT
    deployed.fab("sync", "up")
