"""nginx in the place of nginx: both want ports 80 and 443, so for a second there is none.

Before that, a moment is waited for in which no request is old: the short ones finish by themselves. In that second new
connections over IPv4 are led to a third nginx (stand_in.py), and wait for nothing. Where that cannot be, over IPv6, and
for the server itself, they are not refused, but not answered: a client's kernel asks again after a second, and
gets one. For this an iptables rule drops the first packet of connections (SYN), and nothing else. It ends by itself.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from ...layout import PROJECT, Service
from ...machine.onhost.atomic import RefusedError
from .beside import LISTENS, Found, listening, sockets
from .containers import NOT_STARTED, inspected, run
from .stand_in import PORTS, Rule, StandIn, await_listening, outliving
from .workers import alive, master, renewed

# No request is older than this, in the moment that is waited for.
YOUNG = 2.0
Calm = Callable[[], AbstractContextManager[None]]
# What a request that runs then has to finish, and how long the door is held at most.
GRACE, SECONDS = 2, 4
ESTABLISHED, ARRIVING = "01", "03"
# nginx is done with them, and the kernel still sends: FIN_WAIT1, LAST_ACK, CLOSING.
CLOSED = ("04", "09", "0B")


def quiet(seconds: float) -> bool:
    """Wait for a moment in which all of nginx's requests began within the last two seconds; False where none came.

    A reload tells: the processes of before end with their last request. What the kernel has to send then is waited for.
    """
    end = time.monotonic() + seconds
    while True:
        begun, process = time.monotonic(), master()
        sent, old = tails(process), renewed()
        while alive(old) or sent & tails(process):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        if time.monotonic() - begun < YOUNG:
            return True


def swap(old: Found, new: Found, instead: StandIn | None = None, as_loaded: Calm = contextlib.nullcontext) -> int:
    """Stop one nginx and start the other. Returns how many connections were cut off in the middle of something.

    instead: who serves meanwhile; as_loaded: see generations.py. Raises RefusedError where the new one does not start:
    then the old one runs again.
    """
    with held(old, instead, as_loaded):
        cut = _stop(old)
        try:
            run(["docker", "start", new["id"]], "docker start", NOT_STARTED)
            await_listening(new["id"], new["name"])
        except BaseException:
            _stop(new)
            with as_loaded():
                run(["docker", "start", old["id"]], "docker start", NOT_STARTED)
                await_listening(old["id"], old["name"])
            raise
    return cut


@contextlib.contextmanager
def held(old: Found, instead: StandIn | None = None, as_loaded: Calm = contextlib.nullcontext) -> Iterator[None]:
    """Nobody is sent away: they are led to `instead`, or are not let in for some seconds at most. Where there is no
    iptables, people are sent away.

    old: it runs again where nginx does not run then, as we were killed.
    """
    ports = published(old)
    led = [instead.way] if instead else []
    shut = [_shut("iptables", ports), _shut("ip6tables", ports)]
    some = _not_led(instead, ports) if instead else []
    label = "--filter label=com.docker.compose."
    runs = f"docker ps --quiet {label}project={PROJECT} {label}service={Service.NGINX} {label}oneoff=False"
    # The door opens by itself: once more in the end, as a slow machine may close it late. nginx is looked for once we
    # are done, or dead: then our end of the pipe is closed.
    script = (
        f"read -r closed; sleep {SECONDS}; {_away([*some, *shut])}; cat >/dev/null; {_away([*some, *shut])}; "
        f'test -n "$({runs})" || {{ docker start {old["id"]}; sleep 1; }}; {_away(led)}'
    )
    # Before the door is closed there is somebody who opens it, whatever becomes of us.
    guard = outliving(script)
    try:
        if instead and instead.way.carry_out("-I"):
            shut = [*some, shut[1]]
            # Those over IPv6 are let in still.
            with as_loaded():
                _drain(old)
        if guard.stdin:
            guard.stdin.write(b"\n")
            guard.stdin.flush()
        for rule in shut:
            rule.carry_out("-I")
        yield
    finally:
        for rule in [*shut, *led]:
            rule.carry_out("-D")
        if guard.stdin:
            guard.stdin.close()


def published(found: Found) -> tuple[str, ...]:
    """The ports of the host that an nginx has: beside 80 and 443 one for a load balancer, too."""
    bindings = inspected([found["id"]])[0]["HostConfig"]["PortBindings"]
    return tuple(sorted({each["HostPort"] for bound in bindings.values() for each in bound}, key=int))


def _not_led(instead: StandIn, ports: tuple[str, ...]) -> list[Rule]:
    """For whom `instead.way` does not lead there: the host itself, its containers, and who comes to other ports."""
    rules = [_shut("iptables", PORTS, "-i", "lo"), _shut("iptables", PORTS, "-s", instead.address)]
    if others := tuple(port for port in ports if port not in PORTS):
        rules.append(_shut("iptables", others))
    return rules


def _shut(program: str, ports: tuple[str, ...], *whose: str) -> Rule:
    return Rule(program, "raw", (*whose, "-j", "DROP"), ports)


def _away(rules: Iterable[Rule]) -> str:
    """What takes them out, for a shell."""
    return "; ".join(" ".join([*rule.command("-D"), "2>&1"]) for rule in rules) or ":"


def _drain(found: Found) -> None:
    """Let what is under way there end, as far as it does soon. Nobody new is led there."""
    # One that does not run has nothing.
    with contextlib.suppress(RefusedError):
        pid, end = _pid(found["id"]), time.monotonic() + GRACE
        # Who knocked before is let in; later they would be sent away.
        while arriving(pid) and time.monotonic() < end:
            time.sleep(0.01)
        old = renewed()
        while (alive(old) or tails(pid)) and time.monotonic() < end:
            time.sleep(0.02)


def _stop(found: Found) -> int:
    """Let it finish what it is at, and stop it in any case. Returns how many connections that cut off."""
    # With the last process its network goes.
    return len(tails(_pid(found["id"]))) + stop(found["id"], GRACE)


def stop(container: str, seconds: int) -> int:
    """Let an nginx finish what it is at, and stop it in any case. Its listeners are closed at once (SIGQUIT).

    seconds: to wait at most. Returns how many connections were cut off then.
    """
    pid = _pid(container)
    stopping = subprocess.Popen(
        ["docker", "stop", "--time", str(seconds), container],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    cut, end = 0, time.monotonic() + seconds
    while stopping.poll() is None:
        if time.monotonic() < end:
            # An idle connection is closed at once, so these are at something.
            cut = listening(pid, ESTABLISHED)
        time.sleep(0.02)
    return cut if time.monotonic() >= end else 0


def arriving(pid: int) -> int:
    """How many connections to nginx are half made, or are made and wait to be taken (proc(5), net/tcp)."""
    found = list(sockets(pid))
    return sum(each.state == ARRIVING for each in found) + sum(each.unread for each in found if each.state == LISTENS)


def tails(pid: int) -> set[str]:
    """Other ends of connections that nginx is done with, and that did not get all of it yet."""
    return {each.other for each in sockets(pid) if each.state in CLOSED and each.unsent}


def _pid(container: str) -> int:
    return int(inspected([container])[0]["State"]["Pid"])
