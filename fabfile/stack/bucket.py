"""What a server is told of the bucket of STORAGE=s3: where it is, and the keys for it."""

from __future__ import annotations

from pathlib import Path

from ..secret import s3_keys
from ..settings import Settings


def place(settings: Settings, bundle: str = "") -> dict[str, str]:
    """Where the images are, as a server is told (store/onhost/wire.py, Place). bundle: as there."""
    return {
        "endpoint": settings.s3_endpoint, "region": settings.s3_region, "bucket": settings.s3_bucket,
        "prefix": settings.s3_prefix, "addressing": settings.s3_addressing, "bundle": bundle,
    }  # fmt: skip


def bundled(settings: Settings) -> dict[str, str]:
    """The same with the text of S3_CA_BUNDLE: the server may not have the file yet."""
    return place(settings, Path(settings.s3_ca_bundle).read_text("utf-8") if settings.s3_ca_bundle else "")


def keys(settings: Settings) -> str:
    """The keys of the store, as a shared-credentials file of AWS. They are secret."""
    return s3_keys(Path(settings.s3_key_file).read_text("utf-8", "replace"))
