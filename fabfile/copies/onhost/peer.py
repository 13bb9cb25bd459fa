"""How two servers reach each other: a key of SSH that may ask for one thing alone, and a host key that was verified."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ...layout import PROJECT, STANDBY, STANDBY_KEY, STANDBY_KNOWN, STANDBY_SSH
from ...machine.onhost.atomic import RefusedError, replace

# What the other one is called in our files, whatever its address.
OTHER = "other"
COMMENT = f"{PROJECT}-standby"
CONNECT_SECONDS = 10
CONFIG = """\
Host {other}
    HostName {host}
    Port {port}
    User root
    IdentityFile {directory}/{key}
    IdentitiesOnly yes
    PreferredAuthentications publickey
    HostKeyAlias {other}
    UserKnownHostsFile {directory}/{known}
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
    BatchMode yes
    ConnectTimeout {seconds}
    ServerAliveInterval 15
    ServerAliveCountMax 4
"""


def key(directory: str) -> str:
    """The public key of this server, made where there is none: type and base64."""
    root = Path(directory)
    (root / STANDBY).mkdir(mode=0o700, exist_ok=True)
    path = root / STANDBY_KEY
    if not path.is_file():
        draft = path.with_name("key.new")
        for each in (draft, draft.with_name("key.new.pub")):
            each.unlink(missing_ok=True)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", COMMENT, "-f", str(draft)]
        try:
            subprocess.run(argv, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        except FileNotFoundError:
            raise RefusedError("there is no ssh-keygen", "on the server: apt-get install openssh-client") from None
        except subprocess.CalledProcessError as error:
            raise RefusedError(f"ssh-keygen: {error.stderr.decode(errors='replace').strip()}") from None
        draft.replace(path)
    public = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], check=True, capture_output=True, text=True)
    return " ".join(public.stdout.split()[:2])


def let_in(directory: str, public: str) -> bool:
    """Let whoever has that key ask for what offer.py gives, as root, and for nothing else. Returns whether it is news.

    A line with another key of ours goes; all else in the file stays as it is.
    """
    path = Path("~root/.ssh/authorized_keys").expanduser().resolve()
    line = f'restrict,command="sh {directory}/inv offer" {public} {COMMENT}'
    before = path.read_text("utf-8", "surrogateescape") if path.is_file() else ""
    lines = [each for each in before.splitlines() if not each.rstrip().endswith(f" {COMMENT}")]
    after = "\n".join([*lines, line, ""])
    if after == before:
        return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace(path, after.encode("utf-8", "surrogateescape"), 0o600)
    return True


def addresses() -> list[tuple[str, int]]:
    """The address and port at which SSH came in just now."""
    pid = os.getpid()
    while pid > 1:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            status = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return []
        for each in environment:
            name, _, value = each.decode("ascii", "replace").partition("=")
            if name == "SSH_CONNECTION" and len(words := value.split()) == 4 and words[3].isdigit():
                return [(words[2].partition("%")[0], int(words[3]))]
        # The name of the program, in brackets, may have anything in it (proc(5)).
        pid = int(status.rpartition(")")[2].split()[1])
    return []


def know(directory: str, host_key: str, places: list[tuple[str, int]]) -> str:
    """Find the other server at one of these addresses, by its host key alone, and remember where it was.

    host_key: as the operator has verified it: type and base64. Returns the address. Raises RefusedError where it
    answers at none of them, or does not let us in.
    """
    root = Path(directory)
    replace(root / STANDBY_KNOWN, f"{OTHER} {host_key}\n".encode(), 0o600)
    said: list[str] = []
    for host, port in places:
        text = CONFIG.format(
            other=OTHER, host=host, port=port, directory=directory, key=STANDBY_KEY, known=STANDBY_KNOWN,
            seconds=CONNECT_SECONDS,
        )  # fmt: skip
        draft = root / f"{STANDBY_SSH}.new"
        replace(draft, text.encode(), 0o600)
        done = ask(directory, "epoch", config=str(draft))
        # It may not know of us yet.
        if done.returncode == 0 or "error:" in done.stderr:
            draft.replace(root / STANDBY_SSH)
            return host
        said.append(f"{host} port {port}: {last_line(done.stderr)}")
    remedy = "is a firewall between them? This server must reach port 22 of the other"
    if any("Permission denied" in each for each in said):
        remedy = "there, in sshd_config: PermitRootLogin forced-commands-only (or prohibit-password), then reload sshd"
    raise RefusedError(f"the other server does not let this one in: {'; '.join(said) or 'it has no address'}", remedy)


def ask(directory: str, *words: str, config: str = "", seconds: float = 3600.0) -> subprocess.CompletedProcess[str]:
    """Ask the other server for something; config: by another file than ours.

    Never raises: where there is no answer, that is in what it returns.
    """
    argv = ["ssh", "-F", config or f"{directory}/{STANDBY_SSH}", OTHER, *words]
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
            timeout=seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 255, "", f"no answer for {seconds:.0f} seconds")
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, 255, "", "ssh: command not found")


def last_line(text: str) -> str:
    """What was said last."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "no message"
