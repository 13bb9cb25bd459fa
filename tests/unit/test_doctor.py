"""What each symptom of `doctor` says of what was found; nothing where all is well."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fabfile import layout
from fabfile.errors import StepError
from fabfile.machine.rows import Row
from fabfile.machine.symptom import Finding, Symptom, Wrong, findings
from fabfile.machine.symptom import row as by_row
from fabfile.steps import doctor
from fabfile.store import symptoms as store_symptoms
from fabfile.store.onhost import health as store_health

from .stores import Store, sha

DOCKER = "application/vnd.docker.image.rootfs"


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process makes is the registry's."""
    monkeypatch.setattr(store_health, "REGISTRY", os.getuid())
    monkeypatch.setattr(store_health, "NGINX", os.getgid())


@pytest.fixture
def store(tmp_path: Path, mine: None) -> Store:
    (tmp_path / layout.DATA).mkdir(parents=True)
    return Store(tmp_path / layout.DATA)


def of_store(store: Store) -> dict[str, Finding]:
    directory = str(store.data).removesuffix(layout.DATA)
    health = store_health.health(directory)
    assert health["problem"] == ""
    return {each.symptom: each for each in findings(store_symptoms.SYMPTOMS, health)}


def wrong(symptoms: tuple[Symptom[Any], ...], facts: object) -> dict[str, Finding]:
    return {each.symptom: each for each in findings(symptoms, facts)}


def test_a_store_that_is_whole_has_nothing(store: Store) -> None:
    assert of_store(store) == {}
    store.image("team/app", [b"one", b"two"], "1", "2")
    child = store.image("team/multi", [b"amd"])
    store.index("team/multi", [{"digest": child, "platform": {"os": "linux", "architecture": "amd64"}}], "1")
    elsewhere: list[dict[str, Any]] = [
        {"mediaType": f"{DOCKER}.foreign.diff.tar.gzip"},
        {"urls": ["https://example.com/layer"]},
    ]
    layers = [{"digest": sha(b"%d" % size), "size": size, **each} for size, each in enumerate(elsewhere, 1)]
    store.manifest("team/windows", {"schemaVersion": 2, "layers": layers}, "1")
    store.alias(b"three", "team/app")
    store.upload("team/app", "one")
    assert of_store(store) == {}


def test_a_layer_that_is_missing_or_cut_off_is_named_with_its_images(store: Store) -> None:
    gone, short = store.blob(b"gone"), store.blob(b"short")
    store.image("team/app", [b"gone"], "1")
    store.index("team/app", [{"digest": store.image("team/app", [b"gone", b"short"])}], "multi")
    store.blob_path(gone).unlink()
    store.blob_path(short).write_bytes(b"sho")
    found = of_store(store)
    assert list(found) == ["missing-layer"]
    text = found["missing-layer"].found
    assert text.startswith("2 layers of team/app:1; team/app:multi: ")
    assert f"{gone} (missing)" in text
    assert f"{short} (3 bytes instead of 5)" in text


def test_rows_are_found_by_their_names() -> None:
    rows: Mapping[str, Row] = {
        "A registry.example.org": Row("A registry.example.org", "failed", "203.0.113.9", "correct it"),
        "A www.example.org": Row("A www.example.org", "warn", "203.0.113.8"),
    }
    look = by_row("DNS *", "A *")
    assert look(rows) == Wrong("A registry.example.org: 203.0.113.9; A www.example.org: 203.0.113.8", "correct it")
    assert look({"disk": Row("disk", "warn", "full")}) is None


def test_every_symptom_has_a_name_of_its_own() -> None:
    names = [each.name for symptoms in doctor.SUBJECTS.values() for each in symptoms]
    assert len(names) == len(set(names))


def test_a_finding_is_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.show([], as_json=False)
    assert capsys.readouterr().out == "nothing found\n"
    doctor.show([], as_json=True)
    assert capsys.readouterr().out == "[]\n"
    with pytest.raises(StepError, match="found: torn-link"):
        doctor.show([Finding("torn-link", "it stops", "one", "./fab -H … gc")], as_json=False, option="-H server")
    assert capsys.readouterr().out.splitlines() == [
        "torn-link", "    people see: it stops", "    found: one", "    -> ./fab -H server gc",
    ]  # fmt: skip
