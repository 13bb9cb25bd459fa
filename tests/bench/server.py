"""The sandbox's server as the benchmark uses it: files, containers of its engine, the client in one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.sandbox import Sandbox, SandboxError

from .contenders import BENCH, STACK, TOOLS

NETWORK = f"{STACK}_outside"
CLIENT = "bench-client"
HERE = Path(__file__).parent


class Server:
    """All of it goes past our own tool, as root."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def sh(self, script: str, *args: str, check: bool = True) -> str:
        """Run a shell script on the server."""
        return self.sandbox.exec("server", "sh", "-c", script, "sh", *args, check=check)

    def write(self, path: str, text: str) -> None:
        """Put a file below BENCH, with the directories above it."""
        script = 'mkdir -p "$(dirname "$1")" && cat > "$1"'
        self.sandbox.exec("server", "sh", "-c", script, "sh", f"{BENCH}/{path}", input=text)

    def run(self, name: str, image: str, *command: str, options: tuple[str, ...] = ()) -> None:
        """Start a container on the stack's own network, in the place of an older one; no limits."""
        self.sh('docker rm --force --volumes "$1" >/dev/null 2>&1 || :', name)
        self.sandbox.exec(
            "server", "docker", "run", "--detach", "--name", name, "--network", NETWORK,
            "--volume", f"{BENCH}:{BENCH}", *options, image, *command,
        )  # fmt: skip

    def address(self, container: str) -> str:
        """Its IPv4 address on that network."""
        form = f'{{{{(index .NetworkSettings.Networks "{NETWORK}").IPAddress}}}}'
        return self.sandbox.exec("server", "docker", "inspect", "-f", form, container).strip()

    def start_client(self, hosts: dict[str, str]) -> None:
        """Start where the load comes from. hosts: the address that each name shall have."""
        names = tuple(f"--add-host={name}:{address}" for name, address in hosts.items())
        self.write("client/load.py", (HERE / "load.py").read_text())
        self.run(CLIENT, TOOLS, "sleep", "infinity", options=("--init", *names))
        trust = f"cp {BENCH}/tls/ca.pem /usr/local/share/ca-certificates/bench.crt\n"
        trust += f"cp {BENCH}/tls/ours.pem /usr/local/share/ca-certificates/ours.crt\n"
        self.sandbox.exec("server", "docker", "exec", CLIENT, "sh", "-ec", trust + "update-ca-certificates")

    def ask(self, order: str, **job: object) -> dict[str, Any]:
        """Let the client do something, see `load.py`; what it found."""
        python = ("docker", "exec", CLIENT, "python3", f"{BENCH}/client/load.py")
        found: dict[str, Any] = json.loads(self.sandbox.exec("server", *python, order, json.dumps(job)))
        return found

    def watch_memory(self, containers: tuple[str, ...]) -> subprocess.Popen[str]:
        """Begin to look at their memory; `peak` ends it."""
        self.write("memory.py", (HERE / "memory.py").read_text())
        return subprocess.Popen(
            ["docker", "exec", "-i", self.sandbox.container("server"), "python3", f"{BENCH}/memory.py", *containers],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def free_megabytes(self) -> int:
        return int(self.sh("df --output=avail --block-size=1M / | tail -1"))


def peak(watcher: subprocess.Popen[str]) -> float:
    """The most that was seen, in MB."""
    seen, _ = watcher.communicate("")
    if watcher.returncode:
        raise SandboxError("nothing could be learnt of the memory of the contender's containers")
    return float(seen)
