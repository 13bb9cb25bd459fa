"""A second server beside the sandbox's own: another machine of the same kind, on the same network."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.sandbox.another import Another
from tests.sandbox.demo import DOMAIN

from .world import DEPLOY_DIR, World

NAME = "standby"


class Second(Another):
    """The machine, as the operator and as clients see it. world: that of the first one."""

    def __init__(self, world: World) -> None:
        super().__init__(world.sandbox, NAME)
        self.world = world

    def stop(self) -> None:
        super().stop()
        # What lets it in, and what was written of it.
        self.world.server(
            f"rm -rf {DEPLOY_DIR}/standby {DEPLOY_DIR}/nginx/full/standby.json; "
            "sed -i '/private-docker-registry-standby$/d' /root/.ssh/authorized_keys",
            check=False,
        )

    def curl(self, path: str, *options: str) -> subprocess.CompletedProcess[str]:
        port = self.port(443)
        return subprocess.run(
            ["curl", "-sS", "--max-time", "30", "--cacert", str(self.world.sandbox.directory / "ca.pem"),
             "--resolve", f"{DOMAIN}:{port}:127.0.0.1", *options, f"https://{DOMAIN}:{port}{path}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def status(self, path: str, *options: str) -> int:
        return int(self.curl(path, "-o", str(Path("/dev/null")), "-w", "%{http_code}", *options).stdout or 0)

    def follow(self) -> str:
        """As cron does it, and now."""
        return self.shell(f"cd {DEPLOY_DIR} && ./inv follow --wait 2>&1", check=False)
