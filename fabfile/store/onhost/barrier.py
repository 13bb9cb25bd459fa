"""Whether every request of before is done: nginx begins new processes, and the old ones end with their last request."""

from __future__ import annotations

import time

from ...machine.onhost.atomic import RefusedError
from ...stack.onhost import workers
from ...stack.onhost.containers import nginx_container

SECONDS = 600.0


def passed(seconds: float = SECONDS) -> str:
    """Wait for it. Nobody is refused meanwhile. Returns '' once it is so, else why not.

    Where nginx does not run, there is no request: the registry listens to nobody else.
    """
    if not nginx_container():
        return ""
    try:
        old = workers.renewed()
    except RefusedError as error:
        return error.what
    end = time.monotonic() + seconds
    while left := workers.alive(old):
        if time.monotonic() > end:
            return f"{len(left)} of nginx's processes still have a pull or a push that began before"
        time.sleep(0.2)
    return ""
