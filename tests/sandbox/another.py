"""One more server in a sandbox: a machine as `server` of compose.yml, under a name of its own."""

from __future__ import annotations

import time

from .commands import SandboxError, output, succeeds
from .sandbox import SSH_CONFIG, START_SECONDS, Sandbox


class Another:
    """It is reached as `name`, by the ssh_config of the sandbox; it has Docker and the stack's images."""

    def __init__(self, sandbox: Sandbox, name: str) -> None:
        self.sandbox = sandbox
        self.name = name
        self.container = f"{sandbox.project}-{name}-1"

    def start(self) -> None:
        """Start it from nothing, and wait until it answers."""
        self.launch()
        self.settle()

    def launch(self) -> None:
        """The first part of `start`, which takes no time: so several can come up at once."""
        key = (self.sandbox.directory / "id_ed25519.pub").read_text().strip()
        self._remove()
        output(
            "docker", "run", "--detach", "--name", self.container, "--network", f"{self.sandbox.project}_default",
            "--hostname", self.name, "--publish", "127.0.0.1::22", "--publish", "127.0.0.1::443", "--cap-add", "ALL",
            "--cap-drop", "SYS_RESOURCE", "--security-opt", "seccomp=unconfined", "--security-opt",
            "apparmor=unconfined", "--security-opt", "systempaths=unconfined", "--cgroupns", "host",
            "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--volume", "/var/lib/docker",
            "--env", f"SANDBOX_DOMAIN={self.name}.test", "--env", f"SANDBOX_PUBLIC_KEY={key}",
            "registry-sandbox/machine", "server",
        )  # fmt: skip

    def settle(self) -> None:
        """The second part: when it answers, write down how it is reached, and give it the stack's images."""
        end = time.monotonic() + 2 * START_SECONDS
        while not succeeds("docker", "exec", self.container, "healthy", "server"):
            if time.monotonic() > end:
                raise SandboxError(f"{self.container} is not ready after {2 * START_SECONDS} seconds.")
            time.sleep(0.2)
        kind, key = self.shell("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
        self._forget()
        port = self.port(22)
        block = SSH_CONFIG.format(port=port, directory=self.sandbox.directory).replace(
            "Host server", f"Host {self.name}"
        )
        with (self.sandbox.directory / "ssh_config").open("a") as config:
            config.write("\n" + block.replace("Host server", f"Host {self.name}"))
        with (self.sandbox.directory / "known_hosts").open("a") as known:
            known.write(f"[127.0.0.1]:{port} {kind} {key}\n")
        self.sandbox.carry_stack("docker", "exec", "-i", self.container, "docker")

    def stop(self) -> None:
        """Nothing of it is left."""
        self._remove()
        self._forget()

    def shell(self, script: str, *args: str, check: bool = True) -> str:
        """Run a script there as root, past our own tool."""
        return output("docker", "exec", self.container, "sh", "-c", script, "sh", *args, check=check)

    def port(self, number: int) -> int:
        """The port of 127.0.0.1 that leads to its port 22 or 443."""
        return int(output("docker", "port", self.container, str(number)).splitlines()[0].rpartition(":")[2])

    def address(self) -> str:
        """Its IPv4 address on the sandbox's network."""
        return self.shell("hostname -i").split()[0]

    def _remove(self) -> None:
        output("docker", "rm", "--force", "--volumes", self.container, check=False)

    def _forget(self) -> None:
        """Take its block out of the ssh_config, and its port out of known_hosts."""
        config, known = (self.sandbox.directory / name for name in ("ssh_config", "known_hosts"))
        blocks = [block for block in config.read_text().split("\n\n") if f"Host {self.name}\n" not in block]
        config.write_text("\n\n".join(blocks).rstrip("\n") + "\n")
        ports = [line.split()[1] for block in blocks for line in block.splitlines() if line.strip().startswith("Port ")]
        lines = known.read_text().splitlines()
        known.write_text("".join(f"{line}\n" for line in lines if any(f":{port} " in line for port in ports)))
