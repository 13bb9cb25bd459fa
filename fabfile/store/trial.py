"""What `check` says of the store of STORAGE=s3."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..layout import Service
from ..machine.host import Host
from ..machine.rows import Row
from ..secret import s3_keys
from ..settings import Settings
from .onhost import trial


def rows(host: Host, settings: Settings, *, set_rule: bool = False) -> Iterator[Row]:
    """Try the store from the server. Writes a few small objects into the bucket, and removes them.

    set_rule: see onhost.trial.tried.
    """
    image = settings.stack_images[Service.REGISTRY]
    if settings.s3_addressing == "host" and re.search(r":v?2(\.|\Z)", image):
        yield Row("store: address", "failed", f"{image} names a bucket in the path alone",
                  "S3_ADDRESSING=path, or version 3 of the registry")  # fmt: skip
    place = {
        "endpoint": settings.s3_endpoint, "region": settings.s3_region, "bucket": settings.s3_bucket,
        "prefix": settings.s3_prefix, "addressing": settings.s3_addressing,
    }  # fmt: skip
    keys = s3_keys(Path(settings.s3_key_file).read_text("utf-8", "replace"))
    bundle = Path(settings.s3_ca_bundle).read_text("utf-8", "replace") if settings.s3_ca_bundle else ""
    for line in host.call(trial.tried, place, keys, bundle, set_rule):
        yield Row(**line)
