"""certbot on the host, one at a time."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, TypedDict

from ... import layout
from ...layout import CERTBOT_CONTAINER, Service
from ...machine.onhost import beneath
from ...machine.onhost.atomic import FULL, RefusedError
from ...machine.onhost.owner import give
from ...machine.onhost.reserve import given
from ...stack.onhost.containers import once
from . import acme_accounts, half_made
from .acme import retry_after

LOG = "letsencrypt.log"
OUTPUT_BYTES = 1 << 18
BUSY = "Another instance of Certbot is already running"


class Ran(TypedDict):
    """What became of certbot.

    asked: whether certbot itself ran. code: the exit status. output: its end. retry_after: seconds since 1970 that
    the ACME server named, or 0. moved: places below its directory of accounts that the server did not know and that
    certbot uses no more.
    """

    asked: bool
    code: int
    output: str
    retry_after: float
    moved: list[str]


class AcmeAccount(TypedDict):
    """Where certbot's account is, and how it gets another one.

    server: a directory URL. conf: certbot's directory, below DEPLOY_DIR. name: of the certificate. register: certbot's
    arguments that make a new account.
    """

    server: str
    conf: str
    name: str
    register: list[str]


def ask(directory: str, args: list[str], account: AcmeAccount) -> Ran:
    """Run certbot with these arguments and that account: see `run`. directory: DEPLOY_DIR.

    One that the server does not know any more, or that is damaged, is moved aside; where none is left, a new one is
    made first.
    """
    # One that makes an account just now has it half made.
    wait(CERTBOT_CONTAINER)
    conf, server = f"{directory}/{account['conf']}", account["server"]
    moved = acme_accounts.set_damaged_aside(conf, server)
    registered = False
    while True:
        ours = acme_accounts.chosen(conf, server, account["name"])
        answer = _ask(directory, [*args, *(["--account", ours] if ours else [])], moved)
        if answer["code"] == 0 or registered or not (answer["asked"] and _forgotten(answer["output"], directory)):
            return answer
        place = acme_accounts.set_aside(conf, server, ours)
        if place:
            moved.append(place)
        if not acme_accounts.known(conf, server):
            # Once: an authority that forgets a new one at once would get one after the other.
            registered = True
            made = _ask(directory, account["register"], moved)
            if made["code"]:
                return made
        elif not place:
            return answer


def register(directory: str, account: AcmeAccount) -> Ran | None:
    """See to an account at the ACME server, before anything is ordered. Returns None where one is there already."""
    wait(CERTBOT_CONTAINER)
    conf, server = f"{directory}/{account['conf']}", account["server"]
    acme_accounts.set_damaged_aside(conf, server)
    return None if acme_accounts.known(conf, server) else _ask(directory, account["register"], [])


def _ask(directory: str, args: list[str], moved: list[str]) -> Ran:
    ran = run(command(Path(directory), args), CERTBOT_CONTAINER, f"{directory}/{layout.CERTBOT}")
    return {**ran, "moved": moved}


def _forgotten(output: str, directory: str) -> bool:
    """Whether it failed as there is no such account: here, or at the authority. directory: DEPLOY_DIR."""
    if acme_accounts.UNKNOWN.search(output):
        return True
    logs = Path(directory) / layout.CERTBOT_LOG
    return beneath.there(logs, LOG) is not None and "error:accountDoesNotExist" in beneath.text(logs, LOG)


def command(root: Path, args: list[str]) -> list[str]:
    """A certbot command in a container of a fixed name, so that a second one finds the first."""
    return once(root, "--name", CERTBOT_CONTAINER, Service.CERTBOT, *args)


def run(command: list[str], container: str, directory: str, seconds: float = 120, limit: float = 1800) -> Ran:
    """Run certbot in its container; first wait for one that is still at work.

    command: `docker compose run --name CONTAINER … certbot …`. A `docker` client that is killed
    leaves its container running, with an order under way: to start a second one would waste it.
    directory: what its container mounts, with certbot's own log of its latest run in `log`.
    limit: seconds after which it is ended: a hook that hangs must not stop renewals for ever.
    Raises RefusedError when another certbot does not end in time.
    """
    wait(container, seconds)
    # certbot's root may not write what belongs to somebody else, as after a copy from another host.
    give(Path(directory), (0, 0))
    logs = Path(directory) / Path(layout.CERTBOT_LOG).name
    end = time.monotonic() + seconds
    while True:
        # What a killed client left behind when it could not remove it any more.
        subprocess.run(["docker", "rm", "--volumes", container], capture_output=True, check=False)
        start = time.time()
        try:
            # What is kept for it stays free until it has written its files.
            with given(Path(directory).parent):
                if problem := half_made.no_room(str(Path(directory).parent)):
                    raise RefusedError(f"nothing was asked: {problem}", FULL)
                code, output = bounded(command, limit)
        except subprocess.TimeoutExpired:
            subprocess.run(
                ["docker", "rm", "--force", "--volumes", container],
                capture_output=True,
                check=False,
            )
            raise RefusedError(
                f"certbot did not end within {limit / 60:.0f} minutes and was stopped",
                f"{layout.CERTBOT_LOG} says where it hung: a hook?",
            ) from None
        if code == 0 or BUSY not in output:
            # Docker's own failures leave the log of an earlier run.
            written = beneath.there(logs, LOG)
            asked = code == 0 or (written is not None and written.st_mtime >= start - 1)
            later = _retry_after(logs) if asked and code else 0
            return {"asked": asked, "code": code, "output": output, "retry_after": later, "moved": []}
        _wait(end, "another certbot works in the same directory")


def bounded(command: list[str], seconds: float) -> tuple[int, str]:
    """Exit status and the last OUTPUT_BYTES of what a command prints: it may print for ever.

    Raises subprocess.TimeoutExpired; the command is killed then.
    """
    kept = b""
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    # A group of its own: a child that holds the pipe must not outlive the limit.
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, **pipes) as process:
        timer = threading.Timer(seconds, _end, [process.pid])
        timer.start()
        try:
            while block := os.read(process.stdout.fileno(), 1 << 16):  # type: ignore[union-attr]
                kept = (kept + block)[-OUTPUT_BYTES:]
            code = process.wait()
        except BaseException:
            _end(process.pid)
            raise
        finally:
            over = not timer.is_alive()
            timer.cancel()
    if over:
        raise subprocess.TimeoutExpired(command, seconds)
    return code, kept.decode("utf-8", "replace")


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _retry_after(logs: Path) -> float:
    """The last Retry-After of an answer that refused something (RFC 8555, 6.6). certbot itself shows
    none of the answers' headers; its log has them all.
    """
    if beneath.there(logs, LOG) is None:
        return 0
    text = beneath.text(logs, LOG)
    found = re.findall(r"^HTTP (?:429|503)\n(?:.+\n)*?Retry-After:[ \t]*([^\n]{1,64})", text, re.M | re.I)
    return retry_after(found[-1].strip()) if found else 0


def wait(container: str, seconds: float = 120) -> None:
    """Wait until no certbot of ours is at work. Raises RefusedError when it does not end in time."""
    end = time.monotonic() + seconds
    while busy(container):
        _wait(end, f"the container {container} is still running (docker rm -f {container} ends it)")


def busy(container: str) -> bool:
    """Whether a certbot of ours is at work. Changes nothing."""
    if not shutil.which("docker"):
        raise RefusedError("Docker is missing", "./fab -H … provision")
    listing = subprocess.run(
        ["docker", "ps", "--quiet", "--filter", f"name=^{container}$"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listing.returncode:
        raise RefusedError("the Docker engine does not run", "./fab -H … check")
    return bool(listing.stdout.strip())


def _wait(end: float, why: str) -> None:
    if time.monotonic() > end:
        raise RefusedError(why, "wait until it has ended, then run the same command again")
    time.sleep(1)
