"""What `check` says of the store of STORAGE=s3."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..layout import Service
from ..machine.host import Host
from ..machine.rows import Row
from ..settings import Settings
from ..stack import bucket
from .onhost import trial


def rows(host: Host, settings: Settings, *, set_rule: bool = False) -> Iterator[Row]:
    """Try the store from the server. Writes a few small objects into the bucket, and removes them.

    set_rule: see onhost.trial.tried.
    """
    image = settings.stack_images[Service.REGISTRY]
    if settings.s3_addressing == "host" and re.search(r":v?2(\.|\Z)", image):
        yield Row("store: address", "failed", f"{image} names a bucket in the path alone",
                  "S3_ADDRESSING=path, or version 3 of the registry")  # fmt: skip
    for line in host.call(trial.tried, bucket.bundled(settings), bucket.keys(settings), set_rule):
        yield Row(**line)
