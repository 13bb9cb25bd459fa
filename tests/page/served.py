"""The real server's answers to a page, from made content: for tests that need no containers."""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.sandbox.commands import ROOT

from .made import Content, Tag, digest_of

PAGE = ROOT / "deploy" / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types lit-html"
)
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html; charset=utf-8"}
MANIFEST = re.compile(r"/-/v2/(.+)/manifests/([^/]+)")
BLOB = re.compile(r"/-/v2/(.+)/blobs/([^/]+)")
LISTED = re.compile(r"/-/v2/(.+)/tags/list")
TAGS = re.compile(r"/-/data/r/(.+)/_tags\.json")


@dataclass
class Account:
    password: str
    role: str
    repositories: list[str] = field(default_factory=lambda: ["*"])


@dataclass
class Site:
    """A server: what is in it, who may, and what is wrong with it just now."""

    content: Content
    accounts: dict[str, Account] = field(default_factory=dict)
    public: list[str] = field(default_factory=list)
    tag_delete: bool = True
    registry_down: bool = False
    limited_for: int = 0
    data_age: int = 0
    delay: float = 0.0
    asked: list[str] = field(default_factory=list)
    sessions: dict[str, str] = field(default_factory=dict)
    index: dict[str, Any] = field(default_factory=dict)
    views: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tick()

    def tick(self) -> None:
        """What the server's job does once a minute."""
        made = int(time.time()) - self.data_age
        self.index, self.views = {}, {}
        for patterns in [*(account.repositories for account in self.accounts.values()), self.public]:
            view = view_of(patterns, self.public)
            self.views[view] = [*patterns, *self.public]
            names = [name for name in self.content.tags if may(self.views[view], name) and self.content.tags[name]]
            rows = sorted((self._row(name) for name in names), key=lambda row: -row["newest"]["pushed"])
            self.index[f"views/{view}.json"] = {"made": made, "repositories": rows}
            tags = {name: list(self.content.tags[name]) for name in names}
            self.index[f"views/{view}.tags.json"] = {"made": made, "repositories": tags}
            digests = {name: [it.digest[7:23] for it in self.content.tags[name].values()] for name in names}
            self.index[f"views/{view}.digests.json"] = {"made": made, "repositories": digests}
        for name in self.content.tags:
            self.index[f"r/{name}/_tags.json"] = {
                "made": made,
                "repository": name,
                "tags": self._tags(name),
                "untagged": 2,
            }
        self.index["seen.json"] = {"seen": made}
        self.index["site.json"] = {
            "made": made, "registry": "3.1.1" if self.tag_delete else "2.8.3", "tag_delete": self.tag_delete,
            "anonymous": bool(self.public), "undo": 86400, "tool": "0.2.0", "domain": "registry.example.com",
        }  # fmt: skip
        known = [{"name": name, "role": it.role, "repositories": it.repositories} for name, it in self.accounts.items()]
        self.index["accounts.json"] = {"made": made, "accounts": known}
        events = [
            {
                "when": made - 86400,
                "account": "anna",
                "what": "delete",
                "repository": "team-a/app",
                "tag": "0.9",
                "digest": "",
            },
            {
                "when": made - 2400,
                "account": "ci",
                "what": "push",
                "repository": "team-a/app",
                "tag": "1.10.0",
                "digest": "",
            },
        ]
        self.index["disk.json"] = {
            "made": made, "free": 18 << 30, "total": 40 << 30, "used": 9 << 30, "freeable": 700 << 20, "untagged": 14,
            "trash": 120 << 20, "retention": {"rules": True, "would_remove": 3}, "events": events,
        }  # fmt: skip

    def _row(self, name: str) -> dict[str, Any]:
        tags = self.content.tags[name]
        newest = max(tags, key=lambda tag: tags[tag].pushed)
        it = tags[newest]
        used = [tag.used for tag in tags.values() if tag.used]
        return {"name": name, "tags": len(tags), "used": max(used, default=None), "newest": {
            "tag": newest, "digest": it.digest[7:23], "size": it.size, "pushed": it.pushed, "kind": it.kind,
            "platforms": it.platforms}}  # fmt: skip

    def _tags(self, name: str) -> list[dict[str, Any]]:
        rows = [
            {**asdict(tag), "tag": text, "digest": tag.digest[7:23]} for text, tag in self.content.tags[name].items()
        ]
        return sorted(rows, key=lambda row: -row["pushed"])

    def patterns(self, account: str) -> list[str]:
        return [*(self.accounts[account].repositories if account in self.accounts else []), *self.public]

    def role(self, account: str) -> str:
        return self.accounts[account].role if account in self.accounts else ""


def view_of(patterns: list[str], public: list[str]) -> str:
    if "*" in patterns:
        return "all"
    both = sorted({*patterns, *public})
    return digest_of("\n".join(both).encode())[7:23] if both else ""


def may(patterns: list[str], name: str) -> bool:
    return any(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) for pattern in patterns)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site, path = self.site, unquote(urlsplit(self.path).path)
        site.asked.append(f"{self.command} {path}")
        if site.delay:
            time.sleep(site.delay)
        if path.startswith("/-/assets/"):
            self._asset(path.removeprefix("/-/assets/"))
        elif path == "/-/me":
            self._json(self._me())
        elif path.startswith("/-/data/"):
            self._data(path)
        elif path.startswith("/-/v2/"):
            self._registry(path)
        elif "text/html" in self.headers.get("Accept", "") and not path.startswith(("/-/", "/v2")):
            self._asset("index.html")
        else:
            self._error(404, "NAME_UNKNOWN", "there is nothing here")

    do_HEAD = do_PUT = do_DELETE = do_GET

    def do_POST(self) -> None:
        site, path = self.site, self.path
        site.asked.append(f"POST {path}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("X-Page") != "1":
            self._error(403, "DENIED", "this is for the page alone")
        elif path == "/-/logout":
            site.sessions.pop(self._session(), None)
            self._answer(204, b"", {"Set-Cookie": "session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"})
        elif site.limited_for:
            headers = {"Retry-After": str(site.limited_for)}
            self._error(429, "TOOMANYREQUESTS", "too many wrong passwords from your address", headers)
        else:
            user, _, password = (
                base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode().partition(":")
            )
            account = site.accounts.get(user)
            if account is None or account.password != password:
                self._error(401, "UNAUTHORIZED", "wrong name or password", {"WWW-Authenticate": "Page"})
            elif not account.role:
                self._error(
                    403, "DENIED", f"the account {user} has no role yet: an admin of the server runs the task up"
                )
            else:
                token = digest_of(f"{user} {password} {time.time()}".encode())[7:]
                site.sessions[token] = user
                self._answer(204, b"", {"Set-Cookie": f"session={token}; Path=/; HttpOnly; SameSite=Strict"})

    def _session(self) -> str:
        found = re.search(r"session=([0-9a-f]{64})", self.headers.get("Cookie", ""))
        return found[1] if found else ""

    def _account(self) -> str:
        user = self.site.sessions.get(self._session(), "")
        return user if user in self.site.accounts else ""

    def _me(self) -> dict[str, Any]:
        user = self._account()
        patterns = self.site.accounts[user].repositories if user else self.site.public
        return {"account": user, "role": self.site.role(user), "repositories": patterns,
                "view": view_of(patterns, self.site.public)}  # fmt: skip

    def _data(self, path: str) -> None:
        site, user = self.site, self._account()
        name = path.removeprefix("/-/data/")
        patterns = site.patterns(user)
        if name.startswith("views/"):
            allowed = name.split("/")[1].split(".")[0] == self._me()["view"]
        elif found := TAGS.fullmatch(path):
            allowed = may(patterns, found[1])
        elif name in ("site.json", "seen.json"):
            allowed = bool(user) or (name == "seen.json" and bool(site.public))
        else:
            allowed = site.role(user) == "admin" and "*" in patterns
        if not user and not allowed:
            self._error(401, "UNAUTHORIZED", "sign in first")
        elif allowed and name in site.index:
            self._json(site.index[name], etag=True)
        elif allowed or name.startswith(("r/", "views/")):
            self._error(404, "NAME_UNKNOWN", "there is no such repository, or it is not for you")
        else:
            self._error(403, "DENIED", "only an admin without limits may see this")

    def _registry(self, path: str) -> None:
        site, user = self.site, self._account()
        found = MANIFEST.fullmatch(path) or BLOB.fullmatch(path) or LISTED.fullmatch(path)
        if not user and not site.public:
            self._error(401, "UNAUTHORIZED", "sign in first")
        elif not found or not may(site.patterns(user), found[1]) or found[1] not in site.content.tags:
            self._error(404, "NAME_UNKNOWN", "there is no such repository, or it is not for you")
        elif site.registry_down:
            self._error(503, "UNAVAILABLE", "the registry does not answer just now")
        elif self.command in ("PUT", "DELETE"):
            self._change(found[1], found[2])
        elif LISTED.fullmatch(path):
            tags = [*site.content.tags[found[1]], *site.content.hung.get(found[1], {})]
            self._json({"name": found[1], "tags": sorted(tags)})
        elif BLOB.fullmatch(path):
            self._blob(found[2])
        else:
            self._manifest(found[1], self._resolved(found[1], found[2]))

    def _blob(self, digest: str) -> None:
        blob = self.site.content.blobs.get(digest)
        if blob is None:
            self._error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        else:
            self._answer(200, blob, {"Content-Type": "application/octet-stream"})

    def _manifest(self, name: str, digest: str) -> None:
        if (name, digest) not in self.site.content.manifests:
            self._error(404, "MANIFEST_UNKNOWN", "manifest unknown")
            return
        kind, held = self.site.content.manifests[name, digest]
        self._answer(200, held, {"Content-Type": kind, "Docker-Content-Digest": digest})

    def _resolved(self, name: str, reference: str) -> str:
        tags, hung = self.site.content.tags[name], self.site.content.hung.get(name, {})
        return tags[reference].digest if reference in tags else hung.get(reference, reference)

    def _change(self, name: str, reference: str) -> None:
        site, content = self.site, self.site.content
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if site.role(self._account()) != "admin":
            self._error(403, "DENIED", f"the account {self._account()} may only pull")
        elif self.headers.get("X-Page") != "1" or self.headers.get("Sec-Fetch-Site") != "same-origin":
            self._error(403, "DENIED", "a page of another site may change nothing here")
        elif self.command == "PUT":
            digest = digest_of(body)
            content.manifests[name, digest] = (self.headers["Content-Type"], body)
            if reference.startswith("sha256-"):
                content.hung.setdefault(name, {})[reference] = digest
            elif not reference.startswith("sha256:"):
                content.tags[name][reference] = Tag(digest, 1, int(time.time()))
            self._answer(201, b"", {"Docker-Content-Digest": digest})
        elif not site.tag_delete and not reference.startswith("sha256:"):
            self._error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        elif content.remove(name, reference):
            self._answer(202, b"", {})
        else:
            self._error(404, "MANIFEST_UNKNOWN", "manifest unknown")

    def _asset(self, name: str) -> None:
        file = PAGE / name
        if not file.is_file() or ".." in name:
            return self._error(404, "NAME_UNKNOWN", "there is nothing here")
        cache = "no-cache" if name == "index.html" else "public, max-age=31536000, immutable"
        return self._answer(200, file.read_bytes(), {"Content-Type": TYPES[file.suffix], "Cache-Control": cache})

    def _json(self, content: object, *, etag: bool = False) -> None:
        found = json.dumps(content, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", "Cache-Control": "private, no-cache"}
        if etag:
            headers["ETag"] = f'"{digest_of(found)[7:23]}"'
            if self.headers.get("If-None-Match") == headers["ETag"]:
                return self._answer(304, b"", headers)
        return self._answer(200, found, headers)

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        content = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self._answer(status, content, {"Content-Type": "application/json", **(headers or {})})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        if (
            len(content) > 300
            and "gzip" in self.headers.get("Accept-Encoding", "")
            and "octet" not in headers["Content-Type"]
        ):
            content, headers = gzip.compress(content, 6), {**headers, "Content-Encoding": "gzip"}
        self.send_response(HTTPStatus(status))
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@contextmanager
def serving(site: Site, port: int = 0) -> Iterator[str]:
    """The address of a server of it, for as long as the block runs."""
    server = _Server(("127.0.0.1", port), type("Handler", (Handler,), {"site": site}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
