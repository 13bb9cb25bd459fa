"""What somebody waits for at the page: in Chromium, with 300 repositories and 10,000 tags.

python -m tests.bench.browse [--peer DIRECTORY] [--keep]

--peer: the files of another page, with `/v2/` beside them; they are served by the nginx of this machine and see the
same registry. Of it too: until the same list is there, and how many requests that takes.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.e2e.world import PASSWORD, USER, World
from tests.page.conftest import ARGUMENTS, fill_in
from tests.page.made import CONFIG, LAYER, OCI, Content, digest_of, large
from tests.page.pushed import Registry
from tests.sandbox import SandboxError
from tests.sandbox.demo import DOMAIN
from tests.sandbox.engine import chromium
from tests.sandbox.sandbox import free_ports

from .run import bootstrapped, say

TIMES = 5
# Of all images, and their only layer.
IMAGE = json.dumps({"architecture": "amd64", "os": "linux", "created": "2026-11-20T08:00:00Z"}).encode()
# A slow line and a weak machine: 100 ms, 10 Mbit/s, a quarter of this processor.
SLOW = {"offline": False, "latency": 100, "downloadThroughput": 1_250_000, "uploadThroughput": 1_250_000}
ROWS = '[role="row"] a'
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
TYPED = """async (text) => {
  const input = document.querySelector('input[type="search"]');
  const begun = performance.now();
  input.value = text;
  input.dispatchEvent(new InputEvent("input", { bubbles: true }));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - begun;
}"""


@dataclass
class Look:
    """One opening of a screen. Times in ms; bytes as they came over the line, with their headers."""

    painted: float = 0.0
    usable: float = 0.0
    requests: list[tuple[str, float]] = field(default_factory=list)

    def bytes(self, data: bool) -> float:
        return sum(size for url, size in self.requests if ("/-/data/" in url) == data)

    def registry(self) -> int:
        return sum("/v2/" in url for url, _ in self.requests)


def real(content: Content) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Each repository and its tags: manifests of one small image each, all different."""
    for repository, tags in content.tags.items():
        held = {
            "schemaVersion": 2, "mediaType": OCI,
            "config": {"mediaType": CONFIG, "digest": digest_of(IMAGE), "size": len(IMAGE)},
            "layers": [{"mediaType": LAYER, "digest": digest_of(IMAGE), "size": len(IMAGE)}],
        }  # fmt: skip
        # The oldest first.
        oldest = sorted(tags, key=lambda tag: tags[tag].pushed)
        yield (
            repository,
            {tag: json.dumps({**held, "annotations": {"of": tags[tag].digest}}).encode() for tag in oldest},
        )


def fill(registry: Registry) -> int:
    """Push all of it; returns how many tags."""

    def one(job: tuple[str, dict[str, bytes]]) -> int:
        repository, tags = job
        connection = registry.connect()
        begun = _ask(connection, registry, "POST", f"/v2/{repository}/blobs/uploads/")
        place = "/" + (begun.getheader("Location") or "").split("/", 3)[3]
        _ask(connection, registry, "PUT", f"{place}&digest={digest_of(IMAGE)}", IMAGE)
        for tag, manifest in tags.items():
            _ask(connection, registry, "PUT", f"/v2/{repository}/manifests/{tag}", manifest, OCI)
        connection.close()
        return len(tags)

    with ThreadPoolExecutor(3) as pool:
        return sum(pool.map(one, real(large(int(time.time())))))


def _ask(  # noqa: PLR0917 - a request
    connection: http.client.HTTPSConnection,
    registry: Registry,
    method: str,
    path: str,
    body: bytes = b"",
    kind: str = "",
) -> http.client.HTTPResponse:
    while True:
        connection.request(method, path, body, registry.headers | {"Content-Type": kind or "application/octet-stream"})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status == 429:
            time.sleep(0.5)
            continue
        if answer.status >= 300:
            raise SandboxError(f"{method} {path}: {answer.status} {said.decode()[:200]}")
        return answer


def look(context: BrowserContext, address: str, rows: str, enough: int, *, slow: bool = False) -> tuple[Look, Page]:
    """Open it, and wait until so many rows are told of: all of them, though not all are painted."""
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    if slow:
        session.send("Network.emulateNetworkConditions", SLOW)
        session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    found, urls = Look(), dict[str, str]()
    session.on("Network.responseReceived", lambda it: urls.update({it["requestId"]: it["response"]["url"]}))
    session.on(
        "Network.loadingFinished",
        lambda it: found.requests.append((urls.get(it["requestId"], ""), it["encodedDataLength"])),
    )
    begun = time.monotonic()
    page.goto(address, wait_until="commit")
    page.wait_for_function(
        "([rows, enough]) => document.querySelectorAll(rows).length >= enough", arg=[rows, enough], timeout=300_000,
        polling="raf",
    )  # fmt: skip
    # By the page's own clock, which begins with the navigation: not with what we did before.
    found.usable = page.evaluate("performance.now()")
    assert found.usable <= (time.monotonic() - begun) * 1000 + 50
    page.wait_for_load_state("networkidle")
    found.painted = page.evaluate(PAINTED)
    return found, page


def median(values: list[float]) -> float:
    return statistics.median(values)


def ours(browser: Browser, base: str) -> None:
    """Print what the page does, a line each."""
    context = browser.new_context(base_url=base, ignore_https_errors=True, locale="en-GB")
    _sign_in(context.new_page())
    state = context.storage_state()
    context.close()

    def cold(
        place: str, rows: int, slow: bool = False, and_then: Callable[[Page], None] = lambda _: None
    ) -> list[Look]:
        looks = []
        for _ in range(TIMES):
            context = browser.new_context(
                base_url=base, ignore_https_errors=True, locale="en-GB", storage_state=state,
                viewport={"width": 1280, "height": 800},
            )  # fmt: skip
            found, page = look(context, place, ROWS, rows, slow=slow)
            and_then(page)
            looks.append(found)
            context.close()
        return looks

    typed: dict[str, list[float]] = {}

    def types(name: str) -> Callable[[Page], None]:
        def measured(page: Page) -> None:
            typed.setdefault(name, []).extend(page.evaluate(TYPED, text) for text in ("1", "1.", "1.3"))

        return measured

    for name, place, rows, slow in (
        ("home, 300 repositories", "/", 10, False),
        ("home, slow line and machine", "/", 10, True),
        ("repository of 200 tags", "/big/two-hundred", 10, False),
        ("repository of 2,000 tags", "/big/two-thousand", 10, False),
    ):
        looks = cold(place, rows, slow, types(name) if not slow else lambda _: None)
        print(
            f"{name}: painted {median([it.painted for it in looks]):.0f} ms, usable "
            f"{median([it.usable for it in looks]):.0f} ms, {len(looks[0].requests)} requests "
            f"({looks[0].registry()} to the registry), page {looks[0].bytes(data=False):.0f} bytes, "
            f"data {looks[0].bytes(data=True):.0f} bytes",
            flush=True,
        )
        if name in typed:
            print(f"  a key in the filter: {median(typed[name]):.0f} ms (worst {max(typed[name]):.0f})", flush=True)


def _sign_in(page: Page) -> None:
    page.goto("/")
    page.locator("main").get_by_role("button", name="Sign in").click()
    fill_in(page, USER, PASSWORD)
    page.wait_for_selector(ROWS)


@contextlib.contextmanager
def peer_served(directory: Path, registry: Registry) -> Iterator[str]:
    """Another page's files and the registry, as its own nginx would have them: under one address, signed in."""
    (port,) = free_ports(1)
    login = base64.b64encode(registry.login.encode()).decode()
    with tempfile.TemporaryDirectory(prefix="peer-", dir="/tmp") as place:
        conf = Path(place, "nginx.conf")
        conf.write_text(f"""pid {place}/pid; error_log {place}/error.log; daemon off; user root;
            events {{}} http {{ include /etc/nginx/mime.types; access_log off; client_body_temp_path {place}/b;
            proxy_temp_path {place}/p; fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
            upstream registry {{ server 127.0.0.1:{registry.port}; keepalive 16; }}
            server {{ listen 127.0.0.1:{port}; location / {{ root {directory}; }}
            location /v2/ {{ proxy_pass https://registry; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host {registry.name}; proxy_ssl_server_name on; proxy_ssl_name {registry.name};
            proxy_ssl_session_reuse on; proxy_set_header Authorization "Basic {login}"; }} }} }}""")
        with subprocess.Popen(["/usr/sbin/nginx", "-c", str(conf)]) as nginx:
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                nginx.terminate()


def peer(browser: Browser, base: str, waits: dict[str, str]) -> None:
    """The same list by another page. waits: place -> selector of its rows."""
    for place, rows in waits.items():
        looks = []
        for _ in range(3):
            context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 800})
            looks.append(look(context, base + place, rows, 10)[0])
            context.close()
        print(
            f"peer {place}: painted {median([it.painted for it in looks]):.0f} ms, usable "
            f"{median([it.usable for it in looks]):.0f} ms, {len(looks[0].requests)} requests "
            f"({looks[0].registry()} to the registry), "
            f"{sum(size for _, size in looks[0].requests):.0f} bytes",
            flush=True,
        )


def main() -> None:
    """Measure, and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--peer", type=Path)
    options.add_argument("--peer-rows", default="tag-list tbody tr, catalog-element")
    options.add_argument("--keep", action="store_true")
    chosen = options.parse_args()
    with bootstrapped(keep=chosen.keep) as world:
        registry = Registry(DOMAIN, world.sandbox.port(443), world.sandbox.directory / "ca.pem", f"{USER}:{PASSWORD}")
        say("pushing 10,000 tags")
        say(f"{fill(registry)} tags")
        _index(world)
        with sync_playwright() as playwright:
            rules = f"--host-resolver-rules=MAP {DOMAIN} 127.0.0.1"
            browser = playwright.chromium.launch(executable_path=chromium(), args=[*ARGUMENTS, rules])
            ours(browser, f"https://{DOMAIN}:{registry.port}")
            if chosen.peer:
                with peer_served(chosen.peer, registry) as base:
                    peer(browser, base, {"/": chosen.peer_rows, "/#!/taglist/big/two-hundred": chosen.peer_rows})
            browser.close()


def _index(world: World) -> None:
    """What cron's job costs: all of it, one push, nothing."""
    for name in ("all of it", "nothing new"):
        begun = time.monotonic()
        said = world.server(
            "cd /docker-registry && "
            "bash -c 'TIMEFORMAT=\"%R s, %U + %S s of processor\"; time sh ./each-minute.sh' 2>&1"
        )
        say(f"each-minute.sh, {name}: {' '.join(said.split())} ({time.monotonic() - begun:.1f} s)")


if __name__ == "__main__":
    main()
