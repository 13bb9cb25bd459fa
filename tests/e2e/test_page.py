"""The page's server side with the real registry, nginx and cron: what it serves, and when a session ends."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from .history import IMAGE
from .history import Client as Raw
from .test_quota import minute
from .world import DEPLOY_DIR, PASSWORD, PROJECT, USER, World, wait_until

SECRET = "of-the-page"
DATA = f"{DEPLOY_DIR}/page/data"
ACCEPT = ("-H", f"Accept: {IMAGE}")


class Answer(NamedTuple):
    status: int
    headers: str
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Browser:
    """Somebody with a cookie."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cookie = ""

    def ask(self, path: str, *options: str) -> Answer:
        cookie = ("-H", f"Cookie: {self.cookie}") if self.cookie else ()
        shown = self.world.curl(path, "-i", "-w", "\n%{http_code}", *cookie, *options)
        text, _, status = shown.replace("\r", "").rpartition("\n")
        head, _, body = text.partition("\n\n")
        while head.startswith("HTTP/1.1 100"):
            head, _, body = body.partition("\n\n")
        return Answer(int(status), head, body)

    def login(self, user: str, password: str) -> int:
        self.cookie = ""
        answer = self.ask("/-/login", "-X", "POST", "-u", f"{user}:{password}", "-H", "X-Page: 1")
        if found := re.search(
            r"(?m)^Set-Cookie: (__Host-registry=[0-9a-f]{64}); Path=/; Secure; HttpOnly;", answer.headers
        ):
            self.cookie = found[1]
        return answer.status

    def change(self, method: str, path: str, *options: str) -> Answer:
        locks = ("-H", "X-Page: 1", "-H", "Sec-Fetch-Site: same-origin")
        return self.ask(path, "-X", method, *locks, *options)

    def home(self) -> dict[str, Any]:
        view = self.ask("/-/me").json["view"]
        return {each["name"]: each for each in self.ask(f"/-/data/views/{view}.json").json["repositories"]}

    def tags(self, name: str) -> dict[str, Any]:
        return {each["tag"]: each for each in self.ask(f"/-/data/r/{name}/_tags.json").json["tags"]}


@pytest.fixture
def browser(deployed: World) -> Iterator[Browser]:
    deployed.fab("htpasswd", "--user", "anna", "--role", "push", "--repository", "page/*", input=SECRET + "\n")
    yield Browser(deployed)
    deployed.fab("htpasswd", "--remove", "anna")


def test_what_was_pushed_is_on_the_page_and_a_delete_can_be_undone(deployed: World, browser: Browser) -> None:
    raw = Raw(deployed, f"{USER}:{PASSWORD}")
    layer = os.urandom(1000)
    status, digest = raw.image("page/app", "1.0", [layer])
    assert (status, raw.image("page/app", "latest", [layer])[0], raw.image("elsewhere/app", "1", [layer])[0]) == (
        201,
    ) * 3
    minute(deployed)
    assert browser.login("anna", "wrong") == 401
    assert browser.login("anna", SECRET) == 204
    assert {name for name in browser.home() if name.startswith(("page/", "elsewhere/"))} == {"page/app"}
    tag = browser.tags("page/app")["1.0"]
    assert (tag["digest"], tag["kind"], tag["platforms"]) == (digest[7:23], "image", ["linux/amd64"])
    assert browser.ask("/-/data/r/elsewhere/app/_tags.json").status == 404
    # All of it is packed for whoever takes that, and what was not changed is not sent again.
    etag = re.search(r'(?m)^ETag: (".*")$', browser.ask("/-/data/site.json").headers)
    assert etag
    assert browser.ask("/-/data/site.json", "-H", f"If-None-Match: {etag[1]}").status == 304
    manifest = browser.ask("/-/v2/page/app/manifests/1.0", *ACCEPT)
    assert manifest.json["mediaType"] == IMAGE
    config = browser.ask(f"/-/v2/page/app/blobs/{manifest.json['config']['digest']}")
    assert (config.status, config.json["os"]) == (200, "linux")
    assert "sandbox" in config.headers
    assert browser.change("DELETE", f"/-/v2/page/app/manifests/{digest}").status == 403

    assert browser.login(USER, PASSWORD) == 204
    assert {"page/app", "elsewhere/app"} <= set(browser.home())
    site = browser.ask("/-/data/site.json").json
    assert (site["registry"], site["tag_delete"]) == ("2.8.3", False)
    assert browser.change("DELETE", f"/-/v2/page/app/manifests/{digest}").status == 202
    assert browser.ask(f"/-/v2/page/app/manifests/{digest}").status == 404
    minute(deployed)
    assert "page/app" not in browser.home()
    # Neither the night nor anybody's clean-up takes what the undo needs.
    deployed.fab("gc", "--yes")
    for name in ("1.0", "latest"):
        options = ("-H", f"Content-Type: {IMAGE}", "--data-binary", manifest.body)
        assert browser.change("PUT", f"/-/v2/page/app/manifests/{name}", *options).status == 201
    minute(deployed)
    assert {name: tag["digest"] for name, tag in browser.tags("page/app").items()} == {
        "1.0": digest[7:23], "latest": digest[7:23],
    }  # fmt: skip
    assert raw.pull("page/app", "latest") == ""
    told = [each for each in browser.ask("/-/data/disk.json").json["events"] if each["repository"] == "page/app"]
    assert [(each["account"], each["what"], each["digest"]) for each in told][2:] == [
        (USER, "delete", digest), (USER, "push", digest), (USER, "push", digest),
    ]  # fmt: skip


def test_a_session_ends_with_its_account_and_no_other_does(deployed: World, browser: Browser) -> None:
    other = Browser(deployed)
    assert (browser.login("anna", SECRET), other.login(USER, PASSWORD)) == (204, 204)
    me = browser.ask("/-/me").json
    assert (me["account"], me["role"], me["repositories"]) == ("anna", "push", ["page/*"])
    deployed.fab("htpasswd", "--user", "anna", "--keep", "--repository", "page/other")
    assert browser.ask("/-/data/site.json").status == 401
    assert other.ask("/-/data/site.json").status == 200
    # The list of the new rights is there at once.
    assert browser.login("anna", SECRET) == 204
    view = browser.ask("/-/me").json["view"]
    assert view != me["view"]
    assert browser.ask(f"/-/data/views/{view}.json").json["repositories"] == []
    assert browser.ask(f"/-/data/views/{me['view']}.json").status == 404
    deployed.fab("htpasswd", "--remove", "anna")
    assert browser.ask("/-/me").json["account"] == ""
    # A second bootstrap has nothing to do, and the registry is what it was.
    assert "nothing to change" in deployed.fab("up").stdout
    assert other.ask("/-/data/site.json").status == 200
    assert deployed.curl("/v2/", "-u", f"{USER}:{PASSWORD}") == "{}"
    assert 'WWW-Authenticate: Basic realm="' in other.ask("/v2/").headers


@pytest.mark.long
def test_d20_where_cron_stands_still_the_page_and_status_say_so(deployed: World, browser: Browser) -> None:
    raw = Raw(deployed, f"{USER}:{PASSWORD}")
    assert browser.login(USER, PASSWORD) == 204
    minute(deployed)
    deployed.server("mv /etc/cron.d/private-docker-registry /tmp/cron")
    try:
        assert raw.image("page/late", "1", [os.urandom(100)])[0] == 201
        # Four minutes later, as the log of uses has it.
        log = f"{DEPLOY_DIR}/log/uses/uses.log"
        # The same file, to which nginx goes on writing.
        old = "sed -E '$ s/^[0-9]+/'$(($(date +%s) - 240))'/'"
        deployed.server(f"{old} {log} >/tmp/uses.log && cat /tmp/uses.log >{log}")
        shown = deployed.fab("status", ok=None).stdout
        assert re.search(r"warn +page +its lists are of .*something was pushed 4 min", re.sub(r"\n +", " ", shown)), (
            shown
        )
        assert "page/late" not in browser.home()
    finally:
        deployed.server("mv /tmp/cron /etc/cron.d/private-docker-registry")
    minute(deployed)
    assert "page/late" in browser.home()


@pytest.mark.long
def test_d21_while_the_registry_is_down_the_lists_are_there(deployed: World, browser: Browser) -> None:
    raw = Raw(deployed, f"{USER}:{PASSWORD}")
    assert raw.image("page/app", "1", [os.urandom(100)])[0] == 201
    assert browser.login(USER, PASSWORD) == 204
    minute(deployed)
    deployed.server(f"docker stop {PROJECT}-registry-1")
    try:
        assert "page/app" in browser.home()
        assert "1" in browser.tags("page/app")
        answer = browser.ask("/-/v2/page/app/manifests/1", *ACCEPT)
        assert (answer.status, answer.json["errors"][0]["code"]) == (503, "UNAVAILABLE")
    finally:
        deployed.server(f"docker start {PROJECT}-registry-1")
    wait_until(lambda: browser.ask("/-/v2/page/app/manifests/1", *ACCEPT).status == 200, "it is back")


@pytest.mark.long
def test_page_off_has_none_of_it(world: World) -> None:
    world.standard(PAGE="off")
    try:
        for path in ("/-/me", "/-/data/site.json", "/-/v2/page/app/tags/list", "/team-a/app"):
            assert world.status(path, "-H", "Accept: text/html") == 401, path
        assert "There is nothing to see" in world.curl("/")
        assert world.server(f"ls {DATA} {DEPLOY_DIR}/page/assets 2>/dev/null; true") == ""
        found = world.server(f"cd {DEPLOY_DIR}; grep -lE '/-/|/page|sessions' compose.yml nginx/live/*.conf; true")
        assert found == ""
        world.fab("htpasswd", "--user", "anna", input=SECRET + "\n")
        world.fab("htpasswd", "--remove", "anna")
    finally:
        world.standard()
