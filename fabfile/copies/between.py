"""rsync from one server to another: from server to server where that goes, else through this machine."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence

from ..errors import StepError
from ..layout import COPY, COPY_OUT, DATA
from ..machine.conversation import Conversation
from ..machine.host import Host
from ..settings import Settings
from ..stack.onhost import relay
from .onhost import arrive, bridge, gate
from .onhost.inside import ENTER

SSH_PORT = 22
PYTHON = ("python3", "-I", "-S", "-B")


class Between:
    """How the new server reads the copy that waits on the old one. shell: for arrive.pull; '' through this machine.

    why: why it is not from server to server.
    """

    def __init__(self, old: Host, new: Host, settings: Settings) -> None:
        self.old, self.new, self.settings = old, new, settings
        self.shell: list[str] = []
        self.why = ""

    def open(self) -> None:
        """Let the new server in at the old one, for this copy alone. Where that does not work, `why` says so."""
        public = self.new.call(gate.make_key, self.old.call(gate.host_keys))
        if public:
            self.old.call(gate.let_in, self.settings.deploy_dir, public)
        self.shell, self.why = self.new.call(gate.way, places(self.old, self.settings))
        if not self.shell:
            self.close()

    def close(self) -> None:
        """Nothing is left of it on either server."""
        for host, function in ((self.old, gate.shut), (self.new, gate.forget_key)):
            # The rest is done where a connection is gone; a reboot does it, too.
            with contextlib.suppress(StepError):
                host.call(function)

    def pull(self) -> arrive.Arrived:
        """A pass: see arrive.pull."""
        with self.shell_of() as shell:
            return self.new.call(arrive.pull, self.settings.deploy_dir, shell)

    @contextlib.contextmanager
    def shell_of(self) -> Iterator[list[str]]:
        """What rsync on the new server takes for ssh, for as long as the block runs."""
        if self.shell:
            yield self.shell
            return
        self.new.call(bridge.place)
        over = threading.Event()
        talks: list[Conversation] = []
        carrier = threading.Thread(target=self._carry, args=(over, talks), daemon=True)
        carrier.start()
        try:
            yield [*PYTHON, bridge.PROGRAM, "knock", bridge.SOCKET, "old"]
        finally:
            over.set()
            for talk in talks[-1:]:
                with contextlib.suppress(OSError, EOFError):
                    talk.finish()
            carrier.join(60)

    def _carry(self, over: threading.Event, talks: list[Conversation]) -> None:
        with contextlib.suppress(OSError, EOFError, StepError):
            while not over.is_set():
                here = self.new.converse([*PYTHON, bridge.PROGRAM, "listen", bridge.SOCKET])
                talks.append(here)
                begun = here.read()
                while begun and b"\n" not in begun:
                    begun += here.read()
                if not begun:
                    return
                line, _, rest = begun.partition(b"\n")
                words = json.loads(line)
                if not gate.allowed(words):
                    # Whoever is root on the new server does not become root on the old one by this.
                    return
                _joined(here, self.old.converse([*enter(self.settings), *words]), rest)


def _joined(here: Conversation, there: Conversation, begun: bytes) -> None:
    """All that comes from either side, until both have said all."""

    def up() -> None:
        with contextlib.suppress(OSError, EOFError):
            there.write(begun)
            while block := here.read():
                there.write(block)
            there.finish()

    sender = threading.Thread(target=up, daemon=True)
    sender.start()
    while block := there.read():
        here.write(block)
    here.finish()
    sender.join(60)


def enter(settings: Settings) -> Sequence[str]:
    """What runs a program in the copy that waits."""
    return ["python3", "-I", "-B", "-c", ENTER, f"{settings.deploy_dir}/{DATA}", f"{COPY}/{COPY_OUT}"]


def places(host: Host, settings: Settings) -> list[tuple[str, int]]:
    """Where another server may reach this one by SSH: its own address, as we are connected to it, then those of DNS."""
    address, port = connected(host)
    named = host.call(relay.resolved, list(settings.hosts))
    return list(dict.fromkeys([*([(address, port)] if address else []), *((each, port) for each in named)]))


def connected(host: Host) -> tuple[str, int]:
    """The address and the port of the host that our connection leads to, as it sees them; ('', 22) where it does not.

    sshd(8) says it in SSH_CONNECTION; sudo may take that away.
    """
    said = host.run(["sh", "-c", 'echo "$SSH_CONNECTION"'], check=False).stdout.split()
    return (said[2], int(said[3])) if len(said) == 4 and said[3].isdecimal() else ("", SSH_PORT)
