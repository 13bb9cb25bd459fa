"""What a server says instead of running our command, and what to do about it."""

from __future__ import annotations

import re

from ..errors import StepError
from .conversation import End

# What it says (cloud-init, pam_unix, nologin, sshd) and what to do. {user}: what the first group found.
KNOWN = (
    (r"login as the user [\"'`]*([a-z_][a-z0-9_.-]*)", "./fab -H {user}@{host} TASK, as the server says"),
    (
        r"(?i)password (has |is )?(expired|change required)|change your (expired )?password|"
        r"required to change your password",
        "log in once and change the password: {ssh}",
    ),
    (r"(?i)account (has |is )?expired", "on the server, as another administrator: chage -E -1 USER lifts the date"),
    (
        r"(?i)account is (currently )?not available|nologin",
        "log in as somebody who has a shell: ./fab -H USER@{host} TASK; or give this user one: usermod --shell /bin/sh",
    ),
    (r"(?i)sftp connections only", "this user may only copy files: log in as another one: ./fab -H USER@{host} TASK"),
)
OTHERWISE = (
    "what does `{ssh} true` print? The shell's start files there (.bashrc, .profile), or a ForceCommand of sshd's, "
    "must let a command run"
)


def instead(name: str, end: End) -> StepError:
    """The error for a command that was never begun, because the login shell, or sshd, did something else.

    name: the server, as it is typed behind -H.
    """
    said = f": {end.said}" if end.said else " and said nothing"
    status = f" (exit status {end.status})" if end.status >= 0 else ""
    return StepError(f"{name}: the server ran nothing of ours{said}{status}", _remedy(name, end.said))


def _remedy(name: str, said: str) -> str:
    host = re.sub(r"^[^@]*@", "", name)
    for pattern, remedy in KNOWN:
        if found := re.search(pattern, said):
            return remedy.format(user=(*found.groups(), "")[0], host=host, ssh=ssh(name))
    return OTHERWISE.format(ssh=ssh(name))


def ssh(name: str) -> str:
    """The `ssh` command for what is typed behind -H."""
    found = re.fullmatch(r"([^:]+):(\d+)", name)
    return f"ssh -p {found[2]} {found[1]}" if found else f"ssh {name}"
