"""One image: platforms, layers, config, what hangs under it, other kinds, and comparing."""

from __future__ import annotations

from playwright.sync_api import expect

from .conftest import Visit
from .made import MARKUP, digest_of


def test_platforms_layers_config_and_what_hangs_under_it(anna: Visit) -> None:
    page = anna.open("/team-a/app:1.10.0", ".layers")
    expect(page.get_by_role("tab")).to_have_text(["linux/amd64", "linux/arm64/v8"])
    expect(page.locator(".layers li")).to_have_count(4)
    expect(page.locator(".layers li").nth(1)).to_contain_text("RUN apt-get update")
    expect(page.locator(".facts")).to_contain_text("1.10 1 latest")
    expect(page.locator(".below li")).to_have_count(2)
    expect(page.locator(".below")).to_contain_text("signature")
    first = page.locator(".layers .digest").first.inner_text()
    page.get_by_role("tab").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="linux/arm64/v8")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".layers .digest").first).not_to_have_text(first)
    page.reload()
    expect(page.get_by_role("tab", name="linux/arm64/v8")).to_have_attribute("aria-selected", "true")


def test_it_costs_the_registry_few_requests(anna: Visit) -> None:
    """The manifest, the platform's own with its config, the tags beside it, and what hangs there."""
    anna.open("/team-a/app:1.9", ".layers")
    anna.page.wait_for_load_state("networkidle")
    asked = [line for line in anna.site.asked if "/-/v2/" in line]
    assert len(asked) == 4, asked


def test_a_value_that_looks_like_a_secret_is_covered(anna: Visit) -> None:
    page = anna.open("/team-a/app:1.10.0", ".layers")
    assert "hunter2" not in page.locator("main").inner_text()
    page.get_by_text("covered, as it looks like a secret").click()
    expect(page.get_by_text("hunter2")).to_be_visible()


def test_markup_and_other_directions_stay_text(anna: Visit) -> None:
    page = anna.open("/team-b/odd:1", ".layers")
    assert MARKUP in page.locator(".pairs").all_inner_texts()[1] + page.locator(".pairs").all_inner_texts()[2]
    assert page.locator("main img, main script").count() == 0
    expect(page.locator('main a[href^="javascript"]')).to_have_count(0)
    expect(page.locator("details.long").first).to_contain_text("65,536 characters")


def test_only_an_address_of_https_becomes_a_link(anna: Visit) -> None:
    page = anna.open("/team-a/app:1.10.0", ".layers")
    link = page.get_by_role("link", name="https://git.example.com/team-a/app")
    expect(link).to_have_attribute("rel", "noopener noreferrer")


def test_other_kinds_say_what_they_are(anna: Visit) -> None:
    page = anna.open("/charts/web:0.4.1", ".layers")
    expect(page.locator(".title")).to_contain_text("Helm chart")
    expect(page.locator("main")).to_contain_text("The web shop")
    anna.open("/models/tiny:2026-11", ".layers")
    expect(page.get_by_role("link", name="download")).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("link", name="download").first.click()
    assert download.value.suggested_filename == "weights.bin"
    anna.open("/team-a/app:buildcache", ".layers")
    expect(page.locator("main")).to_contain_text("It cannot be run")
    anna.open("/team-a/app:1.10.0", ".below")
    page.locator(".below a").first.click()
    expect(page.locator(".title")).to_contain_text("signature")


def test_an_index_without_one_of_its_members(anna: Visit) -> None:
    content = anna.site.content
    tag = content.tags["team-a/app"]["1.9"]
    manifests = [key for key in content.manifests if key[0] == "team-a/app"]
    text = content.manifests["team-a/app", tag.digest][1].decode()
    missing = next(
        digest
        for _, digest in manifests
        if digest in text and b"layer.v1.tar" in content.manifests["team-a/app", digest][1]
    )
    del content.manifests["team-a/app", missing]
    page = anna.open("/team-a/app:1.9", ".message")
    expect(page.locator(".message")).to_contain_text("This part cannot be read")
    page.get_by_role("tab").last.click()
    expect(page.locator(".layers")).to_be_visible()


def test_compared_with_another_tag(anna: Visit) -> None:
    page = anna.open("/team-a/app:1.10.0", ".layers")
    page.get_by_label("Compare with").select_option("1.9")
    expect(page.locator(".verdict")).to_have_text("Whoever has 1.9 downloads 19.7 MB for this one.")
    expect(page.locator(".comparison")).to_contain_text("2 layers are the same, 40.3 MB")
    expect(page.locator(".plus")).to_have_text("+new: APP_VERSION=1.10.0")
    expect(page.locator(".minus")).to_have_text("−gone: APP_VERSION=1.9")
    assert page.url.endswith("/team-a/app:1.10.0?with=1.9")
    page.reload()
    expect(page.locator(".verdict")).to_be_visible()


def test_by_digest_and_an_image_that_is_not_there(anna: Visit) -> None:
    digest = anna.site.content.tags["base"]["12"].digest
    page = anna.open(f"/base@{digest}", ".layers")
    expect(page.locator(".pull code")).to_contain_text(f"@{digest}")
    anna.open(f"/base@{digest_of(b'nothing')}", ".message")
    expect(page.locator(".message")).to_contain_text("Not here, or not for you")


def test_the_account_and_for_admins_the_server(anna: Visit) -> None:
    page = anna.open("/#-/account", ".events")
    expect(page.locator("main")).to_contain_text("Your role is admin")
    expect(page.locator(".lines")).to_contain_text("--password-stdin")
    expect(page.locator("tbody tr")).to_have_count(4)
    page.get_by_label("Who may do something in").fill("team-b/odd")
    expect(page.locator("tbody td:first-child")).to_have_text(["anna", "carla", "dora"])
    expect(page.locator(".facts")).to_contain_text("would remove 3 tags")
    expect(page.locator(".events li").first).to_contain_text("ci pushed team-a/app:1.10.0")


def test_a_limited_account_sees_its_patterns_and_nothing_of_the_server(visit: Visit) -> None:
    visit.sign_in("boris")
    page = visit.open("/#-/account", ".lines")
    expect(page.locator("main")).to_contain_text("team-a/*")
    expect(page.locator("main")).to_contain_text("2 repositories now")
    expect(page.locator("table, .events")).to_have_count(0)
    assert not [line for line in visit.site.asked if "accounts.json" in line or "disk.json" in line]
