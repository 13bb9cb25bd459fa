"""`./inv docs --screenshots`: the pictures of the page in the README and in docs/page.md."""

from __future__ import annotations

import sys
import time
from urllib.parse import urlsplit

from playwright.sync_api import sync_playwright

from tests.sandbox.commands import ROOT
from tests.sandbox.engine import chromium

from .conftest import ARGUMENTS
from .made import small
from .served import Account, Site, serving

HOST = "registry.example.com"
PLACES = {"repository": "/team-a/app", "image": "/team-a/app:1.10.0"}
SIZE = (1180, 780)
TOKEN = "0" * 64


def main() -> None:
    """Write docs/page-SCREEN-THEME.png."""
    if not chromium():
        sys.exit("there is no Chromium: apt-get install chromium")
    site = Site(small(int(time.time()), odd=False), {"anna": Account("", "admin"), "ci": Account("", "push")})
    site.sessions[TOKEN] = "anna"
    with serving(site) as address, sync_playwright() as playwright:
        rules = f"--host-resolver-rules=MAP {HOST} 127.0.0.1:{urlsplit(address).port}"
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*ARGUMENTS, rules])
        for theme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme="dark" if theme == "dark" else "light",
                locale="en-GB",
            )  # fmt: skip
            context.add_cookies([{"name": "session", "value": TOKEN, "url": f"http://{HOST}"}])
            page = context.new_page()
            for name, place in PLACES.items():
                page.goto(f"http://{HOST}{place}")
                page.wait_for_selector(".tags-of a.open, .below")
                page.wait_for_load_state("networkidle")
                target = ROOT / "docs" / f"page-{name}-{theme}.png"
                page.screenshot(path=target)
                print(target.relative_to(ROOT))
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
