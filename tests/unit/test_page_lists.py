"""The lists of the page: what is in them, when they are written, and what becomes of a run that is killed."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from fabfile import layout
from fabfile.accounts.onhost import accounts_file, sessions
from fabfile.stack.onhost import upgrades
from fabfile.store.onhost import index, kinds, lists, remembered, written
from fabfile.store.onhost.kinds import created
from fabfile.store.page import row
from fabfile.text import counted

from .stores import IMAGE, Store
from .test_access import entry

NOW = time.time()
DOMAIN = "registry.example.org"
PAGE = "# page: mode={} public={}\n"


class Server:
    """DEPLOY_DIR with a store, accounts, and a log of uses."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root / layout.DATA, NOW - 1000)
        for name in (f"{layout.NGINX}/live", layout.USES, layout.AUTH, layout.DATA, layout.SECRETS):
            (root / name).mkdir(parents=True)
        (root / layout.USES_LOG).touch()
        self.accounts(boss=("admin", ()), ci=("push", ("team-a/*",)))
        self.page("on")

    def page(self, mode: str, public: str = "") -> None:
        (self.root / layout.LIVE / layout.PAGE_CONF).write_text(PAGE.format(mode, public))

    def accounts(self, **accounts: tuple[str, tuple[str, ...]]) -> None:
        (self.root / layout.ACCOUNTS).write_text("".join(entry(name, *right) for name, right in accounts.items()))

    def image(self, repository: str, *tags: str, layers: tuple[bytes, ...] = (b"layer",), **more: Any) -> str:
        return self.store.image(repository, list(layers), *tags, **more)

    def log(self, method: str, repository: str, reference: str, digest: str = "-", when: float = NOW) -> None:
        with (self.root / layout.USES_LOG).open("a") as file:
            file.write(f"{when:.3f}\tanna\t{method}\t{repository}\t{reference}\t{digest}\t5\tdocker/28\n")

    def index(self, *, whole: bool = False) -> index.Indexed:
        return index.index(str(self.root), DOMAIN, whole=whole)

    def read(self, name: str) -> Any:
        return json.loads((self.root / layout.PAGE_DATA / name).read_text())

    def tags(self, repository: str) -> dict[str, lists.Tag]:
        return {each["tag"]: each for each in self.read(f"r/{repository}/_tags.json")["tags"]}

    def home(self, view: str = "all") -> list[str]:
        return [each["name"] for each in self.read(f"views/{view}.json")["repositories"]]

    def files(self) -> dict[str, bytes]:
        top = self.root / layout.PAGE_DATA
        found = [path for path in top.rglob("[!.]*.json*") if path.is_file()]
        return {str(path.relative_to(top)): path.read_bytes() for path in found}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(upgrades, "versions", lambda _: {"registry": [3, 1, 1]})
    return Server(tmp_path)


def test_what_is_in_a_list(server: Server) -> None:
    about = {"os": "linux", "architecture": "arm64", "created": "2026-11-01T10:00:00.123456789Z"}
    digest = server.image("team-a/app", "1.9", "1.10", config=about)
    server.log("GET", "team-a/app", "1.9", digest)
    server.image("push-test/x", "latest")
    server.index()
    (first, second) = server.read("r/team-a/app/_tags.json")["tags"]
    assert (first["tag"], second["tag"]) == ("1.10", "1.9")
    config = len(json.dumps(about))
    manifest = server.store.blob_path(digest).stat().st_size
    assert second == {
        "tag": "1.9", "digest": digest[7:23], "size": manifest + config + len(b"layer"), "pushed": int(NOW - 1000),
        "created": 1793527200, "used": int(NOW), "platforms": ["linux/arm64"], "kind": "image", "signed": False,
        "attested": False, "problem": "", "retention": "",
    }  # fmt: skip
    (home,) = server.read("views/all.json")["repositories"]
    newest = {key: first[key] for key in ("tag", "digest", "size", "pushed", "kind", "platforms")}
    assert home == {"name": "team-a/app", "tags": 2, "newest": newest, "used": int(NOW)}
    assert server.read("views/all.tags.json")["repositories"] == {"team-a/app": ["1.10", "1.9"]}
    assert server.read("views/all.digests.json")["repositories"] == {"team-a/app": [digest[7:23]] * 2}
    site = server.read("site.json")
    assert site.pop("made") <= time.time()
    assert site == {
        "registry": "3.1.1", "tag_delete": True, "anonymous": False, "undo": 86400, "tool": "", "domain": DOMAIN,
    }  # fmt: skip


def test_what_belongs_to_an_image_hangs_under_it(server: Server) -> None:
    amd, arm = (server.image("app", layers=(layer,)) for layer in (b"one", b"three"))
    attestation = server.image("app", config={"mediaType": "x"}, layers=(b"{}",))
    children = [
        {"digest": amd, "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": arm, "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": attestation, "platform": {"os": "unknown", "architecture": "unknown"},
         "annotations": {"vnd.docker.reference.digest": amd}},
    ]  # fmt: skip
    digest = server.store.index("app", children, "latest")
    signature = {"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": amd, "size": 1}
    server.store.manifest("app", {"schemaVersion": 2, "mediaType": IMAGE, "layers": [signature]},
                          digest.replace(":", "-") + ".sig")  # fmt: skip
    server.store.manifest("app", {"schemaVersion": 2, "mediaType": IMAGE, "layers": [], "subject": {"digest": amd},
                                  "artifactType": "application/spdx+json"})  # fmt: skip
    server.image("app", layers=(b"left alone",))
    server.index()
    tags = server.tags("app")
    assert list(tags) == ["latest"]
    latest = tags["latest"]
    assert (latest["kind"], latest["platforms"]) == ("index", ["linux/amd64", "linux/arm64"])
    assert (latest["signed"], latest["attested"]) == (True, True)
    assert server.read("r/app/_tags.json")["untagged"] == 1


KINDS = {
    "image": {"config": {"mediaType": "application/vnd.oci.image.config.v1+json"}, "layers": []},
    "image ": {"config": {"mediaType": "application/vnd.docker.container.image.v1+json"}, "layers": []},
    "image  ": {"fsLayers": []},
    "index": {"manifests": [{"mediaType": IMAGE},
                            {"mediaType": "application/vnd.docker.distribution.manifest.v2+json"}]},
    "index ": {"manifests": []},
    "cache": {"manifests": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"},
                            {"mediaType": "application/vnd.buildkit.cacheconfig.v0"}]},
    "cache ": {"config": {"mediaType": "application/vnd.buildkit.cacheconfig.v0"}, "layers": []},
    "chart": {"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json"}, "layers": []},
    "signature": {"artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json", "layers": None},
    "sbom": {"artifactType": "application/spdx+json", "layers": []},
    "attestation": {"layers": [{"mediaType": "application/vnd.in-toto+json"}]},
    "artifact": {"config": {"mediaType": "application/vnd.oci.empty.v1+json"}, "layers": []},
    "artifact ": {"artifactType": "a/b", "config": {"mediaType": "application/vnd.oci.image.config.v1+json"}},
    "artifact  ": {"config": None, "layers": [{"mediaType": 5}]},
}  # fmt: skip


@pytest.mark.parametrize("wanted", KINDS)
def test_kinds(wanted: str) -> None:
    assert kinds.kind(KINDS[wanted]) == wanted.strip()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2026-11-01T10:00:00Z", 1793527200), ("2026-11-01T12:00:00.5+02:00", 1793527200), ("1970-01-01T00:00:00Z", None),
     ("0001-01-01T00:00:00Z", None), ("2026-13-01T10:00:00Z", None), ("", None), (None, None), (5, None)],
)  # fmt: skip
def test_when_an_image_was_made(text: object, seconds: int | None) -> None:
    assert created(text) == seconds


def test_nothing_is_written_twice(server: Server) -> None:
    server.image("app", "1")
    assert server.index()["read"] == 1
    before = server.files()
    assert server.index()["read"] == 0
    # Walked again, and the same; but for what is free on the disk, which others change.
    assert server.index(whole=True)["read"] == 1
    after = server.files()
    for name in ("seen.json", "disk.json"):
        before.pop(name), after.pop(name)
    assert after == before


def test_a_push_is_seen_alone(server: Server) -> None:
    for name in ("a/app", "b/app"):
        server.image(name, "1")
    server.index()
    server.image("a/app", "2", layers=(b"more",))
    # Not in the log, so not looked at.
    server.image("b/app", "2", layers=(b"more",))
    server.log("PUT", "a/app", "2")
    # A layer, and a part of an image.
    server.log("PUT", "b/app", "-")
    assert server.index()["read"] == 1
    assert (list(server.tags("a/app")), list(server.tags("b/app"))) == (["2", "1"], ["1"])
    assert server.index()["read"] == 0
    events = server.read("disk.json")["events"]
    assert events == [
        {"when": int(NOW), "account": "anna", "what": "push", "repository": "a/app", "tag": "2", "digest": ""}
    ]


def test_a_pull_is_told_with_the_next_push(server: Server) -> None:
    digest = server.image("a", "1")
    server.image("b", "1")
    server.index()
    assert server.tags("a")["1"]["used"] is None
    server.log("GET", "a", "1", digest, NOW + 5)
    server.log("PUT", "b", "1")
    assert server.index()["read"] == 1
    assert server.tags("a")["1"]["used"] == pytest.approx(NOW, abs=60)
    server.index(whole=True)
    assert server.tags("a")["1"]["used"] == pytest.approx(NOW, abs=60)


def test_what_is_deleted_goes(server: Server) -> None:
    import shutil

    server.image("a/x", "1", "2")
    server.image("b/x", "1")
    server.index()
    shutil.rmtree(server.store.part("a/x", "_manifests/tags/1"))
    shutil.rmtree(server.store.top / "repositories/b")
    server.log("DELETE", "a/x", "1", "sha256:" + "a" * 64)
    server.log("DELETE", "b/x", "1")
    server.index()
    assert (server.home(), list(server.tags("a/x"))) == (["a/x"], ["2"])
    assert not (server.root / layout.PAGE_DATA / "r/b").exists()
    assert not list((server.root / remembered.CACHE / "b").rglob("*.json"))
    assert [(each["what"], each["tag"], each["digest"][:10]) for each in server.read("disk.json")["events"]] == [
        ("delete", "1", "sha256:aaa"), ("delete", "1", ""),
    ]  # fmt: skip


def test_a_manifest_that_cannot_be_read_keeps_its_row(server: Server) -> None:
    broken, gone, whole = (server.image("app", tag, layers=(tag.encode(),)) for tag in ("broken", "gone", "whole"))
    server.store.blob_path(broken).write_text("{}")
    server.store.blob_path(gone).unlink()
    server.store.index("app", [{"digest": "sha256:" + "0" * 64}], "half")
    server.index()
    found = {name: each["problem"] for name, each in server.tags("app").items()}
    assert found == {
        "broken": "its manifest cannot be read: its content has another digest",
        "gone": "its manifest, or one that it names, is missing on the disk",
        "half": "its manifest, or one that it names, is missing on the disk",
        "whole": "",
    }
    # What comes back is seen.
    server.image("app", "gone", layers=(b"gone",))
    server.log("PUT", "app", "gone")
    server.index()
    assert server.tags("app")["gone"]["problem"] == ""
    assert whole


def test_what_the_rules_would_remove_says_why(server: Server) -> None:
    (server.root / layout.RETENTION).write_text("[a/*]\nprotect = v*\nkeep = 1 newest\n")
    for age, tag in ((3000, "v1"), (2000, "old"), (1000, "new")):
        server.store.now = NOW - age
        server.image("a/x", tag, layers=(tag.encode(),))
        server.image("b/x", tag, layers=(tag.encode(),))
    server.index()
    assert {name: each["retention"] for name, each in server.tags("a/x").items()} == {
        "v1": "", "old": "not among the 1 newest", "new": "",
    }  # fmt: skip
    assert {each["retention"] for each in server.tags("b/x").values()} == {""}
    assert server.read("disk.json")["retention"] == {"rules": True, "would_remove": 1}
    # Where something cannot be read, none goes; and a mistake in the file is told elsewhere.
    server.store.blob_path(server.image("a/x", "broken", layers=(b"b",))).write_text("{}")
    server.index(whole=True)
    assert {each["retention"] for each in server.tags("a/x").values()} == {""}
    (server.root / layout.RETENTION).write_text("[a/*]\nkeep = everything\n")
    server.index(whole=True)
    assert server.read("disk.json")["retention"] is None


def test_each_view_has_what_its_accounts_may_pull_and_no_more(server: Server) -> None:
    for name in ("team-a/x", "team-a/y/z", "team-b/x", "public/x", "team-ax"):
        server.image(name, "1")
    server.page("on", "public/*")
    server.accounts(boss=("admin", ()), ci=("push", ("team-a/*",)), two=("pull", ("team-b/x", "team-a/x")),
                    again=("admin", ("team-a/*",)), nothing=("pull", ("none/*",)))  # fmt: skip
    server.index()
    views = {path.name.partition(".")[0] for path in (server.root / layout.PAGE_DATA / "views").iterdir()}
    mine = {name: sessions.view(patterns, ("public/*",)) for name, patterns in
            {"ci": ("team-a/*",), "two": ("team-a/x", "team-b/x"), "nothing": ("none/*",)}.items()}  # fmt: skip
    strangers = sessions.view(("public/*",), ())
    assert views == {"all", strangers, *mine.values()}
    assert len(server.home()) == 5
    assert server.home(strangers) == server.home(mine["nothing"]) == ["public/x"]
    assert set(server.home(mine["ci"])) == {"public/x", "team-a/x", "team-a/y/z"}
    assert set(server.home(mine["two"])) == {"public/x", "team-a/x", "team-b/x"}
    # Other rights have another list, and the old one goes.
    server.accounts(boss=("admin", ()))
    assert index.views(str(server.root))["files"] > 0
    assert {path.name for path in (server.root / layout.PAGE_DATA / "views").glob("*.json")} == {
        f"{view}{kind}.json" for view in ("all", strangers) for kind in ("", ".tags", ".digests")
    }
    assert server.tags("team-a/x")
    server.page("admin", "public/*")
    server.index()
    assert not (server.root / layout.PAGE_DATA / f"views/{strangers}.json").exists()


@pytest.mark.parametrize("name", ["a.json/b", "a/b.c_d-e/f__g", "x" * 255, "views/all", "r/_x"[:1], "1"])
def test_any_name_that_the_registry_takes_has_a_list(server: Server, name: str) -> None:
    server.image(name, "1", "_tags.json")
    server.index()
    assert server.home() == [name]
    assert set(server.tags(name)) == {"1", "_tags.json"}


@pytest.mark.parametrize(
    "name", ["push-test", "push-test/x", "A", "a//b", "a/", "../a", "a/_b", ".a", "a..b/../c", "x" * 256]
)
def test_no_other_name_has_one(name: str) -> None:
    assert not lists.shown(name)


def test_without_a_page_there_is_none_of_it(server: Server) -> None:
    server.image("app", "1")
    server.index()
    (server.root / layout.LIVE / layout.PAGE_CONF).unlink()
    assert server.index() == {"read": 0, "files": 0}
    assert not (server.root / layout.PAGE_DATA).exists()
    assert not (server.root / layout.PAGE_STATE).exists()
    assert remembered.last(str(server.root)) is None


class KilledError(BaseException):
    """kill -9, as far as a test can do that."""


def test_killed_anywhere_the_next_run_converges(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a/x", "b/x", "c/x"]
    for name in names:
        server.image(name, *(f"{n}.{'0' * 60}" for n in range(30)))
    server.index()
    for name in names:
        server.image(name, "new", layers=(b"new",))
        server.log("PUT", name, "new")
    state = (server.root / layout.PAGE_STATE).read_bytes()
    real, kills = written._replace, 0
    for deep in range(1000):
        left = [deep]

        def replace(path: Path, content: bytes, when: int, mode: int = 0o644, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                path.with_name(f".{path.name}.new").write_bytes(content[: len(content) // 2])
                raise KilledError
            real(path, content, when, mode)

        monkeypatch.setattr(written, "_replace", replace)
        try:
            server.index()
            break
        except KilledError:
            kills += 1
            for name, content in server.files().items():
                # Whole, and the packed one is never older than a minute more than the plain one.
                json.loads(gzip.decompress(content) if name.endswith(".gz") else content)
    assert kills > 5, counted(kills, "kill")
    assert (server.root / layout.PAGE_STATE).read_bytes() != state
    after = server.files()
    for name in names:
        assert "new" in server.tags(name)
    for name, content in after.items():
        if name.endswith(".gz"):
            assert gzip.decompress(content) == after[name.removesuffix(".gz")], name


def test_two_versions_never_have_the_same_time(server: Server) -> None:
    """nginx's ETag is the time, in seconds, and the size."""
    top = server.root / layout.PAGE_DATA
    server.image("app", "1")
    server.index()
    times = set()
    for number in range(2, 6):
        server.image("app", str(number), layers=(b"%d" % number,))
        server.log("PUT", "app", str(number))
        server.index()
        times.add(int((top / "r/app/_tags.json").stat().st_mtime))
    assert len(times) == 4


def test_nobody_else_on_the_host_reads_the_names(server: Server) -> None:
    server.image("app", "1")
    old = os.umask(0o077)
    try:
        server.index()
    finally:
        os.umask(old)
    top = server.root / layout.PAGE_DATA
    assert top.stat().st_mode & 0o777 == 0o750
    # nginx, in its group, reads all that is in it.
    for path in top.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path
    assert (server.root / layout.PAGE_STATE).stat().st_mode & 0o777 == 0o600


def test_status_says_when_something_is_missing_in_the_lists(server: Server) -> None:
    def told() -> tuple[str, str]:
        mark, name, text = row(remembered.last(str(server.root)))
        assert name == "page"
        return mark, text

    assert told() == ("ok", "its lists are not there yet: cron makes them within a minute")
    server.index()
    assert told() == ("ok", "its lists are of now")
    server.log("PUT", "app", "1", when=time.time() - 100)
    assert told() == ("ok", "its lists are of now; cron makes them anew")
    server.log("PUT", "push-test/x", "1", when=time.time() - 1000)
    server.log("PUT", "app", "-", when=time.time() - 1000)
    assert told()[0] == "ok"
    (server.root / layout.USES_LOG).write_text("")
    server.log("PUT", "app", "1", when=time.time() - 240)
    assert told() == ("warn", "its lists are of now, and something was pushed 4 min ago: log/page.log on the server")
    server.index()
    assert told()[0] == "ok"
    assert row(None) == ("ok", "page", "off")


def test_a_session_ends_with_the_line_of_its_account() -> None:
    line = accounts_file.Line("anna", "anna:hash", "push", ("a/*",), "2026")
    tokens = {sessions.token("secret", line, 1)}
    for other in (
        accounts_file.Line("anna", "anna:hasj", "push", ("a/*",), "2026"),
        accounts_file.Line("anna", "anna:hash", "pull", ("a/*",), "2026"),
        accounts_file.Line("anna", "anna:hash", "push", ("a/*", "b"), "2026"),
        accounts_file.Line("anna", "anna:hash", "push", ("a/*",), "2027"),
        accounts_file.Line("anne", "anna:hash", "push", ("a/*",), "2026"),
    ):
        tokens.add(sessions.token("secret", other, 1))
    tokens |= {sessions.token("secret", line, 2), sessions.token("other", line, 1)}
    assert len(tokens) == 8
    assert all(len(token) == 64 for token in tokens)
