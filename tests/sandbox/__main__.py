"""`python -m tests.sandbox up|store|down NAME` or `images`, from the top of the repository."""

from __future__ import annotations

import sys
import time

from . import store
from .commands import ROOT, SandboxError
from .engine import ensure_engine
from .images import ensure_images
from .sandbox import Sandbox

USAGE = "usage: python -m tests.sandbox up NAME | store NAME | down NAME | images"


def main(argv: list[str]) -> int:
    """Do what the arguments say, with each line of progress after the seconds passed so far."""
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {line}", flush=True)

    try:
        match argv:
            case ["images"]:
                ensure_engine(say)
                ensure_images(say)
            case ["up", name]:
                sandbox = Sandbox(name, ROOT)
                sandbox.up(say)
                say(f"up: ssh -F {sandbox.directory}/ssh_config server")
                say(f"up: docker -H unix://{sandbox.client_socket} info")
            case ["store", name]:
                say(f"an S3 store is up; its settings: {store.main(Sandbox(name, ROOT), say)}")
            case ["down", name]:
                Sandbox(name, ROOT).down()
                say("down")
            case _:
                print(USAGE, file=sys.stderr)
                return 2
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


sys.exit(main(sys.argv[1:]))
