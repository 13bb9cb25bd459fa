"""Start the contenders in the server's own engine, beside our stack, and remove what they keep."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import bcrypt

from tests.e2e.world import World
from tests.sandbox import SandboxError

from .contenders import BENCH, NGINX, REGISTRY, STACK, TOOLS, Contender
from .server import CLIENT, Server

HERE = Path(__file__).parent
LIVE = "/docker-registry/nginx/live"
PAGE_OFF = f"{BENCH}/page-off"
START_SECONDS = 60
# nginx as ours is, of one more name, with a certificate for that.
COPY = f"""
set -e; rm -rf "{BENCH}/$1" && cp -rL "$3" "{BENCH}/$1" && cd "{BENCH}/$1"
sed -i -e 's|ssl_certificate .*;|ssl_certificate {BENCH}/tls/cert.pem;|' \
    -e 's|ssl_certificate_key .*;|ssl_certificate_key {BENCH}/tls/key.pem;|' \
    -e "s|server_name registry.test|& $2|" https.conf
"""
# It asks nobody who you are.
OPEN = "sed -i -e '/^ *auth_request /d' -e 's|http://$backend;|http://registry;|' https.conf"
NO_USES = "grep -q '^ *access_log .* uses if=' https.conf && sed -i -e '/^ *access_log .* uses if=/d' https.conf"
# As compose.yml has it.
LIKE_OURS = (
    "--cap-drop=ALL", "--cap-add=CHOWN", "--cap-add=NET_BIND_SERVICE", "--cap-add=SETGID", "--cap-add=SETUID",
    "--security-opt=no-new-privileges:true", "--read-only", "--pids-limit=256", "--tmpfs=/run:size=64m",
    "--tmpfs=/tmp:size=16m", "--sysctl=net.ipv4.tcp_notsent_lowat=524288", "--log-opt=max-size=10m",
    "--log-opt=max-file=3",
)  # fmt: skip


def prepare(server: Server, contenders: Sequence[Contender], user: str, password: str) -> None:
    """Files for all of them: configurations, passwords, a certificate."""
    tutorial = (HERE / "config/tutorial.conf").read_text()
    server.write("config/tutorial-h1.conf", tutorial)
    server.write("config/tutorial-h2.conf", tutorial.replace("listen 443 ssl;", "listen 443 ssl http2;"))
    for name in ("file.conf", "Caddyfile", "registry.yml", "certificate.sh"):
        server.write(f"config/{name}", (HERE / "config" / name).read_text())
    server.sh(f"rm -rf {BENCH}/data")
    for cost in {contender.cost for contender in contenders}:
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()
        server.write(f"config/htpasswd-{cost}", f"{user}:{hashed}\n")
    names = ",".join(f"DNS:{contender.host}" for contender in contenders)
    mount = f"{BENCH}:{BENCH}"
    make = ("docker", "run", "--rm", "--network=none", "--volume", mount, TOOLS, "sh")
    server.sandbox.exec("server", *make, f"{BENCH}/config/certificate.sh", names)
    server.write("tls/ours.pem", (server.sandbox.directory / "ca.pem").read_text())


def without_page(world: World) -> None:
    """Keep our own configuration as it is with PAGE=off, for the contender that has it."""
    world.configure(PAGE="off")
    world.fab("sync", "up")
    world.server(f"mkdir -p {BENCH} && rm -rf {PAGE_OFF} && cp -rL {LIVE} {PAGE_OFF}")
    world.configure()
    world.fab("sync", "up")


def start(server: Server, contenders: Sequence[Contender], login: str) -> None:
    """Start them and the client, and wait until each answers the client. Ours runs already."""
    for contender in contenders:
        KINDS[contender.kind](server, contender)
    server.start_client({each.host: server.address(each.front) for each in contenders})
    for contender in contenders:
        _wait(server, contender, login)


def wipe(server: Server, contender: Contender) -> None:
    """Remove all that its registry keeps; what it remembers of it is never asked for again."""
    server.sh('rm -rf "$1"/docker/registry/v2/*', contender.data)


def _stack(server: Server, contender: Contender) -> None:
    """Bootstrapped before anything else."""


def _stack_open(server: Server, contender: Contender) -> None:
    _copy(server, contender, OPEN, ("--tmpfs", "/run"))


def _stack_no_uses(server: Server, contender: Contender) -> None:
    _copy(server, contender, NO_USES, _same_limits(server))


def _stack_no_page(server: Server, contender: Contender) -> None:
    _copy(server, contender, "", _same_limits(server), PAGE_OFF)


def _same_limits(server: Server) -> tuple[str, ...]:
    """Those of ours, so that nothing else differs."""
    form = "{{.HostConfig.Memory}}"
    memory = server.sandbox.exec("server", "docker", "inspect", "-f", form, f"{STACK}-nginx-1").strip()
    return (*LIKE_OURS, f"--memory={memory}", f"--memory-swap={memory}")


def _copy(server: Server, contender: Contender, change: str, options: tuple[str, ...], live: str = LIVE) -> None:
    server.sh(COPY + change, contender.name, contender.host, live)
    options = ("--volumes-from", f"{STACK}-nginx-1", *options, "--entrypoint", "nginx")
    arguments = ("-c", f"{BENCH}/{contender.name}/nginx.conf", "-g", "daemon off;")
    server.run(contender.front, NGINX, *arguments, options=options)


def _registry(server: Server, contender: Contender) -> None:
    port = {"REGISTRY_HTTP_ADDR": ":443" if contender.tls else ":80"}
    tls = {
        "REGISTRY_HTTP_TLS_CERTIFICATE": f"{BENCH}/tls/cert.pem",
        "REGISTRY_HTTP_TLS_KEY": f"{BENCH}/tls/key.pem",
    }
    _start_registry(server, contender, contender.front, port | (tls if contender.tls else {}))


def _tutorial(server: Server, contender: Contender) -> None:
    _behind(server, contender)
    nginx = ("nginx", "-c", f"{BENCH}/config/{contender.name}.conf", "-g", "daemon off;")
    server.run(contender.front, NGINX, *nginx, options=_knows_registry(server, contender))


def _caddy(server: Server, contender: Contender) -> None:
    _behind(server, contender)
    caddy = ("caddy", "run", "--config", f"{BENCH}/config/Caddyfile", "--adapter", "caddyfile")
    server.run(contender.front, TOOLS, *caddy, options=_knows_registry(server, contender))


def _file(server: Server, contender: Contender) -> None:
    nginx = ("nginx", "-c", f"{BENCH}/config/file.conf", "-g", "daemon off;")
    server.run(contender.front, NGINX, *nginx)


KINDS = {
    "stack": _stack, "stack-open": _stack_open, "stack-no-uses": _stack_no_uses,
    "stack-no-page": _stack_no_page, "registry": _registry,
    "tutorial": _tutorial, "caddy": _caddy, "file": _file,
}  # fmt: skip


def _behind(server: Server, contender: Contender) -> None:
    _start_registry(server, contender, f"{contender.front}-registry", {})


def _knows_registry(server: Server, contender: Contender) -> tuple[str, ...]:
    """Each has a registry of its own, and its configuration calls it `registry`."""
    return (f"--add-host=registry:{server.address(f'{contender.front}-registry')}",)


def _start_registry(server: Server, contender: Contender, container: str, settings: dict[str, str]) -> None:
    settings = {
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "bench",
        "REGISTRY_AUTH_HTPASSWD_PATH": f"{BENCH}/config/htpasswd-{contender.cost}",
        "REGISTRY_HTTP_SECRET": "bench",
        "OTEL_TRACES_EXPORTER": "none",
    } | settings
    options = [f"--env={key}={value}" for key, value in settings.items()]
    data = f"{contender.data}:/var/lib/registry"
    server.sh('mkdir -p "$1"', contender.data)
    # Version 2 and version 3 look for their configuration in different places.
    serve = ("serve", f"{BENCH}/config/registry.yml")
    options += ["--volume", data, "--entrypoint", "registry"]
    server.run(container, REGISTRY, *serve, options=tuple(options))


def _wait(server: Server, contender: Contender, login: str) -> None:
    """Until it answers; the last error is shown when it never does."""
    path = "/" if contender.kind == "file" else "/v2/"
    argv = ["docker", "exec", CLIENT, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}",
            "-u", login, *contender.curl, contender.url + path]  # fmt: skip
    wanted = "403" if contender.kind == "file" else "200"
    end = time.monotonic() + START_SECONDS
    while (got := server.sandbox.exec("server", *argv, check=False)) != wanted:
        if time.monotonic() > end:
            server.sandbox.exec("server", *argv)
            raise SandboxError(f"{contender.name} answers {got}, not {wanted}")
        time.sleep(0.3)
