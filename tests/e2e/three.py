"""Three servers that are one registry: behind one name with three addresses, on one store."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.sandbox.another import Another
from tests.sandbox.demo import DOMAIN, fab
from tests.sandbox.store import Store

from .world import DEPLOY_DIR, World

OTHERS = ("second", "third")
ALL = ("server", *OTHERS)


class Three:
    """The sandbox's own server and two more. world: of the first one; store: which all see."""

    def __init__(self, world: World, store: Store) -> None:
        self.world = world
        self.store = store
        self.sandbox = world.sandbox
        self.others = [Another(world.sandbox, name) for name in OTHERS]

    def start(self) -> None:
        for other in self.others:
            other.launch()
        for other in self.others:
            other.settle()

    def stop(self) -> None:
        for other in self.others:
            other.stop()
        self.sandbox.dns(DOMAIN, self.sandbox.address("server"))

    def clean(self) -> None:
        """Nothing was ever deployed on any of them, nothing is in the store, and all are in DNS."""
        self.world.clean()
        self.store.empty()
        for name in OTHERS:
            self.shell(
                name,
                "rm -f /etc/cron.d/private-docker-registry; docker ps --all --quiet | xargs -r docker rm --force "
                "--volumes >/dev/null; docker network prune --force >/dev/null; "
                f"rm -rf {DEPLOY_DIR} /etc/private-docker-registry /etc/docker/certs.d",
            )
        self.in_dns(*ALL)

    def in_dns(self, *names: str) -> None:
        """The registry's name has the addresses of these."""
        self.sandbox.dns(DOMAIN, *(self.address(name) for name in names))

    def configure(self, hosts: tuple[str, ...] = ALL, **changes: str) -> None:
        self.world.configure(HOSTS=" ".join(hosts), **self.store.settings(), **changes)

    @property
    def command(self) -> list[str]:
        """`./fab` without -H: HOSTS names the servers."""
        return fab(self.sandbox, self.world.settings)[:-2]

    def fab(self, *args: str, input: str = "", ok: bool | None = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.command, *args],
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        if ok is not None:
            assert (done.returncode == 0) == ok, f"{args} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def shell(self, name: str, script: str, *, check: bool = True) -> str:
        """Run a script on one of them."""
        if name == "server":
            return self.world.server(script, check=check)
        return self.other(name).shell(script, check=check)

    def other(self, name: str) -> Another:
        return next(other for other in self.others if other.name == name)

    def address(self, name: str) -> str:
        return self.sandbox.address("server") if name == "server" else self.other(name).address()

    def port(self, name: str) -> int:
        """The port of 127.0.0.1 that leads to its port 443."""
        return self.sandbox.port(443) if name == "server" else self.other(name).port(443)

    def curl(self, name: str, path: str, *options: str) -> str:
        """What curl prints for a path of the registry, through that server; '000' as its code where none answers."""
        port = self.port(name)
        return subprocess.run(
            ["curl", "-sS", "--max-time", "30", "--cacert", str(self.sandbox.directory / "ca.pem"),
             "--resolve", f"{DOMAIN}:{port}:127.0.0.1", *options, f"https://{DOMAIN}:{port}{path}"],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip

    def status(self, name: str, path: str, *options: str) -> int:
        return int(self.curl(name, path, "-o", "/dev/null", "-w", "%{http_code}", *options) or 0)

    def certificates(self) -> dict[str, int]:
        """How many certificates certbot got on each of them: it numbers them."""
        found = {}
        for name in ALL:
            names = self.shell(name, f"ls {DEPLOY_DIR}/certbot/conf/archive/{DOMAIN}", check=False)
            found[name] = max(map(int, re.findall(r"^cert(\d+)\.pem$", names, re.M)), default=0)
        return found


@contextmanager
def three(world: World, store: Store) -> Iterator[Three]:
    """Started, and gone afterwards."""
    found = Three(world, store)
    try:
        found.start()
        yield found
    finally:
        found.stop()
        world.clean()
