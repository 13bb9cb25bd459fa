"""A second server beside the sandbox's own: another machine of the same kind, on the same network."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.sandbox.commands import output
from tests.sandbox.demo import DOMAIN
from tests.sandbox.sandbox import SSH_CONFIG

from .world import DEPLOY_DIR, World, wait_until

NAME = "standby"


class Second:
    """The machine, as the operator and as clients see it. world: that of the first one."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.name = f"{world.sandbox.project}-{NAME}-1"
        self._config = (world.sandbox.directory / "ssh_config").read_text()
        self._known = (world.sandbox.directory / "known_hosts").read_text()

    def start(self) -> None:
        sandbox = self.world.sandbox
        output("docker", "rm", "--force", "--volumes", self.name, check=False)
        output(
            "docker", "run", "--detach", "--name", self.name, "--network", f"{sandbox.project}_default",
            "--hostname", NAME, "--publish", "127.0.0.1::22", "--publish", "127.0.0.1::443", "--cap-add", "ALL",
            "--cap-drop", "SYS_RESOURCE", "--security-opt", "seccomp=unconfined", "--security-opt",
            "apparmor=unconfined", "--security-opt", "systempaths=unconfined", "--cgroupns", "host",
            "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--volume", "/var/lib/docker",
            "--env", "SANDBOX_DOMAIN=standby.test",
            "--env", f"SANDBOX_PUBLIC_KEY={(sandbox.directory / 'id_ed25519.pub').read_text().strip()}",
            "registry-sandbox/machine", "server",
        )  # fmt: skip
        wait_until(lambda: self.shell("healthy server && echo yes", check=False) != "", "it is healthy")
        kind, key = self.shell("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
        port = self.port(22)
        (sandbox.directory / "known_hosts").write_text(f"{self._known}[127.0.0.1]:{port} {kind} {key}\n")
        block = SSH_CONFIG.format(port=port, directory=sandbox.directory).replace("Host server", f"Host {NAME}")
        (sandbox.directory / "ssh_config").write_text(f"{self._config}\n{block}")
        sandbox.carry_stack("docker", "exec", "-i", self.name, "docker")

    def stop(self) -> None:
        output("docker", "rm", "--force", "--volumes", self.name, check=False)
        (self.world.sandbox.directory / "ssh_config").write_text(self._config)
        (self.world.sandbox.directory / "known_hosts").write_text(self._known)
        # What lets it in, and what was written of it.
        self.world.server(
            f"rm -rf {DEPLOY_DIR}/standby {DEPLOY_DIR}/nginx/full/standby.json; "
            "sed -i '/private-docker-registry-standby$/d' /root/.ssh/authorized_keys",
            check=False,
        )

    def shell(self, script: str, *args: str, check: bool = True) -> str:
        return output("docker", "exec", self.name, "sh", "-c", script, "sh", *args, check=check)

    def port(self, number: int) -> int:
        return int(output("docker", "port", self.name, str(number)).splitlines()[0].rpartition(":")[2])

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
