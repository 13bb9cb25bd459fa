"""A host that is this machine, behind what a connection does: the real loader, a door, a mark before what is ours."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from fabfile import layout
from fabfile.machine.conversation import MARK, LocalConversation
from fabfile.machine.host import Host

from .stores import Store


class Marked(LocalConversation):
    """Takes the mark away, as SSH's does. cut: after so many bytes the connection is gone; 0 for never."""

    cut = 0

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self._begun = False
        self._seen = 0

    def receive(self) -> str:
        line = super().receive()
        return line.replace("\\x1e", "", 1)

    def read(self) -> bytes:
        block = super().read()
        self._seen += len(block)
        if self.cut and self._seen > self.cut:
            self._process.kill()
            return b""
        if not self._begun:
            self._begun = True
            block = block.partition(MARK.encode())[2] or super().read()
        return block


def far(begin: type[Marked] = Marked) -> Host:
    def runner(command: str, *, in_stream: Any, **_: object) -> object:
        done = subprocess.run(
            ["/bin/sh", "-c", command], input=in_stream.read(), capture_output=True, text=True, check=False
        )
        done.exited, done.ok = done.returncode, done.returncode == 0  # type: ignore[attr-defined]
        return done

    return Host(runner, "far", local=False, begin=begin)


def deployed(root: Path) -> Store:
    """A DEPLOY_DIR with accounts, a certificate and a store that is empty."""
    for name in (
        layout.DATA,
        layout.AUTH,
        layout.SECRETS,
        f"{layout.CERTIFICATES}/archive/a",
        f"{layout.CERTIFICATES}/live/a",
    ):
        (root / name).mkdir(parents=True)
    (root / layout.COMPOSE_FILE).touch()
    (root / layout.RECORD).write_text("0.2.0\n")
    (root / layout.ACCOUNTS).write_text("demo:hash\n")
    (root / layout.HTTP_SECRET).write_text("secret")
    (root / layout.SETTINGS_FILE).write_text("REGISTRY_DOMAIN='registry.example.org'\n")
    (root / layout.CERTIFICATES / "archive/a/cert1.pem").write_text("a certificate")
    (root / layout.CERTIFICATES / "live/a/cert.pem").symlink_to("../../archive/a/cert1.pem")
    return Store(root / layout.DATA)
