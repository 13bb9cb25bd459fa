"""Deleting tags, what is named before, and bringing them back, where a tag goes alone and where it does not."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from .conftest import ACCOUNTS, Visit, content
from .made import Content, Tag
from .served import Site


@pytest.fixture(params=[True, False], ids=["3.x", "2.8"])
def by_tag(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def admin(visit_of: Callable[..., Visit], by_tag: bool) -> Visit:
    visit = visit_of(Site(content(), dict(ACCOUNTS), tag_delete=by_tag))
    visit.sign_in()
    return visit


def chosen(page: Page, *tags: str) -> None:
    for tag in tags:
        page.get_by_label(f"Select {tag}", exact=True).check()
    page.get_by_role("button", name="Delete…").click()


def confirm(page: Page) -> None:
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_twin_far_below_is_named_and_all_comes_back(visit_of: Callable[..., Visit], by_tag: bool) -> None:
    """The twin is on row 190: whoever deletes row 1 has never seen it."""
    made, now = Content(int(time.time())), int(time.time())
    for number in range(200):
        digest, size = made.image("many/tags", salt="same" if number in (0, 189) else str(number))
        made.tag("many/tags", f"t{number}", Tag(digest, size, now - number * 60, kind="image"))
    visit = visit_of(Site(made, dict(ACCOUNTS), tag_delete=by_tag))
    visit.sign_in()
    page = visit.open("/many/tags", ".tags-of a.open")
    before = {name: tag.digest for name, tag in made.tags["many/tags"].items()}
    chosen(page, "t0")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("dl")).to_contain_text("t189")
    expect(dialog.locator("dl")).to_contain_text("Stays" if by_tag else "Goes too")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    confirm(page)
    gone = {"t0"} if by_tag else {"t0", "t189"}
    assert set(before) - set(made.tags["many/tags"]) == gone
    expect(page.locator('.row[data-tag="t0"]')).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator('.row[data-tag="t0"]')).to_have_count(1)
    assert {name: tag.digest for name, tag in made.tags["many/tags"].items()} == before


def test_many_at_once_with_signatures_by_keys_alone(admin: Visit, by_tag: bool) -> None:
    tags, hung = admin.site.content.tags["team-a/app"], admin.site.content.hung["team-a/app"]
    before = {name: tag.digest for name, tag in tags.items()}
    page = admin.open("/team-a/app?sort=name", ".tags-of a.open")
    for tag in ("1.10.0", "1.10", "1", "latest"):
        page.get_by_label(f"Select {tag}", exact=True).focus()
        page.keyboard.press("Space")
    page.get_by_role("button", name="Delete…").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete 4 tags of team-a/app?")
    expect(dialog).to_contain_text("1 signature or attestation")
    expect(dialog).to_contain_text("9 hours ago")
    expect(dialog.get_by_role("button", name="Delete")).to_be_enabled()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    assert len(tags) == len(before) - 4
    assert hung == {}
    page.get_by_role("button", name="Undo").click()
    expect(page.locator('.row[data-tag="latest"]')).to_have_count(1)
    assert {name: tag.digest for name, tag in tags.items()} == before
    assert len(hung) == 1


def test_a_push_between_looking_and_deleting_stops_it(admin: Visit) -> None:
    tags = admin.site.content.tags["team-a/app"]
    page = admin.open("/team-a/app", ".tags-of a.open")
    tags["1.9"] = tags["1.2"]
    chosen(page, "1.9")
    expect(page.get_by_role("dialog")).to_contain_text("Somebody pushed again in between: 1.9")
    expect(page.get_by_role("dialog").get_by_role("button", name="Delete")).to_have_count(0)
    assert "1.9" in tags


def test_a_push_after_the_dialog_opened_stops_it_and_says_what_was_done(admin: Visit) -> None:
    tags = admin.site.content.tags["team-a/app"]
    page = admin.open("/team-a/app", ".tags-of a.open")
    chosen(page, "1.9", "1.1")
    expect(page.get_by_role("dialog").get_by_role("button", name="Delete")).to_be_enabled()
    tags["1.1"] = tags["1.2"]
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_contain_text("1 was deleted before")
    assert "1.9" not in tags
    assert tags["1.1"] == tags["1.2"]
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator('.row[data-tag="1.9"]')).to_have_count(1)


def test_a_part_of_an_index_does_not_go_by_digest(admin: Visit, by_tag: bool) -> None:
    """On 2.8 the manifest itself would go, and the index would be a wreck."""
    made = admin.site.content
    member, size = made.image("team-a/app", salt="1.9")
    index = made.index("team-a/app", [("amd64", member)])
    made.tag("team-a/app", "amd64-alone", Tag(member, size, made.now))
    made.tag("team-a/app", "whole", Tag(index, size, made.now, kind="index"))
    admin.site.tick()
    page = admin.open("/team-a/app", ".tags-of a.open")
    chosen(page, "amd64-alone")
    dialog = page.get_by_role("dialog")
    if by_tag:
        confirm(page)
    else:
        expect(dialog).to_contain_text("Refused: it is a part of whole")
        expect(dialog.get_by_role("button", name="Delete")).to_have_count(0)
    assert ("amd64-alone" in made.tags["team-a/app"]) == (not by_tag)
    assert ("team-a/app", member) in made.manifests


def test_an_undo_does_not_touch_what_was_pushed_since(admin: Visit) -> None:
    tags = admin.site.content.tags["team-a/app"]
    page = admin.open("/team-a/app", ".tags-of a.open")
    chosen(page, "1.9")
    confirm(page)
    tags["1.9"] = tags["1.2"]
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".undo")).to_contain_text("1.9 was pushed anew in between")
    assert tags["1.9"] == tags["1.2"]


def test_a_tag_without_a_manifest(admin: Visit, by_tag: bool) -> None:
    page = admin.open("/team-a/app", ".tags-of a.open")
    chosen(page, "broken")
    dialog = page.get_by_role("dialog")
    if by_tag:
        expect(dialog).to_contain_text("not for broken, whose manifest cannot be read")
        confirm(page)
    else:
        expect(dialog).to_contain_text("./fab images --delete")
    assert ("broken" in admin.site.content.tags["team-a/app"]) == (not by_tag)


def test_from_the_image_back_to_its_repository(admin: Visit) -> None:
    page = admin.open("/team-a/app:1.9", ".layers")
    page.get_by_role("button", name="Delete…").click()
    confirm(page)
    expect(page.locator("h1")).to_have_text("team-a/app")
    expect(page.locator('.row[data-tag="1.9"]')).to_have_count(0)


def test_whoever_may_not_delete_is_offered_nothing(visit: Visit) -> None:
    visit.sign_in("boris")
    page = visit.open("/team-a/app", ".tags-of a.open")
    expect(page.locator("input[type=checkbox]")).to_have_count(1)
    visit.open("/team-a/app:1.9", ".layers")
    expect(page.get_by_role("button", name="Delete…")).to_have_count(0)
