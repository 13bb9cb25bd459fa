"""The page in a real Chromium, served by the real nginx, over the real registry."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Error, Page, expect, sync_playwright

from tests.page.conftest import ARGUMENTS, fill_in
from tests.page.made import small
from tests.page.pushed import Registry, push
from tests.sandbox.demo import DOMAIN
from tests.sandbox.engine import chromium

from .test_quota import minute
from .world import PASSWORD, USER, World

# What a page of another site tries with whoever is signed in here. Each line says what it got.
ATTACK = """async (registry) => {
  const got = {};
  const tell = async (name, work) => { try { got[name] = await work() } catch { got[name] = "refused" } };
  const body = new URLSearchParams({ mount: "x" });
  await tell("me", async () => (await fetch(`${registry}/-/me`, { credentials: "include" })).status);
  await tell("list", async () => (await fetch(`${registry}/-/data/views/all.json`, { credentials: "include" })).status);
  const change = { method: "DELETE", credentials: "include", headers: { "X-Page": "1" } };
  await tell("delete", async () => (await fetch(`${registry}/-/v2/team-a/app/manifests/1.9`, change)).status);
  const blind = { method: "POST", credentials: "include", mode: "no-cors", body };
  await tell("logout", async () => (await fetch(`${registry}/-/logout`, blind)).type);
  await tell("upload", async () => (await fetch(`${registry}/v2/team-a/app/blobs/uploads/`, blind)).type);
  const image = new Image();
  await tell("image", () => new Promise((yes, no) => { image.onload = yes; image.onerror = no; image.src = `${registry}/-/assets/icon.svg` }));
  const frame = document.createElement("iframe");
  frame.src = `${registry}/`;
  await tell("frame", () => new Promise((yes) => { frame.onload = () => yes(frame.contentDocument === null ? "nothing to read" : "read"); document.body.append(frame) }));
  return got;
}"""  # noqa: E501


@pytest.fixture
def page(deployed: World) -> Iterator[Page]:
    """A page of a browser on this machine that finds the sandbox's server under its name."""
    if not chromium():
        pytest.skip("there is no Chromium: apt-get install chromium")
    port = deployed.sandbox.port(443)
    with sync_playwright() as playwright:
        found = [*ARGUMENTS, f"--host-resolver-rules=MAP *.{DOMAIN} 127.0.0.1, MAP {DOMAIN} 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=chromium(), args=found)
        # Of the sandbox's authority the browser knows nothing.
        context = browser.new_context(
            base_url=f"https://{DOMAIN}:{port}", ignore_https_errors=True, locale="en-GB", reduced_motion="reduce"
        )
        context.set_default_timeout(20_000)
        yield context.new_page()
        browser.close()


@pytest.fixture
def filled(deployed: World) -> World:
    """Images of all kinds are there, and cron has seen them."""
    authority = deployed.sandbox.directory / "ca.pem"
    registry = Registry(DOMAIN, deployed.sandbox.port(443), authority, f"{USER}:{PASSWORD}")
    assert push(small(int(time.time()), real=True), registry) > 10
    minute(deployed)
    return deployed


def sign_in(page: Page, password: str = PASSWORD) -> None:
    page.goto("/")
    page.locator("main").get_by_role("button", name="Sign in").click()
    fill_in(page, USER, password)


def test_from_the_form_to_an_image_and_a_delete_that_is_undone(filled: World, page: Page) -> None:
    """And no other site does any of it, with the same browser signed in."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if "Policy" in message.text else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    sign_in(page, "wrong")
    expect(page.get_by_role("alert")).to_have_text("Wrong name or password.")
    sign_in(page)
    expect(page.get_by_role("link", name="team-a/app", exact=True)).to_be_visible()
    expect(page.locator(".repositories .row", has_text="charts/web")).to_contain_text("Helm chart")
    page.get_by_role("link", name="team-a/app", exact=True).click()
    expect(page.locator('.row[data-tag="1.10.0"]').get_by_role("img", name="signed", exact=True)).to_be_visible()
    page.goto("/team-a/app:1.10.0?with=1.9")
    expect(page.locator(".verdict")).to_contain_text("Whoever has 1.9 downloads 20 kB for this one.")
    page.get_by_label("Compare with").select_option("")
    expect(page.locator(".layers li")).to_have_count(4)
    expect(page.locator(".below")).to_contain_text("attestation")
    for other in (f"https://evil.{DOMAIN}", "https://evil.example"):
        assert attacked(page, other, filled) == {
            "me": "refused", "list": "refused", "delete": "refused", "image": "refused",
            "logout": "refused", "upload": "refused", "frame": "nothing to read",
        }, other  # fmt: skip
    page.goto("/team-a/app")
    page.get_by_label("Select 1.9", exact=True).check()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator('.row[data-tag="1.9"]')).to_have_count(0)
    login = ("-u", f"{USER}:{PASSWORD}")
    manifest = "/v2/team-a/app/manifests/1.9"
    accepted = ("-H", "Accept: application/vnd.oci.image.index.v1+json")
    assert filled.status(manifest, *login, *accepted) == 404
    page.get_by_role("button", name="Undo").click()
    expect(page.locator('.row[data-tag="1.9"]')).to_have_count(1)
    assert filled.status(manifest, *login, *accepted) == 200
    # /v2/ knows nothing of the session: it asks, and a browser without a window has nobody to ask.
    with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
        page.goto("/v2/")
    assert complaints == []


def attacked(page: Page, origin: str, world: World) -> object:
    """What a page of another origin got, in a tab of the same browser. Nothing changed by it."""
    foreign = page.context.new_page()
    foreign.route(f"{origin}/**", lambda route: route.fulfill(content_type="text/html", body="<body>Hello"))
    foreign.goto(f"{origin}/")
    got = foreign.evaluate(ATTACK, f"https://{DOMAIN}:{world.sandbox.port(443)}")
    foreign.close()
    assert page.evaluate("async () => (await (await fetch('/-/me')).json()).account") == USER
    assert world.server(
        "ls /docker-registry/data/docker/registry/v2/repositories/team-a/app/_uploads | wc -l"
    ).strip() in ("0", "")
    return got
