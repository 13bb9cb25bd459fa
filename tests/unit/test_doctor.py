"""What each symptom of `doctor` says of what was found; nothing where all is well."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile import layout
from fabfile.copies import symptoms as copies_symptoms
from fabfile.copies.onhost import rot
from fabfile.errors import StepError
from fabfile.machine.host import here
from fabfile.machine.rows import Row
from fabfile.machine.symptom import Finding, Symptom, Wrong, findings
from fabfile.machine.symptom import row as by_row
from fabfile.settings import Settings
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
    doctor.show(doctor.Diagnosis("registry.example.org", notes=["port 80 from here: no way"]), as_json=False)
    assert capsys.readouterr().out == "nothing found\nnote: port 80 from here: no way\n"
    doctor.show(doctor.Diagnosis("registry.example.org"), as_json=True)
    assert json.loads(capsys.readouterr().out) == {"registry": "registry.example.org", "findings": [], "notes": []}
    one = doctor.Diagnosis("registry.example.org", [Finding("torn-link", "it stops", "one", "./fab -H … gc")])
    with pytest.raises(StepError, match="found: torn-link"):
        doctor.show(one, as_json=False, option="-H server")
    assert capsys.readouterr().out.splitlines() == [
        "torn-link", "    people see: it stops", "    found: one", "    -> ./fab -H server gc",
    ]  # fmt: skip


def test_rows_that_no_symptom_knows_are_not_lost() -> None:
    rows = {"nobody's": Row("nobody's", "warn", "odd"), "clock": Row("clock", "failed", "off", "set it")}
    assert [each.symptom for each in doctor._rest(rows, ["Docker does not run"])] == ["nobody's"]
    # Nothing else says why then.
    assert [each.found for each in doctor._rest({}, ["Docker does not run"])] == ["Docker does not run"]


def test_an_address_that_may_be_the_routers_is_no_finding() -> None:
    found = doctor.Diagnosis("registry.example.org")
    rows = [Row("A registry.example.org", "warn", "198.51.100.7, but this server has 10.0.0.5", "right if …"),
            Row("A www.example.org", "failed", "198.51.100.8", "correct it"), Row("clock", "ok", "right")]  # fmt: skip
    assert list(doctor._bad(rows, found)) == ["A www.example.org"]
    assert found.notes == ["A registry.example.org: 198.51.100.7, but this server has 10.0.0.5: right if …"]


def test_links_that_are_torn(store: Store) -> None:
    digest = store.image("team/app", [b"one"], "1")
    (store.part("team/app", "_manifests/tags/1") / "current/link").write_bytes(b"")
    store.blob_path(store.image("team/other", [b"two"], "2")).write_bytes(b"")
    found = of_store(store)["torn-link"].found
    assert "team/app: tag 1: its link cannot be read" in found
    assert "team/other:2: manifest sha256:" in found
    assert "it is empty" in found
    assert digest not in found


def test_a_part_of_an_index_that_is_gone(store: Store) -> None:
    children = [
        {"digest": store.image("team/app", [name.encode()]), "platform": {"os": "linux", "architecture": name}}
        for name in ("amd64", "arm64")
    ]
    store.index("team/app", children, "1")
    gone = str(children[1]["digest"])
    store.part("team/app", "_manifests/revisions", gone).unlink()
    found = of_store(store)
    assert list(found) == ["missing-part"]
    assert found["missing-part"].found == f"1 part of team/app:1: {gone} (missing, linux/arm64)"


def test_files_that_belong_to_somebody_else(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.image("team/app", [b"one"], "1")
    place = store.top / "repositories/team/app/_manifests"
    place.chmod(0o500)
    found = of_store(store)["wrong-owner"]
    place.chmod(0o755)
    assert "repositories/team/app/_manifests: dr-x------" in found.found
    assert "chown -hR" in found.remedy
    assert str(store.data / "docker") in found.remedy
    monkeypatch.setattr(store_health, "REGISTRY", os.getuid() + 1)
    monkeypatch.setattr(store_health, "NGINX", os.getgid() + 1)
    # It sees to all where the top is not theirs.
    assert of_store(store)["wrong-owner"].remedy == "./fab -H … up"


def test_a_repository_that_was_emptied(tmp_path: Path, mine: None) -> None:
    """After a day, and not that of `push-test`."""
    (tmp_path / layout.DATA).mkdir(parents=True)
    store = Store(tmp_path / layout.DATA, time.time() - 2 * 86400)
    for name in ("team/old", "push-test"):
        digest = store.image(name, [name.encode()])
        store.part(name, "_manifests/revisions", digest).unlink()
    now = Store(tmp_path / layout.DATA)
    now.part("team/new", "_manifests/revisions", now.image("team/new", [b"new"])).unlink()
    for name in ("team/old", "push-test"):
        for part in ("_layers", "_manifests"):
            store.touch(store.part(name, part))
    assert of_store(store)["emptied-repository"].found == "1 repository without a tag: team/old"


def test_what_is_no_file(store: Store) -> None:
    store.image("team/app", [b"one"], "1")
    (store.top / "repositories/team/link").symlink_to("/")
    assert "team" in of_store(store)["odd-file"].found


def test_a_look_ends_in_time(store: Store) -> None:
    store.image("team/app", [b"one"], "1")
    found = store_health.health(str(store.data).removesuffix(layout.DATA), 0.0)
    assert not found["whole"]
    assert store_health.health(str(store.data).removesuffix(layout.DATA))["whole"]


def test_a_bit_that_flipped_is_named_with_its_images(store: Store) -> None:
    directory = str(store.data).removesuffix(layout.DATA)
    layer = store.blob(b"sound")
    store.image("team/app", [b"sound"], "1", "2")
    assert findings(copies_symptoms.SYMPTOMS, rot.rot(directory)) == []
    store.blob_path(layer).write_bytes(b"sounc")
    # It has the right size.
    assert of_store(store) == {}
    (found,) = findings(copies_symptoms.SYMPTOMS, rot.rot(directory))
    assert found.found == f"1 layer of team/app:1; team/app:2: {layer} (another content)"
    assert "./fab -H … restore --from COPIES --only" in found.remedy


def used(store: Store, name: str, reference: str, digest: str, agent: str) -> None:
    """A line of the uses log."""
    log = Path(str(store.data).removesuffix(layout.DATA), layout.USES_LOG)
    log.parent.mkdir(parents=True, exist_ok=True)
    fields = ("1764270000.123", "ci", "GET", name, reference, digest, "1024", agent)
    log.write_text((log.read_text() if log.exists() else "") + "\t".join(fields) + "\n")


ON_ARM = (
    "docker/26.1.5 go/go1.22.2 git-commit/411e817 kernel/6.1.0 os/linux arch/arm64 UpstreamClient(Docker-Client/26 {})"
)


def test_an_image_of_another_processor(store: Store) -> None:
    linux, mac = ON_ARM.format("\\\\(linux\\\\)"), ON_ARM.format("\\\\(darwin\\\\)")
    one = store.image("team/app", [b"one"], "1")
    both = [
        {"digest": store.image("team/app", [name.encode()]), "platform": {"os": "linux", "architecture": name}}
        for name in ("amd64", "arm64")
    ]
    many = store.index("team/app", both, "2")
    layer = store.blob(b"one")
    for name, reference, digest, agent in (
        ("team/app", "2", many, linux), ("team/app", "1", one, mac), ("team/app", layer, layer, linux),
        ("team/app", "1", one, "containerd/1.7.22+unknown"), ("team/app", "1", one, linux.replace("arm64", "amd64")),
    ):  # fmt: skip
        used(store, name, reference, digest, agent)
    assert of_store(store) == {}
    for _ in range(2):
        used(store, "team/app", "1", one, linux)
    found = of_store(store)["wrong-platform"]
    assert found.found == "team/app:1 is for linux/amd64, and was pulled 2 times to arm64"
    assert "docker buildx build --platform" in found.remedy


@pytest.mark.parametrize(
    ("command", "findings", "note"),
    [
        ("cat >{place}", [], "did the message come?"),
        ("cat >/dev/null; echo no such room >&2; exit 22", ["alert-broken"], ""),
        ("", [], "ALERT_COMMAND is empty"),
    ],
)
def test_an_alert_is_tried(settings: Settings, tmp_path: Path, command: str, findings: list[str], note: str) -> None:
    place = tmp_path / "told"
    found = doctor.Diagnosis("registry.example.org")
    doctor.test_alert(here(), replace(settings, alert_command=command.format(place=place)), found)
    assert [each.symptom for each in found.findings] == findings
    assert any(note in each for each in found.notes) or not note
    assert not findings or found.findings[0].found == "ALERT_COMMAND: exit status 22: no such room"
    if "{place}" in command:
        assert place.read_text() == "registry.example.org: this is a test of ALERT_COMMAND; nothing is wrong\n"
