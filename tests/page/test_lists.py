"""Repositories and their tags: order, search, keys, copying, and what goes wrong with a list."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from .conftest import ACCOUNTS, Visit, content
from .served import Site


def names(page: Page, where: str) -> list[str]:
    return [text.strip() for text in page.locator(f"{where} a.open").all_inner_texts()]


def clipboard(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_repositories_newest_first_then_in_other_orders(anna: Visit) -> None:
    page = anna.open("/")
    assert names(page, ".repositories")[:3] == ["team-a/app", "team-a/worker", "charts/web"]
    expect(page.locator(".repositories .row").nth(3)).to_contain_text("Helm chart")
    page.get_by_role("button", name="Name").click()
    assert names(page, ".repositories") == [
        "base",
        "charts/web",
        "models/tiny",
        "team-a/app",
        "team-a/worker",
        "team-b/odd",
    ]
    assert page.url.endswith("/?sort=name")
    page.get_by_role("button", name="team-a/").click()
    assert "team-a/app" not in names(page, ".repositories")
    page.reload()
    expect(page.locator("[role=columnheader].name")).to_have_attribute("aria-sort", "ascending")


def test_one_box_finds_repositories_tags_and_digests(anna: Visit) -> None:
    page = anna.open("/")
    page.keyboard.press("/")
    page.keyboard.type("worker")
    assert names(page, ".repositories") == ["team-a/worker"]
    box = page.get_by_role("searchbox")
    box.fill("1.10.0")
    expect(page.locator(".in-tags li")).to_have_count(2)
    digest = anna.site.content.tags["base"]["12"].digest
    for text in (digest[:19], digest[7:12], f"localhost/base@{digest}"):
        box.fill(text)
        expect(page.locator(".in-tags li")).to_have_count(2)
        assert "base:12" in page.locator(".in-tags").inner_text()
    box.fill(f"docker pull {anna.address.removeprefix('http://')}/team-a/worker:main")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("team-a/worker:main")


def test_keys_alone_go_everywhere(anna: Visit) -> None:
    page = anna.open("/", ".repositories a.open")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("y")
    host = anna.address.removeprefix("http://")
    assert clipboard(page) == f"docker pull {host}/team-a/app:1.10.0"
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("team-a/app")
    page.wait_for_selector(".tags-of a.open")
    page.keyboard.press("s")
    expect(page.locator("[role=columnheader].name")).to_have_attribute("aria-sort", "ascending")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("y")
    page.wait_for_selector(".copied")
    assert clipboard(page) == f"docker pull {host}/team-a/app:latest"
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("copy the pull command")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("u")
    expect(page.locator("h1")).to_have_text("Repositories")


def test_tags_in_natural_order_with_their_twins(anna: Visit) -> None:
    page = anna.open("/team-a/app?sort=name", ".tags-of a.open")
    shown = names(page, ".tags-of")
    assert shown == ["latest", "buildcache", "broken", "1.10.0", "1.10.0-rc.1", "1.10", "1.9", "1.2", "1.1", "1.0", "1"]
    row = page.locator('.row[data-tag="1.10"]')
    expect(row).to_contain_text("= 1.10.0 = 1 = latest")
    expect(row.get_by_role("img", name="signed", exact=True)).to_be_visible()
    expect(page.locator('.row[data-tag="buildcache"]')).to_contain_text("build cache")
    expect(page.locator('.row[data-tag="broken"]')).to_contain_text("its manifest is not there")
    expect(page.locator('.row[data-tag="1.0"]')).to_contain_text("would go by the rules: older than the 10 newest")


def test_the_line_for_each_client_by_tag_and_by_digest(anna: Visit) -> None:
    page = anna.open("/team-a/app", ".pull")
    page.get_by_role("button", name="podman").click()
    page.get_by_label("by digest").check()
    page.locator(".pull .copy").click()
    page.wait_for_selector(".copied")
    digest = anna.site.content.tags["team-a/app"]["1.10.0"].digest
    assert clipboard(page) == f"podman pull {anna.address.removeprefix('http://')}/team-a/app@{digest}"
    page.goto(anna.address + "/charts/web")
    expect(page.locator(".pull code")).to_contain_text("helm pull oci://")


def test_what_was_pushed_or_deleted_just_now_is_seen_before_the_list_is_new(anna: Visit) -> None:
    tags = anna.site.content.tags["team-a/app"]
    tags["new"] = tags["1.9"]
    del tags["1.2"]
    page = anna.open("/team-a/app", '.row[data-tag="new"]')
    expect(page.locator('.row[data-tag="new"]')).to_contain_text("just now")
    expect(page.locator('.row[data-tag="1.2"]')).to_have_count(0)


def test_cron_does_not_run(visit_of: Callable[..., Visit]) -> None:
    visit = visit_of(Site(content(), dict(ACCOUNTS), data_age=240))
    visit.sign_in()
    expect(visit.open("/").locator(".banner")).to_contain_text("the server's cron does not run")


def test_the_registry_is_down_and_comes_back(anna: Visit) -> None:
    """Lists are files and stay; details say later, and come without a reload."""
    anna.site.registry_down = True
    page = anna.page
    page.clock.install()
    anna.open("/team-a/app", ".tags-of a.open")
    expect(page.locator(".banner")).to_contain_text("does not answer just now")
    page.goto(anna.address + "/team-a/app:1.9")
    expect(page.locator("h2")).to_have_text("No answer")
    anna.site.registry_down = False
    page.clock.run_for(11_000)
    expect(page.locator(".layers")).to_be_visible()
    expect(page.locator(".banner")).to_have_count(0)


def test_a_list_that_is_being_made(anna: Visit) -> None:
    page = anna.page
    page.clock.install()
    del anna.site.index["views/all.json"]
    anna.open("/")
    expect(page.locator("h2")).to_have_text("Your list is being made")
    anna.site.tick()
    page.clock.run_for(11_000)
    expect(page.locator(".repositories a.open")).not_to_have_count(0)


def test_empty_and_unknown_places(anna: Visit) -> None:
    anna.site.content.tags["empty/one"] = {}
    anna.site.index["r/empty/one/_tags.json"] = {"made": 0, "repository": "empty/one", "tags": [], "untagged": 3}
    expect(anna.open("/empty/one", ".message").locator(".message")).to_contain_text("No tags")
    expect(anna.open("/no/such", ".message").locator(".message")).to_contain_text("Not here, or not for you")
    expect(anna.open("/Not_An_Image!", ".message").locator(".message")).to_contain_text("Nothing here")
