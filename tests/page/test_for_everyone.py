"""For people with a screen reader, a phone, another language or a dark room; and what the browser must refuse."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Request, expect

from .conftest import ACCOUNTS, Visit, content
from .made import Content, huge, large
from .served import POLICY, Site

PLACES = ("/", "/team-a/app", "/team-a/app:1.10.0", "/#-/account")
WIDTHS = (360, 1280)


def states(visit: Visit) -> Iterator[str]:
    """Each screen, and each dialog over one: the page is there, and what it is."""
    page = visit.page
    for place in PLACES:
        page.goto("about:blank")
        visit.open(place)
        page.wait_for_load_state("networkidle")
        yield place
    visit.open("/team-a/app:1.10.0?with=1.9", ".comparison")
    yield "compared"
    visit.open("/?q=1.1", ".in-tags")
    yield "searched"
    visit.open("/team-a/app", ".tags-of input")
    page.locator(".tags-of input").nth(2).check()
    page.locator(".selection .danger").click()
    page.wait_for_selector("dialog .full:enabled")
    yield "delete"
    page.locator("dialog .full").click()
    page.wait_for_selector(".undo")
    yield "undo"
    visit.site.sessions.clear()
    page.goto(visit.address)
    page.wait_for_selector("main button")
    page.locator("main button").first.click()
    page.wait_for_selector("dialog form")
    yield "sign-in"


def violations(page: Page) -> list[str]:
    # What begins to move is looked at when it is there.
    found = Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    return [f"{it['id']}: {node['html'][:160]}" for it in found.response["violations"] for node in it["nodes"]]


def looked_at(visit: Visit, width: int, last: str = "") -> dict[str, list[str]]:
    """What is wrong in each state, up to the last one."""
    visit.sign_in()
    found: dict[str, list[str]] = {}
    for state in states(visit):
        wrong = violations(visit.page)
        if visit.page.evaluate("document.documentElement.scrollWidth") > width:
            wrong.append("wider than the screen")
        if wrong:
            found[state] = wrong
        if state == last:
            break
    return found


def test_axe_finds_what_is_wrong(anna: Visit) -> None:
    page = anna.open("/")
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert [text.split(":")[0] for text in violations(page)] == ["button-name"]


def test_axe_finds_nothing_on_a_phone_in_the_dark_in_russian(visit_of: Callable[..., Visit], site: Site) -> None:
    """All the others, with all screens, are long."""
    assert looked_at(visit_of(site, width=360, height=740, locale="ru-RU", dark=True), 360, "/team-a/app") == {}


@pytest.mark.long
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("locale", ["en-GB", "ru-RU"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(visit_of: Callable[..., Visit], site: Site, width: int, locale: str, dark: bool) -> None:
    assert looked_at(visit_of(site, width=width, locale=locale, dark=dark), width) == {}


def test_language_and_theme_are_chosen_and_kept_and_nothing_else_is(anna: Visit) -> None:
    page = anna.open("/")
    page.get_by_label("Language").select_option("ru")
    expect(page.locator("h1")).to_have_text("Репозитории")
    page.get_by_label("Тема").select_option("dark")
    light, dark = "rgb(251, 250, 248)", "rgb(22, 21, 20)"
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == dark
    page.reload()
    expect(page.locator("h1")).to_have_text("Репозитории")
    assert page.evaluate(background) == dark
    assert page.evaluate("document.documentElement.lang") == "ru"
    page.get_by_label("Тема").select_option("system")
    assert page.evaluate(background) == light
    assert page.evaluate("[Object.keys(localStorage), Object.keys(sessionStorage), document.cookie]") == [
        ["lang"],
        [],
        "",
    ]


def test_the_policy_refuses_what_markup_could_bring(anna: Visit) -> None:
    page = anna.open("/")
    tried = page.evaluate(
        """async () => {
          const refused = [];
          addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
          const place = document.querySelector("main");
          try { place.innerHTML = "<b>x</b>"; } catch { refused.push("innerHTML"); }
          const image = document.createElement("img"); image.src = "http://127.0.0.1:9/x.png"; place.append(image);
          const styled = document.createElement("p"); styled.setAttribute("style", "color: red"); place.append(styled);
          await fetch("http://127.0.0.1:9/").catch(() => refused.push("fetch"));
          while (refused.length < 6) await new Promise((done) => setTimeout(done, 10));
          return [...new Set(refused)].sort();
        }"""
    )
    assert tried == ["connect-src", "fetch", "img-src", "innerHTML", "require-trusted-types-for", "style-src-attr"]
    anna.complaints.clear()
    anna.origins.clear()
    assert "unsafe" not in POLICY


def test_a_script_of_before_an_upgrade_is_loaded_anew_once(anna: Visit) -> None:
    """The page is open, the server has other files: the next screen's module is gone."""
    page = anna.open("/", ".repositories a.open")
    page.route("**/repository.js", lambda route: route.fulfill(status=404))
    with page.expect_navigation(wait_until="load"):
        page.get_by_role("link", name="team-a/app").click()
    # Once, not again and again.
    expect(page.locator("main h2")).to_have_text("That went wrong")
    page.unroute("**/repository.js")
    page.reload()
    expect(page.locator("h1")).to_have_text("team-a/app")


@pytest.mark.parametrize("made", [large, huge], ids=["2,000 tags", "10,000 tags"])
def test_the_last_row_is_there_and_found(visit_of: Callable[..., Visit], made: Callable[[int], Content]) -> None:
    registry = made(int(time.time()))
    repository = "huge/all" if made is huge else "big/two-thousand"
    tags = registry.tags[repository]
    visit = visit_of(Site(registry, dict(ACCOUNTS)))
    visit.sign_in()
    page = visit.open(f"/{repository}", ".tags-of a.open")
    last = min(tags, key=lambda tag: tags[tag].pushed)
    row = page.locator(f'.row[data-tag="{last}"]')
    # The end moves down while rows that are higher than foreseen come in.
    page.wait_for_function(
        "(tag) => { scrollTo(0, 1e9); return !!document.querySelector(`.row[data-tag='${tag}']`) }", arg=last
    )
    expect(row).to_be_in_viewport()
    expect(row).to_have_attribute("aria-rowindex", str(len(tags) + 1))
    page.get_by_role("searchbox").fill(last)
    expect(page.locator(".tags-of a.open").first).to_have_text(last)
    page.get_by_role("searchbox").fill("")
    page.keyboard.press("Escape")
    # Over the edge of a chunk that nobody has seen.
    for _ in range(101):
        page.keyboard.press("j")
    expect(page.locator('[aria-rowindex="102"] a.open')).to_be_focused()


def test_first_visit_is_light(visit_of: Callable[..., Visit]) -> None:
    """The budget of the page: 40 KB over the wire and 10 requests, data aside."""
    visit = visit_of(Site(content(), dict(ACCOUNTS)))
    visit.sign_in()
    received: dict[str, int] = {}

    def finished(request: Request) -> None:
        received[request.url] = request.sizes()["responseBodySize"]

    visit.page.on("requestfinished", finished)
    visit.open("/", ".repositories a.open").wait_for_load_state("networkidle")
    files = {url: size for url, size in received.items() if "/-/data/" not in url and "/-/me" not in url}
    assert len(files) <= 10, sorted(files)
    assert sum(files.values()) <= 40_000
