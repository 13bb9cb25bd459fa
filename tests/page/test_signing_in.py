"""Signing in and out, sessions that end, and who sees what."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from .conftest import PASSWORD, Visit, content, fill_in
from .made import Content
from .served import Account, Site


def signed_in(visit: Visit, name: str, password: str) -> None:
    fill_in(visit.page, name, password)


def test_sign_in_look_and_sign_out(visit: Visit) -> None:
    page = visit.open("/")
    expect(page.locator("main")).to_contain_text("This registry is private")
    page.locator("main").get_by_role("button", name="Sign in").click()
    signed_in(visit, "anna", "wrong")
    expect(page.get_by_role("alert")).to_have_text("Wrong name or password.")
    signed_in(visit, "anna", PASSWORD)
    expect(page.locator(".repositories a.open")).to_have_count(len(visit.site.content.tags))
    expect(page.locator("dialog")).to_have_count(0)
    page.get_by_role("link", name="anna").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("main")).to_contain_text("This registry is private")
    page.go_back()
    expect(page.locator("main")).to_contain_text("You are not signed in")
    assert page.evaluate("Object.keys(localStorage).concat(Object.keys(sessionStorage))") == []


def test_a_name_and_a_password_of_any_letters(visit_of: Callable[..., Visit]) -> None:
    visit = visit_of(Site(content(), {"anna": Account("пароль: ©", "pull")}))
    visit.open("/").locator("main").get_by_role("button", name="Sign in").click()
    signed_in(visit, "anna", "пароль: ©")
    expect(visit.page.locator(".repositories a.open")).not_to_have_count(0)


def test_too_many_attempts_are_counted_down(visit: Visit) -> None:
    visit.site.limited_for = 2
    page = visit.open("/")
    page.locator("main").get_by_role("button", name="Sign in").click()
    signed_in(visit, "anna", PASSWORD)
    button = page.locator("dialog").get_by_role("button", name="Sign in")
    expect(page.get_by_role("timer")).to_contain_text("again in")
    expect(button).to_be_disabled()
    visit.site.limited_for = 0
    expect(button).to_be_enabled()
    button.click()
    expect(page.locator(".repositories a.open")).not_to_have_count(0)


def test_the_session_ends_while_the_page_is_open(anna: Visit) -> None:
    """As `htpasswd` does it: whoever signs in again goes on where they were."""
    page = anna.open("/")
    anna.site.sessions.clear()
    page.get_by_role("link", name="team-a/app").click()
    expect(page.locator("dialog")).to_contain_text("Your session is over")
    expect(page.get_by_label("Name")).to_have_value("anna")
    signed_in(anna, "anna", PASSWORD)
    expect(page.locator("h1")).to_have_text("team-a/app")
    expect(page.locator(".tags-of a.open").first).to_be_visible()


def test_somebody_else_signs_in_and_sees_their_own(anna: Visit) -> None:
    page = anna.open("/team-b/odd")
    anna.site.sessions.clear()
    page.goto(anna.address + "/team-b/odd")
    page.get_by_role("button", name="Sign in").first.click()
    signed_in(anna, "boris", PASSWORD)
    expect(page.get_by_role("link", name="boris")).to_be_visible()
    expect(page.locator("main")).to_contain_text("Not here, or not for you")


@pytest.mark.parametrize(
    ("name", "seen"),
    [("anna", 6), ("carla", 6), ("boris", 2), ("dora", 1), ("", 1)],
)
def test_each_sees_what_they_may_pull(visit_of: Callable[..., Visit], name: str, seen: int) -> None:
    site = Site(content(), {"anna": Account("x", "admin"), "carla": Account("x", "pull"),
                            "boris": Account("x", "push", ["team-a/*"]), "dora": Account("x", "admin", ["team-b/*"])},
                public=["base"] if not name else [])  # fmt: skip
    visit = visit_of(site)
    if name:
        visit.sign_in(name)
    page = visit.open("/")
    expect(page.locator(".repositories a.open")).to_have_count(seen)
    expect(page.locator(".strip")).to_have_count(1 if name == "anna" else 0)
    page.goto(visit.address + "/team-b/odd")
    page.wait_for_selector("h1, h2")
    may = name in ("anna", "carla", "dora")
    expect(page.locator("main")).to_contain_text("1 tag" if may else "Not here, or not for you")
    expect(page.locator(".choose input")).to_have_count(1 if name in ("anna", "dora") else 0)


def test_an_account_without_repositories_is_told_what_to_push(visit_of: Callable[..., Visit]) -> None:
    visit = visit_of(Site(Content(0), {"boris": Account("x", "push", ["team-x/*", "one/name"])}))
    visit.sign_in("boris")
    page = visit.open("/")
    expect(page.locator("main")).to_contain_text("team-x/*, one/name")
    expect(page.locator(".command").last).to_contain_text(
        f"docker push {visit.address.removeprefix('http://')}/one/name:1.0"
    )
