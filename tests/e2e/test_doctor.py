"""What `doctor` finds on a real server: nothing where all is well, and each symptom that is put in."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from .test_care import push_image
from .world import DEPLOY_DIR, PROJECT, World

DATA = f"{DEPLOY_DIR}/registry/data/docker/registry/v2"
SECRET = f"{DEPLOY_DIR}/registry/secrets/http-secret"


class Plant(NamedTuple):
    """plant, heal: shell scripts of the server. finds: what must be in the finding, and in its remedy."""

    symptom: str
    plant: str
    heal: str
    found: str
    remedy: str


def found(world: World, *options: str) -> dict[str, dict[str, Any]]:
    """Symptom -> finding."""
    done = world.fab("doctor", "--json", *options, ok=None)
    findings = json.loads(done.stdout)
    assert done.returncode == (1 if findings else 0), done.stderr
    return {each["symptom"]: each for each in findings}


def blob(digest: str) -> str:
    return f"{DATA}/blobs/sha256/{digest[7:9]}/{digest[7:]}/data"


def plants(layer: str) -> list[Plant]:
    return [
        Plant(
            "container-down", f"docker stop -t 0 {PROJECT}-auth-1", f"docker start {PROJECT}-auth-1",
            "auth: exited", "./fab -H server up",
        ),
        Plant(
            "missing-layer", f"mv {blob(layer)} /root/layer", f"mv /root/layer {blob(layer)}",
            f"1 layer of doctor/app:1: {layer} (missing)", "restore --from COPIES --only REPOSITORY:TAG",
        ),
        Plant(
            "other-secret", f"cp -p {SECRET} /root/secret; echo other >{SECRET}", f"cp -p /root/secret {SECRET}",
            f"{PROJECT}-registry-1", f"docker restart {PROJECT}-registry-1",
        ),
    ]  # fmt: skip


def test_a_healthy_server_has_nothing_and_each_symptom_is_found(deployed: World) -> None:
    _, layer = push_image(deployed, "doctor/app", b"a layer that is looked for")
    assert found(deployed) == {}
    for each in plants(layer):
        deployed.server(each.plant)
        try:
            findings = found(deployed)
        finally:
            deployed.server(each.heal)
        assert each.symptom in findings, findings
        assert each.found in findings[each.symptom]["found"], findings
        assert each.remedy in findings[each.symptom]["remedy"], findings
