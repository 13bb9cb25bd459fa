"""How the user that we logged in as becomes root on the server."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..errors import StepError, UsageError, address
from ..secret import Secret
from .conversation import last_line
from .host import Elevation, Host
from .refusal import ssh

# sudo's own words for it, and those of sudo-rs, of the older and the newer ones.
NEEDS_PASSWORD = re.compile(
    r"(?i)a (password|terminal) is required|interactive authentication is required|authentication required|"
    r"no tty present and no askpass"
)
NOT_A_WORD = "it said nothing"


def elevation(c: Any, machine: Callable[[Elevation], Host]) -> Elevation:
    """How the user of that connection becomes root: not at all, sudo, or sudo with a password.

    machine: the server, seen with an elevation. The password, asked once by fabric's
    --prompt-for-sudo-password, is tried once. Raises UsageError where sudo wants one and there is none, and
    StepError, with sudo's own words, where it lets nobody through.
    """
    if c.user == "root":
        return Elevation()
    passwordless = Elevation(("sudo", "-n", "--"))
    tried = machine(passwordless).run(["true"], check=False)
    if tried.ok:
        return passwordless
    said = last_line(tried.stderr, tried.stdout) or NOT_A_WORD
    where, password = f"{address(c)}: {c.user}", c.config.sudo.password
    if remedy := _remedy(c, said, tried.exited):
        raise StepError(f"{where} cannot become root: {said}", remedy)
    if not password:
        if NEEDS_PASSWORD.search(said):
            what = f"{where} needs a password for sudo: {said}"
        else:
            what = f"{where} cannot use sudo without a password: {said}"
        raise UsageError(what, "./fab --prompt-for-sudo-password -H … asks for it once; or log in as root: -H root@…")
    # -k: without it a recent sudo would not read the line, and the command would get it.
    asked = Elevation(("sudo", "-k", "-S", "-p", "", "--"), Secret(password + "\n"))
    tried = machine(asked).run(["true"], check=False)
    if not tried.ok:
        said = last_line(tried.stderr, tried.stdout) or NOT_A_WORD
        if remedy := _remedy(c, said, tried.exited):
            raise StepError(f"{where} cannot become root: {said}", remedy)
        raise StepError(
            f"{address(c)}: sudo does not take this password for {c.user}; nothing was run: {said}",
            "run it again; `sudo -v` on the server tells whether the user may use sudo at all",
        )
    return asked


def _remedy(c: Any, said: str, status: int) -> str:
    """What to do about an answer of sudo that no password changes; '' for any other."""
    root = f"or log in as root: ./fab -H root@{c.original_host} TASK"
    if status == 127 or "not found" in said:
        return f"there is no sudo on the server: as root, apt-get install sudo; {root}"
    if "must have a tty" in said:
        return f"on the server, as root, visudo: write the line Defaults:{c.user} !requiretty; {root}"
    if re.search(r"not in the sudoers|not allowed to|may not run|I'm sorry", said):
        return f"on the server, as root: usermod -aG sudo {c.user} (where it is so: wheel); {root}"
    if re.search(r"(?i)password.*expired|expired.*password|change your password|new (auth\S* )?(password|token)", said):
        return f"log in once and change the password: {ssh(address(c))}"
    if re.search(r"(?i)account.*(expired|locked)|account validation", said):
        return f"on the server, as root: chage -E -1 {c.user} lifts the date; {root}"
    return ""
