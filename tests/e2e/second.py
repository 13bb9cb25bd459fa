"""A second server in the sandbox, with Docker and the stack's images, and nothing of ours."""

from __future__ import annotations

from tests.sandbox.another import Another

from .world import DEPLOY_DIR, PROJECT, World

NAME = "second"


class Second(Another):
    """It is reached as `root@second`, by the ssh_config of the sandbox."""

    def __init__(self, world: World) -> None:
        super().__init__(world.sandbox, NAME)
        self.world = world

    def clean(self) -> None:
        """Nothing was ever deployed there."""
        self.shell(
            f"rm -f /etc/cron.d/{PROJECT}; docker ps --all --quiet | xargs -r docker rm --force --volumes >/dev/null; "
            f"docker network prune --force >/dev/null; rm -rf {DEPLOY_DIR} /etc/{PROJECT} /etc/docker/certs.d"
        )
