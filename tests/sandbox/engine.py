"""Docker and Docker Compose v2 on this machine, installed only when they are missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from .commands import STATE, SandboxError, Say, apt_install, apt_update, locked, output, succeeds
from .images import ensure_images

PLUGIN = Path("/usr/local/lib/docker/cli-plugins/docker-compose")
# Left behind by an engine that was killed; each stops the next start when its number was
# given to another process since (moby: pkg/pidfile).
PID_FILES = (Path("/var/run/docker.pid"), Path("/var/run/docker/containerd/containerd.pid"))
SOCKET = Path("/var/run/docker.sock")
START_SECONDS = 60


def ensure_engine(say: Say) -> None:
    """Make `docker info` and `docker compose version` (2 or later) work on this machine.

    Does nothing when they do. Installs Debian's or Ubuntu's packages as root, and leaves them
    installed and the engine running.
    """
    if not engine_answers():
        with locked("engine", say):
            _start_engine(say)
    if not compose_answers():
        with locked("engine", say):
            _install_compose(say)


def engine_answers() -> bool:
    """True when the docker client reaches an engine."""
    return succeeds("docker", "info")


def compose_answers() -> bool:
    """True for Compose 2 or later; the old Python `docker-compose` is another program."""
    if not shutil.which("docker"):
        return False
    version = output("docker", "compose", "version", "--short", check=False)
    return _major(version) >= 2


def _start_engine(say: Say) -> None:
    if engine_answers():  # whoever held the lock has done it
        return
    remote = os.environ.get("DOCKER_HOST")
    if remote:
        raise SandboxError(f"No engine answers at DOCKER_HOST={remote}: start it, or unset it.")
    if SOCKET.exists() and not os.access(SOCKET, os.W_OK):
        raise SandboxError(
            "you may not use Docker here", "sudo usermod --append --groups docker $USER, then log in again"
        )
    if not shutil.which("dockerd") or not shutil.which("docker"):
        _install_docker(say)
    if engine_answers():  # the package's own start script may have done it
        return
    _must_be_root("start Docker: run `sudo systemctl start docker`")
    say("starting the Docker engine (it stays when the sandbox goes)")
    if Path("/run/systemd/system").is_dir():
        output("systemctl", "start", "docker")
    else:
        _start_by_hand()
    deadline = time.monotonic() + START_SECONDS
    while not engine_answers():
        if time.monotonic() > deadline:
            raise SandboxError(
                f"Docker does not answer after {START_SECONDS} s: see .sandbox/dockerd.log or `journalctl -u docker`."
            )
        time.sleep(0.2)


def ensure_rsync(say: Say) -> None:
    """What `backup` and `restore` need on the operator's machine, which this one is."""
    if shutil.which("rsync"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SandboxError("There is no rsync here, which some tests need: please install it.")
    apt_update()
    apt_install(say, "rsync")


def ensure_chromium(say: Say) -> None:
    """What the tests of the page need. Where it cannot be installed they are left out, and say so."""
    if chromium() or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    apt_update()
    apt_install(say, "chromium")


def chromium() -> str:
    """Where it is; '' where it is not."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or ""


def _install_docker(say: Say) -> None:
    _must_be_root("install Docker Engine: https://docs.docker.com/engine/install/")
    apt_update()
    packages = ["docker.io", "iptables"]
    if not shutil.which("docker") and _apt_candidate("docker-cli"):
        packages.append("docker-cli")  # a package of its own since Debian 13
    apt_install(say, *packages)


def _start_by_hand() -> None:
    """Start `dockerd` in a session of its own, so that it outlives this process."""
    for pid_file in PID_FILES:
        if not _is_running(pid_file):
            pid_file.unlink(missing_ok=True)
    if PID_FILES[0].exists():
        return  # it is starting already
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "dockerd.log").open("ab") as log:
        daemon = subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    (STATE / "dockerd.pid").write_text(f"{daemon.pid}\n")


def _is_running(pid_file: Path) -> bool:
    """True when the number in the file belongs to the program the file is named after."""
    try:
        pid = int(pid_file.read_text())
        # "pid (name) state …": proc_pid_stat(5). A zombie is dead, though its directory is there.
        name, state = Path(f"/proc/{pid}/stat").read_text().split("(", 1)[1].rsplit(") ", 1)
    except (OSError, ValueError, IndexError):
        return False
    return name.startswith(pid_file.stem) and not state.startswith(("Z", "X"))


def _install_compose(say: Say) -> None:
    if compose_answers():
        return
    _must_be_root("install Docker Compose 2: https://docs.docker.com/compose/install/linux/")
    apt_update()
    # The name in Docker's own repository, in Ubuntu, in Debian 13.
    for package in ("docker-compose-plugin", "docker-compose-v2", "docker-compose"):
        if _major(_apt_candidate(package)) >= 2:
            apt_install(say, package)
            if compose_answers():
                return
    # Debian 12 has only Compose 1. The plugin of Debian 13 is one static file and runs there.
    ensure_images(say)  # all of them, as two at a time are quicker
    say(f"installing Docker Compose 2 from the sandbox's own image into {PLUGIN}")
    PLUGIN.parent.mkdir(parents=True, exist_ok=True)
    container = output("docker", "create", "registry-sandbox/machine").strip()
    source = f"{container}:/usr/libexec/docker/cli-plugins/docker-compose"
    try:
        output("docker", "cp", source, str(PLUGIN))
    finally:
        output("docker", "rm", "-f", "-v", container)
    if not compose_answers():
        raise SandboxError(f"{PLUGIN} does not run here: install Docker Compose 2 yourself.")


def _must_be_root(remedy: str) -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SandboxError(f"Docker is missing or stopped here; please {remedy}.")


def _apt_candidate(package: str) -> str:
    if not shutil.which("apt-cache"):
        return ""
    told = output("apt-cache", "policy", package, check=False, env={"LC_ALL": "C"})
    found = re.search(r"Candidate: (\S+)", told)
    return found[1] if found else ""


def _major(version: str) -> int:
    found = re.match(r"(?:\d+:)?v?(\d+)\.", version.strip())
    return int(found[1]) if found else 0
