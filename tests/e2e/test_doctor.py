"""What `doctor` finds on a real server: nothing where all is well, and each symptom that is put in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.chains import issued
from tests.sandbox.commands import ROOT
from tests.sandbox.demo import DOMAIN

from .test_care import INDEX, KIND, push_image, put_manifest
from .world import DEPLOY_DIR, PROJECT, World, own_copy

STORE = f"{DEPLOY_DIR}/registry/data/docker/registry/v2"
REPOSITORY = f"{STORE}/repositories/doctor"
SECRET = f"{DEPLOY_DIR}/registry/secrets/http-secret"
ALERT = "curll -d @- https://alerts.example.org"
NO_HOLES = '{"as of": "2026-11-27"}'


class Plant(NamedTuple):
    """plant, heal: shell scripts of the server. found, remedy: what the finding must say."""

    symptom: str
    plant: str
    heal: str
    found: str
    remedy: str


@pytest.fixture
def healthy(deployed: World, tmp_path: Path) -> Iterator[World]:
    """A server on which no other test has left anything, and of whose images no hole is known."""
    deployed.server(f"rm -rf {STORE} {DEPLOY_DIR}/log/*.json {DEPLOY_DIR}/log/*.log")
    deployed.fab("down")
    deployed.fab("up")
    deployed.root = own_copy(tmp_path)
    (deployed.root / "fabfile/stack/releases.json").write_text(NO_HOLES)
    yield deployed
    deployed.root = ROOT


def found(world: World, *options: str) -> dict[str, dict[str, Any]]:
    """Symptom -> finding."""
    done = world.fab("doctor", "--json", *options, ok=None)
    findings = json.loads(done.stdout)["findings"]
    assert done.returncode == (1 if findings else 0), done.stderr
    return {each["symptom"]: each for each in findings}


def of_image(name: str, digest: str) -> str:
    return f"{STORE}/blobs/sha256/{digest[7:9]}/{digest[7:]}/{name}"


def moved(path: str, number: int) -> tuple[str, str]:
    """Shell scripts that take something away, and bring it back."""
    return f"mv {path} /root/doctor.{number}", f"mv /root/doctor.{number} {path}"


def images(world: World) -> tuple[str, str]:
    """A layer that images need, and a part of an index."""
    _, layer = push_image(world, "doctor/app", b"a layer that is looked for")
    part, _ = push_image(world, "doctor/multi", b"a layer of one platform")
    listed = {"mediaType": KIND, "digest": part, "platform": {"os": "linux", "architecture": "arm64"}}
    size = world.server(f"stat -c %s {of_image('data', part)}").strip()
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**listed, "size": int(size)}]}
    put_manifest(world, "doctor/multi", json.dumps(index), INDEX, "1")
    push_image(world, "doctor/torn", b"a layer of an image whose tag is torn")
    return layer, part


def of_the_store(layer: str, part: str) -> list[Plant]:
    link = f"{REPOSITORY}/multi/_manifests/revisions/sha256/{part[7:]}/link"
    torn = f"{REPOSITORY}/torn/_manifests/tags/1/current/link"
    tags = f"{REPOSITORY}/torn/_layers"
    return [
        Plant("missing-layer", *moved(of_image("data", layer), 1), f"1 layer of doctor/app:1: {layer} (missing)",
              "restore --from COPIES --only REPOSITORY:TAG"),
        Plant("missing-part", *moved(link, 2), f"1 part of doctor/multi:1: {part} (missing, linux/arm64)",
              "push all platforms again"),
        Plant("torn-link", f"cp -p {torn} /root/doctor.3; : >{torn}", f"cp -p /root/doctor.3 {torn}",
              "doctor/torn: tag 1: its link cannot be read", "push that image again"),
        Plant("wrong-owner", f"chown 0:0 {tags}", f"chown 61100:61102 {tags}",
              "repositories/doctor/torn/_layers: ", f"chown -hR 61100:61102 {DEPLOY_DIR}/registry/data/docker"),
        Plant("odd-file", f"ln -s / {REPOSITORY}/odd", f"rm {REPOSITORY}/odd", "odd", "move it away"),
    ]  # fmt: skip


def of_containers() -> list[Plant]:
    nginx = f"{PROJECT}-nginx-1"
    stranger = (
        f"docker run -d --name stranger -v {DEPLOY_DIR}/registry/data:/data --entrypoint sleep "
        f"$(docker inspect -f '{{{{.Image}}}}' {nginx}) 600 >/dev/null"
    )
    return [
        Plant("container-down", f"docker stop -t 0 {PROJECT}-auth-1 >/dev/null",
              f"docker start {PROJECT}-auth-1 >/dev/null", "auth: exited", "./fab -H server up"),
        Plant("other-secret", f"cp -p {SECRET} /root/secret; echo other >{SECRET}", f"cp -p /root/secret {SECRET}",
              f"{PROJECT}-registry-1", f"docker restart {PROJECT}-registry-1"),
        Plant("second-registry", stranger, "docker rm -f stranger >/dev/null", "stranger", "docker stop stranger"),
        Plant("rules-flushed", "iptables-save -t nat >/root/nat; iptables -t nat -F DOCKER",
              "iptables-restore -T nat </root/nat", "none leads to port 443", "systemctl restart docker"),
        Plant("out-of-memory", f"docker exec {nginx} tail /dev/zero || true", "", "nginx: 1 time", "sync up"),
    ]  # fmt: skip


def around(world: World) -> list[Plant]:
    conf = f"{DEPLOY_DIR}/certbot/conf/renewal/{DOMAIN}.conf"
    log = f"{DEPLOY_DIR}/log"
    night = json.dumps({
        "when": 1, "removed": 0, "freed": 0, "waiting": 0, "left": [], "held": {}, "problems": [], "by_hand": False,
    })  # fmt: skip
    failed = '{"%s": {"failures": 3, "since": 1, "next": 9, "reason": "%s", "unseen": [], "learned": true}}'
    caa = "the CAA record of example.org lets only digicert.com issue"
    attempts = f"{DEPLOY_DIR}/certbot/attempts.json"
    server = world.server(f"grep -h ^server {conf}").split()[-1]
    return [
        Plant("cron", "service cron stop >/dev/null", "service cron start >/dev/null", "does not run", "provision"),
        Plant("certbot-damaged", *moved(conf, 4), "do not belong together", "init-letsencrypt"),
        Plant("care", f"printf '%s' '{night}' >{log}/care.json", f"rm {log}/care.json", "cron did not run it", "gc"),
        Plant("caa", f"printf '%s' '{failed % (server, caa)}' >{attempts}", f"rm {attempts}", "CAA record", "renew"),
        Plant("others-can-write", f"chmod o+w {DEPLOY_DIR}/log", f"chmod o-w {DEPLOY_DIR}/log", "log", "chmod"),
    ]  # fmt: skip


def planted(world: World, plants: list[Plant], *options: str, more: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Put all of them in, look, heal. Each is found, with its remedy, and besides these `more` alone."""
    world.server("\n".join(each.plant for each in plants))
    try:
        findings = found(world, *options)
    finally:
        world.server("\n".join(each.heal for each in plants))
    for each in plants:
        assert each.symptom in findings, (each.symptom, findings)
        assert each.found in findings[each.symptom]["found"], findings[each.symptom]
        assert each.remedy in findings[each.symptom]["remedy"], findings[each.symptom]
    assert set(findings) <= {*(each.symptom for each in plants), *more}, findings
    return findings


def test_a_healthy_server_has_nothing_and_what_is_put_in_is_found(healthy: World) -> None:
    layer, part = images(healthy)
    assert found(healthy) == {}
    planted(healthy, [*of_the_store(layer, part), *around(healthy)], more=("renewal-failed",))
    planted(healthy, of_containers(), more=("no-accounts", "way-out"))
    # What the operator's settings, the list of holes, and only a look at every layer can tell.
    data = of_image("data", layer)
    flip = Plant("bit-rot", f"cp -p {data} /root/layer; printf A | dd of={data} conv=notrunc 2>/dev/null",
                 f"cp -p /root/layer {data}", f"1 layer of doctor/app:1: {layer} (another content)",
                 "restore --from COPIES --only REPOSITORY:TAG")  # fmt: skip
    healthy.configure(ALERT_COMMAND=ALERT, BACKUP_TO="/root/copies")
    healthy.root = ROOT
    # What is to be copied is news to cron, too; and a container remembers what was killed in it.
    others = ("alert-broken", "backup", "known-holes", "cron", "out-of-memory")
    findings = planted(healthy, [flip], "--deep", more=others)
    assert "there is no curll on the server" in findings["alert-broken"]["found"]
    assert "sync schedule" in findings["alert-broken"]["remedy"]
    assert "./inv backup" in findings["backup"]["remedy"]
    assert "known holes, closed by" in findings["known-holes"]["found"]
    assert "./fab -H server upgrade" in findings["known-holes"]["remedy"]


@pytest.mark.long
def test_a_disk_that_is_full_of_small_files_and_one_that_failed(clean: World) -> None:
    """And a name that leads nowhere."""
    data = f"{DEPLOY_DIR}/registry/data"
    clean.server(f"mkdir -p {data} && mount -t tmpfs -o size=1200m,nr_inodes=1400,mode=755 tmpfs {data}")
    try:
        clean.bootstrap()
        full = Plant("no-inodes", f"mkdir {data}/many && cd {data}/many && seq 1200 | xargs touch",
                     f"rm -r {data}/many", "there is room for only ", "gc --now")  # fmt: skip
        near = full._replace(symptom="disk-nearly-full", plant="true", heal="true", found="more files")
        others = ("known-holes", "pushes-refused", "still-full")
        planted(clean, [full, near], more=others)
        failed = Plant("read-only-disk", f"mount -o remount,ro {data}", f"mount -o remount,rw {data}",
                       f"{data} (tmpfs) is mounted read-only", f"mount -o remount,rw {data}")  # fmt: skip
        planted(clean, [failed], more=(*others, "disk-nearly-full"))
        clean.sandbox.dns(DOMAIN)
        findings = planted(clean, [], more=(*others, "dns", "disk-nearly-full"))
        assert "no A and no AAAA record" in findings["dns"]["found"]
        assert "at your DNS provider" in findings["dns"]["remedy"]
    finally:
        clean.server("docker ps --all --quiet | xargs -r docker rm --force >/dev/null")
        clean.server(f"umount -l {data}", check=False)
        clean.clean()


@pytest.mark.long
def test_an_own_certificate_without_that_of_its_issuer(clean: World, tmp_path: Path) -> None:
    leaf, key = issued("Issuer", DOMAIN)
    above, _ = issued("Root", "Issuer")
    chain, private = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(leaf)
    private.write_bytes(key)
    clean.bootstrap(TLS_CERTIFICATE=str(chain), TLS_KEY=str(private))
    findings = planted(clean, [], more=("chain", "known-holes"))
    assert "without that of its issuer, Issuer" in findings["chain"]["found"]
    assert "put the issuer's certificate behind yours" in findings["chain"]["remedy"]
    chain.write_bytes(leaf + above)
    clean.fab("sync", "up")
    planted(clean, [], more=("known-holes",))
