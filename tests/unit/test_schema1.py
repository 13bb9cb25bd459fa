"""Images in schema 1 are found in a store, and what is none of them is not."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from fabfile.layout import STORE
from fabfile.registry import schema1
from fabfile.registry.onhost.schema1 import LARGEST, found

OLD = {"schemaVersion": 1, "name": "old/app", "tag": "7", "fsLayers": [], "history": [{"v1Compatibility": "{}"}]}
NEW = {"schemaVersion": 2, "config": {}, "layers": [], "annotations": {"x": '{"schemaVersion": 1}'}}


def put(top: Path, repository: str, content: bytes, *, link: bool = True) -> str:
    digest = hashlib.sha256(content).hexdigest()
    blob = top / STORE / f"blobs/sha256/{digest[:2]}/{digest}/data"
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    revision = top / STORE / f"repositories/{repository}/_manifests/revisions/sha256/{digest}"
    revision.mkdir(parents=True, exist_ok=True)
    if link:
        (revision / "link").write_text(f"sha256:{digest}")
    return digest


def test_only_the_old_ones_are_found(tmp_path: Path) -> None:
    put(tmp_path, "team/old/app", json.dumps(OLD, indent=3).encode())
    put(tmp_path, "team/old/app", json.dumps(NEW).encode())
    strange = put(tmp_path, "base", b'{"fsLayers":[],"schemaVersion":1}')
    put(tmp_path, "deleted", json.dumps({**OLD, "tag": "8"}).encode(), link=False)
    put(tmp_path, "large", json.dumps({**OLD, "x": "y" * LARGEST}).encode())
    assert found(str(tmp_path)) == {"names": [f"base@sha256:{strange}", "team/old/app:7"], "count": 2, "whole": True}


def test_a_link_leads_nowhere(tmp_path: Path) -> None:
    """The containers write there, and root reads."""
    outside = tmp_path / "outside"
    outside.write_bytes(json.dumps(OLD).encode())
    digest = put(tmp_path, "app", b"{}")
    blob = tmp_path / STORE / f"blobs/sha256/{digest[:2]}/{digest}/data"
    blob.unlink()
    blob.symlink_to(outside)
    (tmp_path / STORE / "repositories/loop").symlink_to(tmp_path)
    assert found(str(tmp_path))["count"] == 0
    blob.unlink()
    os.mkfifo(blob)
    assert found(str(tmp_path))["count"] == 0


def test_time_is_short(tmp_path: Path) -> None:
    put(tmp_path, "app", json.dumps(OLD).encode())
    assert found(str(tmp_path), seconds=-1) == {"names": [], "count": 0, "whole": False}
    assert found(str(tmp_path / "nothing")) == {"names": [], "count": 0, "whole": True}


@pytest.mark.parametrize(
    ("image", "second"),
    [
        ("registry:2", True), ("registry:2.8.3", True), ("mirror.example.org:5000/library/registry:2.8", True),
        ("registry:3.1.2", False), ("registry", False), ("registry:22", False), ("host:2/registry", False),
        ("registry@sha256:22", False),
    ],
)  # fmt: skip
def test_the_version_that_a_name_tells(image: str, second: bool) -> None:
    assert schema1.second(image) == second


def test_what_is_said() -> None:
    assert schema1.described({"names": [], "count": 0, "whole": True}) == ""
    assert schema1.described({"names": ["a:1"], "count": 2, "whole": True}) == "2 in schema 1: a:1, …"
    assert "no time to look at all" in schema1.described({"names": [], "count": 0, "whole": False})
