"""`images` and `gc` against the real registry, with clients at work."""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from fabfile.machine import remote_call
from fabfile.store.onhost import collect

from .history import IMAGE, Client, History, sha
from .world import DEPLOY_DIR, PASSWORD, PROJECT, USER, World

LOGIN = f"{USER}:{PASSWORD}"
DATA = f"{DEPLOY_DIR}/registry/data"


class Collector:
    """The collector in a loop on the server, killed now and then."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.draw = random.Random(seed)  # noqa: S311 - a draw
        self.runs = self.kills = 0
        self.counts: dict[str, int] = {}

    def once(self, *, kill: float = 0.0, **options: Any) -> dict[str, Any]:
        """One run; kill: after so many seconds, as by `kill -9`."""
        call = (collect.collect, [DEPLOY_DIR], {"grace": 2.0, "hold": 5.0, "pauses": [0.0, 0.1, 1.0]} | options)
        argv = ["docker", "exec", "-i", self.world.sandbox.container("server")]
        argv += ["sh", "-c", 'echo $$ >/run/gc.pid; exec python3 -I -B -c "$0"', remote_call.LOADER]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            if kill:
                assert process.stdin is not None
                process.stdin.write(remote_call.packed([call]))
                process.stdin.close()
                time.sleep(kill)
                self.world.server("kill -9 $(cat /run/gc.pid)", check=False)
                self.kills += 1
                process.wait()
                return {}
            output, _ = process.communicate(remote_call.packed([call]))
        (answer,) = json.loads(output)
        self.runs += 1
        found: dict[str, Any] = answer["result"]
        for kind, count in found["counts"].items():
            self.counts[kind] = self.counts.get(kind, 0) + count
        return found

    def loop(self, seconds: float, history: History) -> None:
        end = time.monotonic() + seconds
        restart = time.monotonic() + seconds / 3
        while time.monotonic() < end:
            self.once(
                kill=self.draw.choice([0.0, 0.0, self.draw.random()]),
                untagged=self.draw.choice([-1.0, 3.0]),
                **({"now": True} if self.draw.random() < 0.2 else {}),
            )
            if time.monotonic() > restart:
                restart = end
                self.world.server(
                    f"docker kill --signal KILL {PROJECT}-registry-1 && docker start {PROJECT}-registry-1"
                )
            assert not history.problems, (history.problems[:5], history.refused[:5])


def played(world: World, seconds: float, seed: int) -> None:
    """Random pushes, pulls and deletes beside gc, both killed now and then; then all that was acknowledged is there."""
    history, collector = History(world, LOGIN, seed), Collector(world, seed)
    # Else images without a tag count as used a moment ago.
    world.server(f"touch -d '2 days ago' {DEPLOY_DIR}/log/uses/begun")
    with history.going(8):
        collector.loop(seconds, history)
    for _ in range(2):
        collector.once(hold=0.0)
    history.check()
    print(
        f"seed {seed}: {history.pushed} pushed, {history.repeated} repeated, {history.pulled} pulled, "
        f"{history.late} of these a moment later, "
        f"{history.deleted} deleted, gc {collector.runs} times, killed {collector.kills} times, took {collector.counts}"
    )
    print("\n".join(history.refused[:20]))
    assert not history.problems, (history.problems[:5], history.refused[:5])
    assert history.late <= history.pulled / 100
    assert history.pushed > seconds
    assert collector.counts["blob"] > 10


@pytest.mark.parametrize("seed", [1])
def test_a_random_history_loses_nothing(deployed: World, seed: int) -> None:
    """Both killed now and then; a client may have to repeat a request while the registry is away, and no pull fails."""
    played(deployed, 40, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 14))
def test_a_long_random_history_loses_nothing(deployed: World, seed: int) -> None:
    played(deployed, 900, seed)


MB = 1_000_000
# How many tags of a store cannot be pulled in full, by its files alone.
BROKEN = """
import json, os, sys
top = sys.argv[1] + "/docker/registry/v2/"
def there(repository, digest):
    a, h = digest.split(":")
    link = f"{top}repositories/{repository}/_manifests/revisions/{a}/{h}/link"
    data = f"{top}blobs/{a}/{h[:2]}/{h}/data"
    if not os.path.exists(link) or not os.path.exists(data):
        return False
    found = json.load(open(data))
    layers = [*found.get("layers", ()), *([found["config"]] if "config" in found else ())]
    paths = [each["digest"].replace(":", "/" + each["digest"][7:9] + "/") for each in layers]
    children = all(there(repository, each["digest"]) for each in found.get("manifests", ()))
    return children and all(os.path.exists(f"{top}blobs/{path}/data") for path in paths)
broken = 0
for name in ("disk/ci", "disk/multi"):
    for tag in os.listdir(f"{top}repositories/{name}/_manifests/tags"):
        broken += not there(name, open(f"{top}repositories/{name}/_manifests/tags/{tag}/current/link").read())
print(broken)
"""


def used(world: World, path: str = DATA) -> int:
    return int(world.server(f"du -sB1 {path} | cut -f1"))


def filled(world: World) -> None:
    """A tag that was pushed five times, and an index that was pushed twice."""
    client = Client(world, LOGIN)
    for number in range(5):
        assert client.image("disk/ci", "latest", [bytes([number]) * 10 * MB])[0] == 201
    for number in range(2):
        word = b"%d" % number
        children = [client.image("disk/multi", "", [word + each * 5 * MB])[1] for each in (b"a", b"b")]
        about = {"vnd.docker.reference.digest": children[0]}
        children.append(client.image("disk/multi", "", [word + b"attestation"], annotations=about)[1])
        assert client.index("disk/multi", "latest", children)[0] == 201


def test_the_disk_is_free_again_and_no_image_is_broken(deployed: World) -> None:
    """Beside it, on copies of the same store, what the registry's own collector does."""
    deployed.server(f"rm -rf {DATA}/docker {DATA}/.trash")
    filled(deployed)
    before = used(deployed)
    image = f"$(docker inspect --format '{{{{.Config.Image}}}}' {PROJECT}-registry-1)"
    found = []
    for option in ("", "--delete-untagged"):
        copy = "/root/copy"
        deployed.server(
            f"rm -rf {copy} && cp -a {DATA} {copy} && docker run --rm --user 0 --volume {copy}:/var/lib/registry "
            f"--volume {DEPLOY_DIR}/registry/config:/c:ro --entrypoint registry {image} "
            f"garbage-collect {option} /c/config.yml"
        )
        broken = int(deployed.sandbox.exec("server", "python3", "-c", BROKEN, copy))
        found.append((f"registry garbage-collect {option}".strip(), before - used(deployed, copy), broken))
        deployed.server(f"rm -rf {copy}")
    assert "add --yes" in deployed.fab("gc", ok=False).stderr
    told = deployed.fab("gc", "--dry-run", "--grace", "0s").stdout
    assert "images without a tag hold 50" in told
    assert "would free 0 B" in told
    told = deployed.fab("gc", "--yes", "--untagged", "0s", "--grace", "0s", "--now").stdout
    assert "freed 50" in told
    after = used(deployed)
    broken = int(deployed.sandbox.exec("server", "python3", "-c", BROKEN, DATA))
    found.append(("gc --untagged 0s --now", before - after, broken))
    print("\n".join(f"{name:45} {size / MB:6.1f} MB freed  {bad} images broken" for name, size, bad in found))
    assert (broken, before - after > 50 * MB) == (0, True)
    client = Client(deployed, LOGIN)
    assert [client.pull(name, "latest") for name in ("disk/ci", "disk/multi")] == ["", ""]


def test_what_was_taken_waits_and_a_pull_that_began_goes_on(deployed: World) -> None:
    """gc --now waits for what began before: a slow pull is neither cut nor refused."""
    client = Client(deployed, LOGIN)
    assert client.image("slow/app", "1", [b"s" * 60 * MB])[0] == 201
    command = ["curl", "-sS", "--limit-rate", "6M", "--cacert", str(deployed.sandbox.directory / "ca.pem"), "-u", LOGIN]
    port = deployed.sandbox.port(443)
    command += [
        "--resolve",
        f"registry.test:{port}:127.0.0.1",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{size_download}",
    ]
    url = f"https://registry.test:{port}/v2/slow/app/blobs/{sha(b's' * 60 * MB)}"
    with subprocess.Popen([*command, url], stdout=subprocess.PIPE, text=True) as slow:
        time.sleep(1)
        digest = client.ask("HEAD", "/v2/slow/app/manifests/1")[1]["docker-content-digest"]
        assert client.ask("DELETE", f"/v2/slow/app/manifests/{digest}")[0] == 202
        deployed.server(f"cd {DATA}/docker/registry/v2 && find . -path '*slow*' -exec touch -d '2 days ago' {{}} +")
        deployed.fab("gc", "--yes", "--grace", "0s", "--now")
        # What curl has not read yet is on its way: nginx is done with it.
        old = "pgrep -fc '^nginx: worker process is shutting [d]own' || true"
        assert deployed.server(old).strip() == "0", "gc waited for the pull"
        assert slow.communicate()[0] == f"200 {60 * MB}"


def test_a_layer_that_was_pushed_by_its_sha512_stays(deployed: World) -> None:
    """The registry itself keeps it by its sha256; so where its content lies only its link says."""
    client = Client(deployed, LOGIN)
    assert client.image("alias/app", "sha256", [b"any"])[0] == 201
    content = b"pushed by its sha512"
    digest = f"sha512:{hashlib.sha512(content).hexdigest()}"
    _, headers, _ = client.ask("POST", "/v2/alias/app/blobs/uploads/")
    place = "/" + headers["location"].split("/", 3)[3]
    _, headers, _ = client.ask("PATCH", place, content, "application/octet-stream")
    place = "/" + headers["location"].split("/", 3)[3]
    assert client.ask("PUT", f"{place}&digest={digest}")[0] == 201
    config = b'{"os": "linux", "architecture": "amd64"}'
    manifest = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {"digest": sha(config), "size": len(config), "mediaType": "application/vnd.oci.image.config.v1+json"},
        "layers": [{"digest": digest, "size": len(content), "mediaType": "application/octet-stream"}],
    }
    assert client.put("alias/app", "1", manifest)[0] == 201
    store = f"{DATA}/docker/registry/v2"
    assert deployed.server(f"cat {store}/repositories/alias/app/_layers/sha512/*/link").strip() == sha(content)
    deployed.server(f"find {store} -exec touch -d '2 days ago' {{}} +")
    for _ in range(2):
        deployed.fab("gc", "--yes", "--grace", "0s", "--now")
    status, _, body = client.ask("GET", f"/v2/alias/app/blobs/{digest}")
    assert (status, body) == (200, content)


def test_one_tag_is_deleted_and_comes_back(deployed: World) -> None:
    """Version 2 of the registry has no way to do that; whoever pulls sees it at once."""
    client = Client(deployed, LOGIN)
    for tag in ("1.9", "latest"):
        assert client.image("delete/app", tag, [b"shared"])[0] == 201
    assert client.image("delete/app", "1.10", [b"alone"])[0] == 201
    told = deployed.fab("images", "delete/app").stdout
    assert [line.split()[0] for line in told.splitlines()[1:]] == [
        f"delete/app:{tag}" for tag in ("1.9", "1.10", "latest")
    ]
    refused = deployed.fab("images", "--delete", "delete/app:1.9", ok=False)
    assert "add --yes" in refused.stderr
    assert client.pull("delete/app", "1.9") == ""
    told = deployed.fab("images", "--delete", "delete/app:1.9", "--yes").stdout
    assert "stays  the image, which is latest too" in told
    assert [client.pull("delete/app", tag) for tag in ("1.9", "1.10", "latest")] == ["gone", "", ""]
    told = deployed.fab("images", "--delete", "delete/app:1.10", "--yes").stdout
    assert "1 tag and the image deleted" in told
    assert client.pull("delete/app", "1.10") == "gone"
    deployed.fab("images", "--undo")
    assert client.pull("delete/app", "1.10") == ""
    deployed.fab("images", "--undo")
    assert client.pull("delete/app", "1.9") == ""
    assert "nothing to undo" in deployed.fab("images", "--undo", ok=False).stderr


def test_rules_remove_tags(deployed: World, rules: Path) -> None:
    """With the file as `sync` brings it."""
    client = Client(deployed, LOGIN)
    for number in range(5):
        assert client.image("rules/app", f"1.{number}", [b"%d" % number])[0] == 201
        time.sleep(0.05)
    assert "there is no retention.ini" in deployed.fab("retention", ok=False).stderr
    rules.write_text("[rules/*]\nkeep = many newest\n")
    assert "deploy/retention.ini:2: keep: many newest" in deployed.fab("sync", ok=False).stderr
    rules.write_text("[rules/*]\nkeep = 3 newest\n")
    deployed.fab("sync")
    assert "2 of 5 tags would go" in deployed.fab("retention").stdout
    assert client.pull("rules/app", "1.0") == ""
    assert "2 tags removed" in deployed.fab("retention", "--yes").stdout
    assert [client.pull("rules/app", f"1.{number}") for number in range(5)] == ["gone", "gone", "", "", ""]
    deployed.fab("images", "--undo")
    assert client.pull("rules/app", "1.0") == ""
    rules.write_text("[rules/*]\nkeep = pushed 1min\nprotect = 1.4\n")
    deployed.fab("sync")
    links = f"{DATA}/docker/registry/v2/repositories/rules/app/_manifests/tags"
    # What was brought back would stay.
    deployed.server(f"find {links} -exec touch -d '1 hour ago' {{}} +")
    assert (
        "may be a mistake in the rules: rules/app (4 of 5 tags" in deployed.fab("retention", "--yes", ok=False).stderr
    )
    assert "4 tags removed" in deployed.fab("retention", "--yes", "--yes-really").stdout


def test_the_server_takes_care_of_itself(deployed: World) -> None:
    """What cron runs, with what the server has; nginx writes the log of uses anew, and no request is lost by that."""
    client = Client(deployed, LOGIN)
    assert client.image("night/app", "1", [b"night"])[0] == 201
    assert client.pull("night/app", "1") == ""
    deployed.fab("schedule")
    job = deployed.server("tail -1 /etc/cron.d/private-docker-registry").split(" root ", 1)[1]
    with subprocess.Popen(
        [
            "docker",
            "exec",
            deployed.sandbox.container("server"),
            "env",
            "-i",
            "PATH=/usr/bin:/bin:/usr/sbin:/sbin",
            "sh",
            "-c",
            job,
        ]
    ) as night:
        while night.poll() is None:
            assert client.pull("night/app", "1") == ""
            time.sleep(0.1)
        assert night.returncode == 0, deployed.server(f"cat {DEPLOY_DIR}/log/care.log")
    assert " care " in deployed.server(f"tail -1 {DEPLOY_DIR}/log/care.log")
    uses = f"{DEPLOY_DIR}/log/uses"
    digest = client.ask("HEAD", "/v2/night/app/manifests/1")[1]["docker-content-digest"]
    assert f"night/app\t{digest}" in deployed.server(f"cat {uses}/last.tsv")
    assert f"HEAD\tnight/app\t1\t{digest}" in deployed.server(f"cat {uses}/uses.log")
    assert re.search(r"^ok +care +", deployed.fab("status", ok=None).stdout, re.M)
    (row,) = json.loads(deployed.fab("images", "--search", "night/app:1", "--json").stdout)["repositories"]
    assert time.time() - row["images"][0]["used"] < 600


def test_a_registry_without_an_image_has_nothing_to_free(clean: World) -> None:
    clean.bootstrap()
    assert clean.fab("images").stdout == "no images\n" or "push-test" in clean.fab("images").stdout
    clean.fab("gc", "--yes")
