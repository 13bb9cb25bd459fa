"""One Chromium for all tests of a file; a page of its own, and a server of its own, for each test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.sandbox.engine import chromium as chromium_path

from .made import Content, small
from .served import Account, Site, serving

# The machine may be busy with other tests.
expect.set_options(timeout=20_000)
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PASSWORD = "correct horse"
ACCOUNTS = {
    "anna": Account(PASSWORD, "admin"),
    "boris": Account(PASSWORD, "push", ["team-a/*"]),
    "carla": Account(PASSWORD, "pull"),
    "dora": Account(PASSWORD, "admin", ["team-b/*", "empty/*"]),
}


# Not longer: while it is there this thread has an event loop, and other tests could begin none.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not chromium_path():
        pytest.skip("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
        yield browser
        browser.close()


def fill_in(page: Page, name: str, password: str) -> None:
    """The form for signing in, which is open."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.locator("dialog").get_by_role("button", name="Sign in").click()


@dataclass
class Visit:
    """Somebody looks at a site. What the browser complained of is in `complaints`, where requests went in `origins`."""

    page: Page
    site: Site
    address: str
    complaints: list[str] = field(default_factory=list)
    origins: set[str] = field(default_factory=set)

    def sign_in(self, name: str = "anna") -> None:
        """As somebody who signed in before."""
        token = (name.encode().hex() + "0" * 64)[:64]
        self.site.sessions[token] = name
        self.page.context.add_cookies([{"name": "session", "value": token, "url": self.address, "httpOnly": True}])

    def open(self, path: str, shown: str = "main h1, main h2") -> Page:
        """Go there, and wait until something is shown."""
        self.page.goto(self.address + path)
        self.page.wait_for_selector(shown)
        return self.page


@pytest.fixture
def visit_of(chromium: Browser) -> Iterator[Callable[..., Visit]]:
    """A function that opens a page of a site: visit_of(site, width=360, ...)."""
    opened: list[tuple[BrowserContext, Visit]] = []
    servers = []

    def visit(site: Site, *, width: int = 1280, height: int = 860, locale: str = "en-GB", dark: bool = False) -> Visit:
        server = serving(site)
        address = server.__enter__()
        servers.append(server)
        context = chromium.new_context(
            viewport={"width": width, "height": height}, locale=locale, color_scheme="dark" if dark else "light",
            permissions=["clipboard-read", "clipboard-write"], reduced_motion="reduce",
        )  # fmt: skip
        context.set_default_timeout(20_000)
        found = Visit(context.new_page(), site, address)
        opened.append((context, found))

        def heard(message: ConsoleMessage) -> None:
            # What was refused is for the test to judge.
            if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
                found.complaints.append(message.text)

        found.page.on("console", heard)
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.on("request", lambda request: found.origins.add(request.url.split("/-/")[0].split("?")[0]))
        return found

    yield visit
    for context, found in opened:
        context.close()
        assert found.complaints == []
        assert all(origin.startswith(found.address) for origin in found.origins), found.origins
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture
def site() -> Site:
    """The small registry, with an account of each kind."""
    return Site(content(), dict(ACCOUNTS))


def content() -> Content:
    return small(int(time.time()))


@pytest.fixture
def visit(visit_of: Callable[..., Visit], site: Site) -> Visit:
    return visit_of(site)


@pytest.fixture
def anna(visit: Visit) -> Visit:
    """An admin, signed in."""
    visit.sign_in("anna")
    return visit
