"""Settings that are right each, and wrong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


def wrong(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is wrong, and the remedy; None where nothing is. values: by their keys, each as its rule made it."""
    if bool(values["TLS_CERTIFICATE"]) != bool(values["TLS_KEY"]):
        return "TLS_CERTIFICATE and TLS_KEY belong together", "set both, or neither"
    if bool(values["ACME_EAB_KID"]) != bool(values["ACME_EAB_HMAC_FILE"]):
        return "ACME_EAB_KID and ACME_EAB_HMAC_FILE belong together", "set both, or neither"
    if f"{values['BACKUP_TO']}/".startswith(f"{values['DEPLOY_DIR']}/"):
        return "BACKUP_TO lies in DEPLOY_DIR", "name a directory of another disk"
    wildcards = [name for name in values["REGISTRY_ALIASES"] if name.startswith("*.")]
    if wildcards and values["ACME_CHALLENGE"] != "dns-01" and not values["TLS_CERTIFICATE"]:
        return (
            f"REGISTRY_ALIASES: {wildcards[0]}: no authority gives a wildcard by http-01",
            "set ACME_CHALLENGE=dns-01, or name each host",
        )
    return _half_a_store(values) if values["STORAGE"] == "s3" else None


def _half_a_store(values: Mapping[str, Any]) -> tuple[str, str] | None:
    for key in ("S3_ENDPOINT", "S3_BUCKET", "S3_KEY_FILE"):
        if not values[key]:
            return f"STORAGE=s3 needs {key}", "docs/s3.md has an example of all of them"
    host = urlsplit(values["S3_ENDPOINT"]).hostname or ""
    if f".{host}".endswith(f".{values['REGISTRY_DOMAIN']}"):
        # Docker sends the password on to what is below its registry's name, and the store refuses such a request.
        return f"S3_ENDPOINT: {host} lies below REGISTRY_DOMAIN", "give one of the two another name"
    if values["STANDBY"]:
        return "STANDBY is for images on a disk", "with STORAGE=s3 the images are in the store already: remove STANDBY"
    return None
