"""The old server's door for the new one while a registry moves: a key that can read one copy, and do nothing else.

The key is made on the new server, and its public half comes to the old one's authorized_keys with `restrict` and a
command (sshd(8)): the program below, in a directory that a reboot clears.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ...layout import COPY, COPY_OUT, DATA, MOVE, PROJECT
from ...machine.onhost.atomic import RefusedError, replace
from .inside import ENTER

PROGRAM = f"{MOVE}/gate.py"
KEY = f"{MOVE}/key"
KNOWN = f"{MOVE}/known_hosts"
MARK = f"{PROJECT} move"
# What rsync asks for with our options (arrive.py): to read below `./`, and nothing else of its many options.
ALLOWED = r"-[lrtpzR]+e\.[A-Za-z]*|--files-from=-|--from0|--ignore-missing-args"
GATE = f"""\
import os, re, sys
words = os.environ.get("SSH_ORIGINAL_COMMAND", "").split()
if words == ["true"]:
    sys.exit(0)
plain = all(re.fullmatch({ALLOWED!r}, word) for word in words[3:-2])
if len(words) < 5 or words[:3] != ["rsync", "--server", "--sender"] or words[-2:] != [".", "./"] or not plain:
    sys.exit("this key reads a copy of the registry, and does nothing else")
enter = {ENTER!r}
os.execvp("python3", ["python3", "-I", "-B", "-c", enter, *sys.argv[1:], *words])
"""
# sshd looks for keys there (sshd_config(5), AuthorizedKeysFile).
PLACES = ("/root/.ssh/authorized_keys",)


def allowed(words: Sequence[str]) -> bool:
    """The same question, where this machine is between: whether a command does no more than read the copy."""
    plain = all(re.fullmatch(ALLOWED, word) for word in words[3:-2])
    return [*words[:3], *words[-2:]] == ["rsync", "--server", "--sender", ".", "./"] and len(words) > 4 and plain


def make_key(host_keys: list[str]) -> str:
    """A key of this server for the old one, in the place of one of before. Returns its public half; '' without ssh.

    host_keys: of the old server, as in /etc/ssh/ssh_host_*_key.pub.
    """
    shutil.rmtree(MOVE, ignore_errors=True)
    Path(MOVE).mkdir(mode=0o700)
    if not (shutil.which("ssh") and shutil.which("ssh-keygen")):
        return ""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", MARK, "-f", KEY]
    subprocess.run(argv, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    lines = [f"old {' '.join(each.split()[:2])}\n" for each in host_keys]
    replace(Path(KNOWN), "".join(lines).encode(), 0o600)
    return Path(f"{KEY}.pub").read_text("utf-8").strip()


def forget_key() -> None:
    """Remove the key."""
    shutil.rmtree(MOVE, ignore_errors=True)


def ssh(address: str, port: int) -> list[str]:
    """How the new server logs in to the old one: with that key, that host key, and nothing else."""
    options = (
        "BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={KNOWN}",
        "GlobalKnownHostsFile=/dev/null", "HostKeyAlias=old", "ConnectTimeout=10", "ServerAliveInterval=15",
        "Compression=no",
    )  # fmt: skip
    pairs = [part for option in options for part in ("-o", option)]
    return ["ssh", "-F", "/dev/null", *pairs, "-i", KEY, "-p", str(port), "-l", "root", address]


def way(places: list[tuple[str, int]]) -> tuple[list[str], str]:
    """The first of these (address, port) at which the old server lets us in, as `ssh` has it; else [], and why not."""
    said = "there is no ssh"
    if not Path(KEY).is_file():
        return [], said
    for address, port in places:
        argv = [*ssh(address, port), "true"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            return argv[:-1], ""
        said = f"{address}: {(done.stderr.strip() or 'no message').splitlines()[-1][:200]}"
    return [], said


def host_keys() -> list[str]:
    """The host keys of this server. Changes nothing."""
    return [file.read_text("utf-8", "replace").strip() for file in sorted(Path("/etc/ssh").glob("ssh_host_*_key.pub"))]


def let_in(directory: str, public: str) -> None:
    """Let whoever has that key read the copy in `.copy/out`, until `shut` or a reboot."""
    if not re.fullmatch(r"ssh-ed25519 [A-Za-z0-9+/=]+ [\w -]+", public):
        raise RefusedError(f"that is no key of ours: {public[:80]}", "run the same command again")
    Path(MOVE).mkdir(mode=0o700, exist_ok=True)
    replace(Path(PROGRAM), GATE.encode(), 0o600)
    command = f"python3 -I -B {PROGRAM} {_quoted(f'{directory}/{DATA}')} {COPY}/{COPY_OUT}"
    for name in PLACES:
        file = Path(name)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        kept = _others(file)
        _write(file, f'{kept}restrict,command="{command}" {public}\n')


def shut() -> None:
    """Nobody comes in by such a key any more."""
    shutil.rmtree(MOVE, ignore_errors=True)
    for name in PLACES:
        file = Path(name)
        with contextlib.suppress(FileNotFoundError):
            if (kept := _others(file)) != file.read_text("utf-8", "surrogateescape"):
                _write(file, kept)


def _others(file: Path) -> str:
    """What is not ours."""
    try:
        text = file.read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""
    lines = [line for line in text.splitlines(keepends=True) if not line.rstrip().endswith(MARK)]
    return "".join(lines) + ("\n" if lines and not lines[-1].endswith("\n") else "")


def _write(file: Path, text: str) -> None:
    """Whole or not at all, and as it was: of the same mode and owner; where it is a link, what that leads to."""
    place = Path(os.path.realpath(file))
    old = place.stat() if place.exists() else None
    owner = (old.st_uid, old.st_gid) if old else None
    replace(place, text.encode("utf-8", "surrogateescape"), old.st_mode & 0o777 if old else 0o600, owner)


def _quoted(text: str) -> str:
    """For a shell, within the quotes of authorized_keys: DEPLOY_DIR has plain characters alone (rules.py)."""
    if not re.fullmatch(r"[\w./@+-]+", text):
        raise RefusedError(f"{text} has characters that authorized_keys does not take", "another DEPLOY_DIR")
    return text
