"""`unlock`: clear the server's lock, whose holder is gone."""

from __future__ import annotations

import sys

from ..errors import UsageError
from ..layout import LOCK
from ..machine.host import Host


def unlock(host: Host, *, yes: bool) -> None:
    """Show who holds the lock of the host; with a yes, end the process there that holds it.

    Only for a holder whose machine is gone while the host has not noticed.
    """
    script = 'flock -n "$1" true || cat "$1.holder"'
    lines = host.run(["sh", "-c", script, "sh", LOCK], check=False).stdout.splitlines()
    if not lines:
        print("nobody holds the lock")
        return
    print(f"held by {lines[0]}")
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("clearing it needs a yes", "add --yes, if their machine is really gone")
        if input("Is their machine gone, and shall the lock be cleared? [y/N] ").strip().lower() != "y":
            print("left as it is")
            return
    host.run(["kill", lines[1]], remedy="it may have ended in the meantime: look again")
    print("cleared")
