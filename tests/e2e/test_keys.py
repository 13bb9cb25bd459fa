"""What logs in with ssh logs in with ./fab: agents, IdentityFile, passphrases; a real sshd and real agents."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pexpect
import pytest

from .test_refusals import FAB, run
from .world import World, wait_until

KEYS = 8


@dataclass
class Laptop:
    """A home of somebody's own with keys: `good`, which the server takes, and others which it does not."""

    world: World
    home: Path
    stack: ExitStack
    environment: dict[str, str] = field(default_factory=dict)

    def config(self, text: str) -> None:
        """Their ~/.ssh/config for the server; GOOD, OTHER, LOCKED and HOME are filled in."""
        lines = [
            "Host server", "HostName 127.0.0.1", f"Port {self.world.sandbox.port(22)}", "User root",
            f"UserKnownHostsFile {self.world.sandbox.directory}/known_hosts", "StrictHostKeyChecking yes",
            *text.split("\n"),
        ]  # fmt: skip
        for word in ("GOOD", "OTHER", "LOCKED", "PLAIN"):
            lines = [line.replace(word, str(self.home / word.lower())) for line in lines]
        (self.home / "more").write_text(f"IdentityFile {self.home}/good\n")
        (self.home / "config").write_text("\n".join(line.replace("HOME", str(self.home)) for line in lines) + "\n")

    def agent(self, name: str, *keys: str) -> Path:
        """A running agent with these keys."""
        socket = self.home / f"{name}.sock"
        agent = subprocess.Popen(
            ["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.stack.callback(agent.wait)
        self.stack.callback(agent.terminate)
        wait_until(socket.exists, "the agent listens")
        for key in keys:
            argv = ["ssh-add", "-q", str(self.home / key)]
            subprocess.run(argv, env={**os.environ, "SSH_AUTH_SOCK": str(socket)}, check=True, capture_output=True)
        return socket

    def ssh(self) -> subprocess.CompletedProcess[str]:
        """What ssh itself makes of it."""
        argv = ("ssh", "-F", str(self.home / "config"), "-o", "BatchMode=yes", "server", "true")
        return run(*argv, **{"SSH_AUTH_SOCK": "", **self.environment})

    def command(self, *options: str) -> list[str]:
        return [FAB, "-S", str(self.home / "config"), *options, "-H", "server", "unlock"]

    def fab(self, *options: str) -> subprocess.CompletedProcess[str]:
        """A task that does nothing but log in and look."""
        environment = {
            "SSH_AUTH_SOCK": "",
            "HOME": str(self.home),
            "ENV_FILE": str(self.world.settings),
            **self.environment,
        }
        return run(*self.command(*options), **environment)


@pytest.fixture(scope="module")
def keys(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("keys")
    shutil.copy2(world.sandbox.directory / "id_ed25519", home / "good")
    made = {f"other{number}": ("ed25519", "") for number in range(KEYS)}
    made |= {"locked": ("ed25519", "a passphrase"), "plain": ("rsa", "another passphrase")}
    for name, (kind, phrase) in made.items():
        form = ["-m", "PEM"] if kind == "rsa" else []
        argv = ["ssh-keygen", "-q", "-t", kind, *form, "-N", phrase, "-f", str(home / name)]
        subprocess.run(argv, check=True)
    public = subprocess.run(["ssh-keygen", "-y", "-f", home / "good"], capture_output=True, text=True, check=True)
    (home / "good.pub").write_text(public.stdout)
    (home / "other").write_bytes((home / "other0").read_bytes())
    (home / "other").chmod(0o600)
    return home


def sshd(world: World, script: str) -> None:
    """Change what sshd reads, and wait until it has read it: it closes its port for that."""
    socket = "ss -Hltne 'sport = :22'"
    before = world.server(socket)
    world.server(f"{script}; pkill -HUP -o -x sshd")
    wait_until(lambda: world.server(socket) not in ("", before), "sshd listens anew")


@pytest.fixture(scope="module")
def server(world: World, keys: Path) -> Iterator[World]:
    """It takes `good`, `locked` and `plain`, and holds no refused login against anybody."""
    more = (keys / "locked.pub").read_text() + (keys / "plain.pub").read_text()
    sshd(
        world,
        f"cp -a /root/.ssh/authorized_keys /root/kept-keys; printf '%s' '{more}' >>/root/.ssh/authorized_keys; "
        "echo 'PerSourcePenalties no' >/etc/ssh/sshd_config.d/penalties.conf",
    )
    yield world
    sshd(
        world,
        "mv /root/kept-keys /root/.ssh/authorized_keys; usermod --password '*' root; "
        "rm -f /etc/ssh/sshd_config.d/penalties.conf /etc/ssh/sshd_config.d/00-password.conf",
    )


@pytest.fixture
def laptop(server: World, keys: Path, tmp_path: Path) -> Iterator[Laptop]:
    for key in keys.iterdir():
        shutil.copy2(key, tmp_path / key.name)
    with ExitStack() as stack:
        yield Laptop(server, tmp_path, stack)


OTHERS = [f"other{number}" for number in range(KEYS)]


@pytest.mark.parametrize(
    ("config", "named", "inherited"),
    [
        ("IdentityAgent HOME/named.sock\nIdentityFile HOME/none", ["good"], None),
        ("IdentityAgent HOME/named.sock\nIdentityFile OTHER", ["good"], None),
        ("IdentityAgent HOME/named.sock\nIdentityFile HOME/none", ["good"], [*OTHERS[:7], "good"]),
        ("IdentityAgent HOME/named.sock\nIdentitiesOnly yes\nIdentityFile GOOD.pub", ["good"], None),
        ("IdentityAgent HOME/named.sock\nIdentitiesOnly yes\nIdentityFile GOOD.pub", [*OTHERS[:7], "good"], None),
        ("IdentityAgent ${SOCKET_OF_MINE}\nIdentityFile HOME/none", ["good"], None),
        ("IdentityAgent $SOCKET_OF_MINE\nIdentityFile HOME/none", ["good"], None),
        ("IdentityAgent SSH_AUTH_SOCK\nIdentityFile HOME/none", None, ["good"]),
        ("Include HOME/more*", None, None),
        ("IdentityAgent none\nIdentityFile GOOD", None, OTHERS),
        ("IdentityFile HOME/none\nIdentityFile GOOD", None, None),
        ("IdentityFile HOME/none\nIdentityFile HOME/config", None, ["good"]),
        ("IdentitiesOnly yes\nIdentityFile GOOD", None, OTHERS),
        ("IdentitiesOnly yes\nIdentityFile GOOD.pub", None, [*OTHERS, "good"]),
        # The files that are in the agent come first, and one with a passphrase too, as its public half is known.
        ("IdentityFile GOOD", None, [*OTHERS, "good"]),
        ("IdentityFile LOCKED\nIdentityFile GOOD", None, None),
        ("IdentityFile OTHER\nIdentityFile LOCKED\nIdentityFile GOOD", None, OTHERS[:3]),
        # What does not answer is no agent.
        ("IdentityAgent HOME/nobody.sock\nIdentityFile GOOD", None, None),
        ("IdentityAgent \"HOME/named.sock\"\nIdentityFile none", ["good"], None),
    ],
)  # fmt: skip
def test_what_ssh_does_fab_does(
    laptop: Laptop, config: str, named: list[str] | None, inherited: list[str] | None
) -> None:
    """named: the keys in the agent `named.sock`; inherited: those in the agent of SSH_AUTH_SOCK."""
    laptop.config(config)
    laptop.environment["SOCKET_OF_MINE"] = str(laptop.home / "named.sock")
    if named is not None:
        laptop.agent("named", *named)
    if inherited is not None:
        laptop.environment["SSH_AUTH_SOCK"] = str(laptop.agent("inherited", *inherited))
    ssh, fab = laptop.ssh(), laptop.fab()
    assert ssh.returncode == 0, ssh.stderr
    assert fab.returncode == 0, fab.stderr
    assert "nobody holds the lock" in fab.stdout


@pytest.mark.parametrize(
    ("config", "inherited", "what", "remedy"),
    [
        ("IdentityFile HOME/none", OTHERS,
         "the server hung up after 6 of your keys: it takes no more tries", "-i KEY, or"),
        ("IdentityFile OTHER", None,
         "the server does not accept your SSH key", "ssh-copy-id sets it up"),
        ("IdentityFile HOME/none\nIdentityFile OTHER", None,
         "there is no SSH key HOME/none: No such file", "ssh-copy-id"),
        ("IdentityFile HOME/none", None,
         "you have no SSH key to show: there is no SSH key HOME/none", "ssh-keygen makes"),
        ("IdentitiesOnly yes\nIdentityFile GOOD.pub", OTHERS[:1],
         "GOOD.pub is a public key, and no agent has", "ssh-keygen"),
        ("IdentityAgent HOME/nobody.sock\nIdentityFile HOME/none", None,
         "the agent does not answer, HOME/nobody.sock: No such", ""),
        ("IdentityFile LOCKED", None,
         "your SSH key LOCKED has a passphrase", "ssh-add LOCKED, or add --prompt-for-passphrase"),
        ("IdentityFile PLAIN", None,
         "your SSH key PLAIN has a passphrase", "ssh-add PLAIN"),
        ("IdentityFile HOME/config", None,
         "is a public key, and no agent has", ""),
    ],
)  # fmt: skip
def test_where_ssh_does_not_get_in_the_line_says_why(
    laptop: Laptop, config: str, inherited: list[str] | None, what: str, remedy: str
) -> None:
    laptop.config(config)
    if inherited is not None:
        laptop.environment["SSH_AUTH_SOCK"] = str(laptop.agent("inherited", *inherited))
    ssh, fab = laptop.ssh(), laptop.fab()
    assert ssh.returncode == 255
    assert fab.returncode == 1
    for word in ("GOOD", "LOCKED", "PLAIN"):
        what, remedy = (text.replace(word, str(laptop.home / word.lower())) for text in (what, remedy))
    lines = fab.stderr.strip().splitlines()
    assert len(lines) == 2, fab.stderr
    assert lines[0].startswith("error: root@127.0.0.1:")
    assert what.replace("HOME", str(laptop.home)) in lines[0]
    assert remedy in lines[1]


def answered(argv: Sequence[str], environment: dict[str, str], question: str, answer: str) -> tuple[str, int | None]:
    """What a command prints on a terminal where it is given an answer to its question, as one line, and its status."""
    terminal = pexpect.spawn(argv[0], list(argv[1:]), encoding="utf-8", timeout=60, env=environment)
    terminal.expect(question)
    terminal.sendline(answer)
    terminal.expect(pexpect.EOF)
    terminal.close()
    return re.sub(r"\s+", " ", terminal.before or ""), terminal.exitstatus


@pytest.mark.parametrize("key", ["locked", "plain"])
def test_a_passphrase(laptop: Laptop, key: str) -> None:
    """Asked for once, right and wrong, for a key of either form; with the key in the agent it is not needed."""
    laptop.config(f"IdentityFile {key.upper()}")
    right = {"locked": "a passphrase", "plain": "another passphrase"}[key]
    argv = laptop.command("--prompt-for-passphrase")
    environment = {**os.environ, "SSH_AUTH_SOCK": "", "HOME": str(laptop.home), "ENV_FILE": str(laptop.world.settings)}
    for phrase, status, words in (
        (right, 0, "nobody holds the lock"),
        ("wrong-canary", 1, "does not open with this passphrase"),
    ):
        output, exited = answered(argv, environment, "passphrase", phrase)
        assert exited == status, output
        assert words in output
        assert "canary" not in output


def test_a_password_where_the_server_takes_one(laptop: Laptop) -> None:
    """Before it is given, the line names the option; with eight keys in the agent it is what is shown first."""
    sshd(
        laptop.world,
        "printf 'root:log-in canary\\n' | chpasswd; printf 'PermitRootLogin yes\\nPasswordAuthentication yes\\n' "
        ">/etc/ssh/sshd_config.d/00-password.conf",
    )
    laptop.config("IdentityFile OTHER")
    refused = laptop.fab()
    assert "does not accept your SSH key" in refused.stderr
    assert "or add --prompt-for-login-password" in refused.stderr
    laptop.config("IdentityFile HOME/none")
    environment = {
        **os.environ,
        "SSH_AUTH_SOCK": str(laptop.agent("inherited", *OTHERS)),
        "ENV_FILE": str(laptop.world.settings),
    }
    argv = laptop.command("--prompt-for-login-password")
    for password, status, words in (
        ("log-in canary", 0, "nobody holds the lock"),
        ("no canary", 1, "the server hung up after 5 of your keys"),
    ):
        output, exited = answered(argv, environment, "password", password)
        assert exited == status, output
        assert words in output
        assert "canary" not in output


def test_a_name_without_a_user(laptop: Laptop) -> None:
    """The card says `-H registry.example.com`; who logs in then is the name on the laptop."""
    laptop.config("IdentityFile GOOD")
    text = (laptop.home / "config").read_text().replace("User root\n", "")
    (laptop.home / "config").write_text(text)
    refused = run(*laptop.command(), SSH_AUTH_SOCK="", ENV_FILE=str(laptop.world.settings), LOGNAME="me", USER="me")
    assert refused.returncode == 1
    assert "error: me@127.0.0.1:" in refused.stderr
    assert "or as root: ./fab -H root@server …" in refused.stderr
