"""`unlock`: clear the server's lock, whose holder is gone."""

from __future__ import annotations

import sys

from .. import report
from ..errors import StepError, UsageError
from ..layout import LOCK
from ..machine.host import Host

# Says `held` and what the holder wrote of itself; nothing where it is free. Only a 1 of flock's means held.
SCRIPT = """\
umask 077
exec 9>>"$1"
flock -n 9
got=$?
[ "$got" = 0 ] && exit
[ "$got" = 1 ] || exit "$got"
echo held
cat "$1.holder" 2>/dev/null || true
"""
REMEDY = f"on the server: ls -ld {LOCK} shows what is there; flock is in the package util-linux"


def unlock(host: Host, *, yes: bool) -> None:
    """Show who holds the lock of the host; with a yes, end the process there that holds it.

    Only for a holder whose machine is gone while the host has not noticed. Raises StepError with the host's own
    words where it cannot tell who holds it.
    """
    lines = host.run(["sh", "-c", SCRIPT, "sh", LOCK], remedy=REMEDY).stdout.splitlines()
    if not lines:
        print("nobody holds the lock")
        return
    holder, process = [*lines[1:], "", ""][:2]
    print(f"held by {holder or 'somebody who left no name'}")
    if not process.isdecimal():
        raise StepError(
            f"{host.name}: {LOCK}.holder does not say which process that is", f"on the server: fuser {LOCK}"
        )
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("clearing it needs a yes", "add --yes, if their machine is really gone")
        if not report.agreed("Is their machine gone, and shall the lock be cleared?"):
            print("left as it is")
            return
    host.run(["kill", process], remedy="it may have ended in the meantime: look again")
    print("cleared")
