"""What rsync on the new server takes for ssh where none leads to the old one: the operator's machine is between.

Two processes of this program, joined by a Unix socket: `knock` is started by rsync, `listen` by the operator, over SSH.
The first line through it is the command that the old server shall run; then come its bytes, both ways.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ...layout import MOVE
from ...machine.onhost.atomic import replace

PROGRAM = f"{MOVE}/bridge.py"
SOCKET = f"{MOVE}/bridge"
BRIDGE = r"""
import json, os, select, socket, sys, threading, time
role, path, *words = sys.argv[1:]
for handle in (0, 1):
    os.set_blocking(handle, True)
wire = socket.socket(socket.AF_UNIX)
if role == "listen":
    if os.path.lexists(path):
        os.unlink(path)
    wire.bind(path)
    wire.listen(1)
    if 0 in select.select([wire, 0], [], [])[0]:
        sys.exit(0)
    wire, _ = wire.accept()
else:
    end = time.monotonic() + 60
    while True:
        try:
            wire.connect(path)
            break
        except OSError:
            if time.monotonic() > end:
                sys.exit("nobody is there on the operator's machine")
            time.sleep(0.05)
    wire.sendall(json.dumps(words[1:]).encode() + b"\n")

def out():
    while block := os.read(0, 1 << 18):
        wire.sendall(block)
    wire.shutdown(socket.SHUT_WR)

def quietly():
    try:
        out()
    except OSError:
        pass

sender = threading.Thread(target=quietly, daemon=True)
sender.start()
try:
    while block := wire.recv(1 << 18):
        while block:
            block = block[os.write(1, block):]
except OSError:
    pass
if role == "listen":
    # rsync has said all; the old server may have not.
    os.close(1)
    sender.join()
"""


def place() -> None:
    """Put the program where it is started from."""
    shutil.rmtree(MOVE, ignore_errors=True)
    Path(MOVE).mkdir(mode=0o700)
    replace(Path(PROGRAM), BRIDGE.encode(), 0o600)
