"""A second server in the sandbox, with Docker and the stack's images, and nothing of ours."""

from __future__ import annotations

from tests.sandbox.commands import output

from .world import DEPLOY_DIR, PROJECT, World, wait_until

NAME = "second"


class Second:
    """It is reached as `root@second`, by the ssh_config of the sandbox."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.container = f"{world.sandbox.project}-{NAME}-1"

    def start(self) -> None:
        """As `server` of compose.yml, under a name of its own."""
        sandbox = self.world.sandbox
        output("docker", "rm", "--force", "--volumes", self.container, check=False)
        output(
            "docker", "run", "--detach", "--name", self.container, "--network", f"{sandbox.project}_default",
            "--hostname", NAME, "--publish", "127.0.0.1::22", "--publish", "127.0.0.1::443", "--cap-add", "ALL",
            "--cap-drop", "SYS_RESOURCE", "--security-opt", "seccomp=unconfined", "--security-opt",
            "apparmor=unconfined", "--security-opt", "systempaths=unconfined", "--cgroupns", "host",
            "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--volume", "/var/lib/docker",
            "--env", f"SANDBOX_DOMAIN={NAME}.test", "--env", f"SANDBOX_PUBLIC_KEY={self._key()}",
            "registry-sandbox/machine", "server",
        )  # fmt: skip
        wait_until(lambda: self.shell("healthy server && echo yes", check=False) == "yes\n", "the second server", 120)
        kind, key = self.shell("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
        port = self.port(22)
        known = sandbox.directory / "known_hosts"
        kept = [line for line in known.read_text().splitlines() if not line.startswith(f"[127.0.0.1]:{port} ")]
        known.write_text("\n".join([*kept, f"[127.0.0.1]:{port} {kind} {key}"]) + "\n")
        config = sandbox.directory / "ssh_config"
        first = config.read_text().partition(f"Host {NAME}\n")[0]
        block = first.replace("Host server", f"Host {NAME}").replace(f"Port {sandbox.port(22)}", f"Port {port}")
        config.write_text(first + block)
        sandbox.carry_stack("docker", "exec", "-i", self.container, "docker")

    def stop(self) -> None:
        """Nothing of it is left."""
        output("docker", "rm", "--force", "--volumes", self.container, check=False)
        config = self.world.sandbox.directory / "ssh_config"
        config.write_text(config.read_text().partition(f"Host {NAME}\n")[0])

    def clean(self) -> None:
        """Nothing was ever deployed there."""
        self.shell(
            f"rm -f /etc/cron.d/{PROJECT}; docker ps --all --quiet | xargs -r docker rm --force --volumes >/dev/null; "
            f"docker network prune --force >/dev/null; rm -rf {DEPLOY_DIR} /etc/{PROJECT} /etc/docker/certs.d"
        )

    def shell(self, script: str, *, check: bool = True) -> str:
        """Run a script there as root, past our own tool."""
        return output("docker", "exec", self.container, "sh", "-c", script, check=check)

    def port(self, number: int) -> int:
        """The port of 127.0.0.1 that leads to its port 22 or 443."""
        return int(output("docker", "port", self.container, str(number)).strip().rpartition(":")[2])

    def _key(self) -> str:
        return (self.world.sandbox.directory / "id_ed25519.pub").read_text().strip()
