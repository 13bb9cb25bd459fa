"""What docs/care.md says, by its own commands."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

from tests.docs.pages import SERVER, under
from tests.sandbox.commands import ROOT
from tests.sandbox.demo import DOMAIN, fab

from .world import DEPLOY_DIR, PASSWORD, USER, World

CARE = ROOT / "docs" / "care.md"
LOGIN = ("-u", f"{USER}:{PASSWORD}")
KIND = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ALIAS = f"alias.{DOMAIN}"


def typed(world: World, script: str, directory: Path) -> str:
    """Run a block in a directory, as it stands, but for the name of the server."""
    ssh = f"ssh -F {world.sandbox.directory}/ssh_config server"
    script = script.replace(SERVER, " ".join(fab(world.sandbox, world.settings)))
    script = script.replace("ssh root@registry.example.com", ssh)
    done = subprocess.run(["sh", "-ec", script], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def push_image(world: World, name: str, content: bytes, *, tag: str = "1") -> tuple[str, str]:
    """An image of one layer; tag: "" for none. Returns the digests of its manifest and of the layer."""
    layer = world.push_blob(name, content, *LOGIN)
    config = world.push_blob(name, b"{}", *LOGIN)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": KIND,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": len(content)}],
        }
    )
    return put_manifest(world, name, manifest, KIND, tag), layer


def put_manifest(world: World, name: str, text: str, kind: str, tag: str) -> str:
    """Its digest."""
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    put = ("-X", "PUT", "-H", f"Content-Type: {kind}", "-d", text)
    assert world.status(f"/v2/{name}/manifests/{tag or digest}", *put, *LOGIN) == 201
    return digest


def cleaned_up(world: World, directory: Path) -> None:
    """What the page says about a full disk; but what was pushed just now is old enough, too."""
    (block,) = under(CARE, "When the disk is full")
    command = "gc --untagged 30d --now --yes"
    assert command in block
    typed(world, block.replace(command, "gc --untagged 0s --grace 0s --now --yes"), directory)


def test_layers_of_deleted_images_are_freed(deployed: World, tmp_path: Path) -> None:
    manifest, layer = push_image(deployed, "care/gone", b"a layer that nobody needs")
    _, kept = push_image(deployed, "care/kept", b"a layer that somebody needs")
    path = f"/v2/care/gone/manifests/{manifest}"
    assert deployed.status(path, "-X", "DELETE", *LOGIN) == 202
    cleaned_up(deployed, tmp_path)
    blobs = deployed.server(f"ls {DEPLOY_DIR}/registry/data/docker/registry/v2/blobs/sha256/*")
    assert layer.partition(":")[2] not in blobs
    assert kept.partition(":")[2] in blobs
    assert deployed.status(f"/v2/care/kept/blobs/{kept}", *LOGIN) == 200
    # Nothing remembers that it was there.
    assert deployed.push_blob("care/gone", b"a layer that nobody needs", *LOGIN) == layer


def test_the_clean_up_takes_what_no_tag_leads_to(deployed: World, tmp_path: Path) -> None:
    """On every version of the registry, and nothing that is in an index."""
    old, _ = push_image(deployed, "care/daily", b"yesterday")
    new, _ = push_image(deployed, "care/daily", b"today")
    parts = [push_image(deployed, "care/parts", content, tag="")[0] for content in (b"amd64", b"arm64")]
    sizes = [
        deployed.curl(f"/v2/care/parts/manifests/{part}", "-H", f"Accept: {KIND}", *LOGIN, "-o", "/dev/null", "-w",
                      "%{size_download}")
        for part in parts
    ]  # fmt: skip
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {"mediaType": KIND, "digest": part, "size": int(size), "platform": {"os": "linux", "architecture": name}}
            for part, size, name in zip(parts, sizes, ("amd64", "arm64"), strict=True)
        ],
    }
    put_manifest(deployed, "care/parts", json.dumps(index), INDEX, "1")
    cleaned_up(deployed, tmp_path)

    def there(name: str, reference: str) -> int:
        return deployed.status(f"/v2/{name}/manifests/{reference}", "-H", f"Accept: {KIND}", *LOGIN)

    assert there("care/daily", "1") == there("care/daily", new) == 200
    assert there("care/daily", old) == 404
    assert [there("care/parts", part) for part in parts] == [200, 200]


def test_the_settings_come_back_from_the_server(deployed: World, tmp_path: Path) -> None:
    (block,) = under(CARE, "A lost laptop, and colleagues")
    fetch = block.splitlines()[0]
    typed(deployed, fetch, tmp_path)
    # Its path, as the page says; all else as it came.
    bundle = f"ACME_CA_BUNDLE={deployed.sandbox.directory}/acme-ca.pem"
    text = (tmp_path / ".env").read_text()
    deployed.settings.write_text(re.sub(r"(?m)^ACME_CA_BUNDLE=.*$", bundle, text))
    assert "0 files would change" in deployed.fab("sync", "--diff").stdout


def test_another_registry_is_refused_and_another_name_is_not(deployed: World) -> None:
    files = deployed.files()
    deployed.configure(REGISTRY_DOMAIN=ALIAS)
    refused = deployed.fab("sync", ok=False)
    assert refused.returncode == 1
    assert f"is {DOMAIN}, and the settings are for {ALIAS}; nothing was changed" in refused.stderr
    assert deployed.files() == files

    deployed.configure(REGISTRY_DOMAIN=ALIAS, REGISTRY_ALIASES=DOMAIN)
    deployed.fab("bootstrap")
    for name in (ALIAS, DOMAIN):
        assert deployed.curl("/v2/", *LOGIN, name=name) == "{}"

    deployed.configure(REGISTRY_DOMAIN=ALIAS)
    deployed.fab("sync", "up", "init-letsencrypt")
    assert deployed.curl("/v2/", *LOGIN, name=ALIAS) == "{}"
    assert deployed.status("/v2/", *LOGIN) == 0
    deployed.clean()
