"""`backup` and `restore` against the real registry: while people push, and on another server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .history import Client
from .test_care import push_image
from .world import DEPLOY_DIR, PASSWORD, USER, World, with_rsync

LOGIN = f"{USER}:{PASSWORD}"
DATA = f"{DEPLOY_DIR}/registry/data"


@pytest.fixture
def served(deployed: World) -> World:
    """A server that runs, with rsync."""
    with_rsync(deployed)
    return deployed


def newest(directory: Path) -> Path:
    return max(path for path in directory.iterdir() if path.name.endswith("Z"))


def test_a_copy_is_restored_on_an_empty_server(served: World, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    push_image(served, "copy/kept", b"a layer that somebody needs")
    serial, certificates = served.serial(), served.certificates()
    print(served.fab("backup", "--to", str(copies)).stdout)
    found = json.loads((newest(copies) / "snapshot.json").read_text())
    assert found["tags"] >= 1
    assert newest(copies).stat().st_mode & 0o777 == 0o700
    served.clean()
    print(served.fab("restore", "--from", str(copies)).stdout)
    assert (served.serial(), served.certificates()) == (serial, certificates)
    assert Client(served, LOGIN).pull("copy/kept", "1") == ""
