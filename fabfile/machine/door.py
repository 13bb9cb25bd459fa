"""A door to the host for a program of this machine, rsync: it asks for a command there, and we run it.

Over the connection that we have, so with its host keys, jump hosts and passwords, and as root. The program starts what
it takes for ssh: a few lines of Python that hand their own standard input and output over, through a Unix socket that
only this user can open; no byte goes through them.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from .conversation import Conversation, End
from .host import Host

HANDED = 3
BLOCK = 1 << 18
LARGEST_COMMAND = 1 << 16
KNOCK = (
    "import json,socket,sys\n"
    "s=socket.socket(socket.AF_UNIX)\n"
    "s.connect(sys.argv[1])\n"
    "socket.send_fds(s,[json.dumps(sys.argv[3:]).encode()],[0,1,2])\n"
    "s.shutdown(socket.SHUT_WR)\n"
    "sys.exit(int(s.recv(16) or b'12'))\n"
)


class Door:
    """Open for as long as the block runs. command: what the program is told to use for ssh; the name of the host
    that it is given does not matter. before: words in front of each command. ends: how each of them ended.
    """

    def __init__(self, host: Host, before: Sequence[str] = ()) -> None:
        self.host, self.before = host, before
        self.ends: list[End] = []
        self.lost: list[Exception] = []

    @contextlib.contextmanager
    def open(self) -> Iterator[str]:
        """Yields the command."""
        directory = Path(tempfile.mkdtemp(prefix="fab-"))
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(directory / "s"))
                listener.listen()
                script = directory / "ssh"
                knock = shlex.join([sys.executable, "-I", "-S", "-c", KNOCK, str(directory / "s")])
                script.write_text(f'#!/bin/sh\nexec {knock} "$@"\n')
                threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
                # As rsync takes its `-e` apart.
                yield f"""sh '{str(script).replace("'", "''")}'"""
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                knocking, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._let_in, args=(knocking,), daemon=True).start()

    def _let_in(self, knocking: socket.socket) -> None:
        status = 255
        handed: list[int] = []
        with knocking:
            try:
                text, handed, _, _ = socket.recv_fds(knocking, LARGEST_COMMAND, HANDED)
                while more := knocking.recv(LARGEST_COMMAND):
                    text += more
                talk = self.host.converse([*self.before, *json.loads(text)])
                status = self._through(talk, *handed[:2])
            except Exception as error:
                self.lost.append(error)
            finally:
                for handle in handed:
                    os.close(handle)
                with contextlib.suppress(OSError):
                    knocking.sendall(str(status).encode())

    def _through(self, talk: Conversation, source: int, target: int) -> int:
        """All that comes from either side, until the command ends. Returns its exit status."""
        for handle in (source, target):
            os.set_blocking(handle, True)
        # Its end tells the other thread that there is nobody to write to any more.
        over, end = os.pipe()
        writer = threading.Thread(target=_written, args=(talk, source, over), daemon=True)
        writer.start()
        try:
            while block := talk.read():
                view = memoryview(block)
                while view:
                    view = view[os.write(target, view) :]
        finally:
            os.close(end)
            writer.join()
            os.close(over)
        found = talk.ended()
        self.ends.append(found)
        return found.status if 0 <= found.status < 256 else 255


def _written(talk: Conversation, source: int, over: int) -> None:
    """Give it all that comes from `source`, until that ends, or somebody closes the other end of `over`."""
    with contextlib.suppress(OSError, EOFError):
        while source in select.select([source, over], [], [])[0]:
            block = os.read(source, BLOCK)
            if not block:
                talk.finish()
                return
            talk.write(block)
