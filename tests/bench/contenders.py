"""Who is compared: our stack, and the usual other ways to serve the same registry.

Each has a registry of its own with data of its own, on one network and on one disk, none with a limit
of its own but ours. All check passwords: ours in nginx, which remembers good ones; the others in the
registry, with bcrypt at the lowest cost that is seen in the wild (5), at each request.
"""

from __future__ import annotations

from dataclasses import dataclass

STACK = "private-docker-registry"
OURS_DATA = "/docker-registry/registry/data"
BENCH = "/bench"  # on the server and in every container alike
REGISTRY, NGINX, TOOLS = (f"registry-sandbox/{name}:latest" for name in ("registry", "nginx", "bench"))
LOWEST_COST = 5


@dataclass(frozen=True)
class Contender:
    """One way to serve a registry.

    kind: what is started for it, see `deploy.py`. curl: what the client's curl is told of HTTP. Docker and
    skopeo speak HTTP/1.1 even with a server that offers more; nothing lets both sides negotiate.
    cost: bcrypt's, of its registry's own password file.
    """

    name: str
    kind: str
    curl: tuple[str, ...] = ("--http1.1",)
    cost: int = LOWEST_COST
    tls: bool = True

    @property
    def host(self) -> str:
        """What the client calls it; ours has the one name that its certificate is for."""
        return "registry.test" if self.name == "ours" else f"{self.name}.test"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    @property
    def data(self) -> str:
        """Where on the server its registry keeps everything."""
        return OURS_DATA if self.kind.startswith("stack") else f"{BENCH}/data/{self.name}"

    @property
    def front(self) -> str:
        """The container that clients reach."""
        return f"{STACK}-nginx-1" if self.kind == "stack" else f"bench-{self.name}"

    @property
    def containers(self) -> tuple[str, ...]:
        """All that it takes, for its memory."""
        if self.kind == "stack":
            return tuple(f"{STACK}-{name}-1" for name in ("nginx", "registry", "auth"))
        if self.kind in {"tutorial", "caddy"}:
            return (self.front, f"{self.front}-registry")
        return (self.front,)


NEGOTIATED: tuple[str, ...] = ()
# Ours without the log of uses: what that costs.
NO_USES = "ours-no-uses"
# And without the page (PAGE=off): that it is there shall cost the others nothing.
NO_PAGE = "ours-no-page"
HTTP2 = ("--http2",)
ALL = (
    Contender("ours", "stack", NEGOTIATED),
    Contender("ours-no-auth", "stack-open"),
    Contender(NO_USES, "stack-no-uses", NEGOTIATED),
    Contender(NO_PAGE, "stack-no-page", NEGOTIATED),
    Contender("tutorial-h1", "tutorial"),
    Contender("tutorial-h2", "tutorial", HTTP2),
    Contender("caddy-h1", "caddy"),
    Contender("caddy-h2", "caddy", HTTP2),
    Contender("registry-tls", "registry"),
    Contender("registry-plain", "registry", tls=False),
    Contender("registry-cost-5", "registry"),
    Contender("registry-cost-12", "registry", cost=12),
    Contender("file-tls", "file"),
)


def named(*names: str) -> tuple[Contender, ...]:
    """These, in this order."""
    known = {contender.name: contender for contender in ALL}
    return tuple(known[name] for name in names)
