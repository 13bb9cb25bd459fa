"""nginx in the place of nginx: both want ports 80 and 443, so for a second there is none.

Before that, a moment is waited for in which no request is old: the short ones finish by themselves. In that second new
connections are not refused, but not answered: a client's kernel asks again after a second, and gets one. For this an
iptables rule drops the first packet of connections (SYN), and nothing else. It ends by itself.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from ...layout import PROJECT, Service
from ...machine.onhost.atomic import RefusedError
from .beside import Found, listening
from .containers import NOT_STARTED, compose, inspected, last_words, run
from .workers import alive, renewed

# No request is older than this, in the moment that is waited for.
YOUNG = 2.0
# What a request that runs then has to finish, and how long the door is held at most.
GRACE, SECONDS = 2, 4
TABLES = ("iptables", "ip6tables")
RULE = (
    "PREROUTING", "-p", "tcp", "-m", "multiport", "--dports", "PORTS", "--syn",
    "-m", "addrtype", "--dst-type", "LOCAL", "-m", "comment", "--comment", PROJECT, "-j", "DROP",
)  # fmt: skip
LISTENING_SECONDS = 10
ESTABLISHED = "01"


def quiet(seconds: float) -> bool:
    """Wait for a moment in which all of nginx's requests began within the last two seconds; False where none came.

    A reload tells: the processes of before end with their last request.
    """
    end = time.monotonic() + seconds
    while True:
        begun = time.monotonic()
        old = renewed()
        while alive(old):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        if time.monotonic() - begun < YOUNG:
            return True


def swap(old: Found, new: Found) -> int:
    """Stop one nginx and start the other. Returns how many connections were cut off in the middle of something.

    Raises RefusedError where the new one does not start: then the old one runs again.
    """
    with held(old):
        cut = _stop(old)
        try:
            run(["docker", "start", new["id"]], "docker start", NOT_STARTED)
            _await_listening(new["id"], new["name"])
        except BaseException:
            _stop(new)
            run(["docker", "start", old["id"]], "docker start", NOT_STARTED)
            _await_listening(old["id"], old["name"])
            raise
    return cut


@contextlib.contextmanager
def held(old: Found) -> Iterator[None]:
    """Nobody is let in, and nobody is sent away, for some seconds at most. Where there is no iptables, people are sent
    away.

    old: it runs again where nginx does not run then, as we were killed.
    """
    commands = [[table, "-w", "1", "-t", "raw"] for table in TABLES]
    published = inspected([old["id"]])[0]["HostConfig"]["PortBindings"]
    ports = ",".join(sorted({each["HostPort"] for bound in published.values() for each in bound}, key=int))
    rule = [ports if word == "PORTS" else word for word in RULE]
    opening = "; ".join(" ".join([*command, "-D", *rule, "2>&1"]) for command in commands)
    label = "--filter label=com.docker.compose."
    runs = f"docker ps --quiet {label}project={PROJECT} {label}service={Service.NGINX} {label}oneoff=False"
    # The door opens by itself. nginx is looked for once we are done, or dead: then our end of the pipe is closed.
    script = f'sleep {SECONDS}; {opening}; cat >/dev/null; test -n "$({runs})" || docker start {old["id"]}'
    # Before the door is closed there is somebody who opens it, whatever becomes of us.
    guard = subprocess.Popen(
        ["sh", "-c", script], start_new_session=True, cwd="/",
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for command in commands:
            _quietly([*command, "-I", *rule])
        yield
    finally:
        for command in commands:
            _quietly([*command, "-D", *rule])
        if guard.stdin:
            guard.stdin.close()


def _quietly(argv: list[str]) -> None:
    with contextlib.suppress(FileNotFoundError, subprocess.TimeoutExpired):
        subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=2, check=False)


def _stop(found: Found) -> int:
    """Let it finish what it is at, and stop it in any case. Returns how many connections that cut off."""
    pid = _pid(found)
    stopping = subprocess.Popen(
        ["docker", "stop", "--time", str(GRACE), found["id"]],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    cut, end = 0, time.monotonic() + GRACE
    while stopping.poll() is None:
        if time.monotonic() < end:
            # An idle connection is closed at once, so these are at something.
            cut = listening(pid, ESTABLISHED)
        time.sleep(0.02)
    return cut if time.monotonic() >= end else 0


def rehearse(root: Path) -> None:
    """Start the nginx that compose.yml names with all that it will have but the ports of the host, and end it again.

    Raises RefusedError with what its log says where it does not get as far as to listen.
    """
    name = f"{PROJECT}-{Service.NGINX}-run-rehearsal"
    clear = ["docker", "rm", "--force", name]
    subprocess.run(clear, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    try:
        options = ("--detach", "--no-deps", "--quiet-pull", "--name", name)
        run(compose(root, "run", *options, Service.NGINX), "docker compose run", NOT_STARTED)
        _await_listening(name, name)
    finally:
        subprocess.run(clear, capture_output=True, stdin=subprocess.DEVNULL, check=False)


def _await_listening(container: str, name: str) -> None:
    end = time.monotonic() + LISTENING_SECONDS
    while time.monotonic() < end:
        found = inspected([container])[0]
        state = found["State"]
        if state["Running"] and listening(int(state["Pid"])):
            return
        if found["RestartCount"] or state["Status"] == "exited":
            break
        time.sleep(0.02)
    raise RefusedError(f"container {name} does not start: {last_words(name)}", NOT_STARTED)


def _pid(found: Found) -> int:
    return int(inspected([found["id"]])[0]["State"]["Pid"])
