"""Signatures of requests to an S3 store: AWS Signature Version 4, as all of them take it.

docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY = hashlib.sha256(b"").hexdigest()


class Keys(NamedTuple):
    """Of an account of the store. token: of keys for a time; '' for none."""

    id: str
    secret: str
    token: str = ""


class Request(NamedTuple):
    """What is signed. path: as it is sent, encoded; query: before it is encoded; headers: every one is signed."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


def encoded(text: str, safe: str = "") -> str:
    """As the signature wants it: all but letters, digits, `-._~` and `safe`."""
    return quote(text, safe=f"-._~{safe}")


def query_string(query: Mapping[str, str]) -> str:
    """Sorted by name, as it is signed and sent alike."""
    return "&".join(f"{name}={value}" for name, value in sorted((encoded(n), encoded(v)) for n, v in query.items()))


def signed(keys: Keys, region: str, request: Request, payload: str, now: float) -> dict[str, str]:
    """All headers to send: those of the request, and what the signature adds. payload: SHA-256 of the body, in hex."""
    stamp = _stamp(now)
    headers = {name.lower(): value for name, value in request.headers.items()}
    headers |= {"x-amz-date": stamp, "x-amz-content-sha256": payload}
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    names = ";".join(sorted(headers))
    signature = _signature(keys, region, request._replace(headers=headers), payload, stamp)
    credential = f"{keys.id}/{_scope(region, stamp)}"
    authorization = f"{ALGORITHM} Credential={credential},SignedHeaders={names},Signature={signature}"
    return {**headers, "authorization": authorization}


def presigned(keys: Keys, region: str, request: Request, seconds: int, now: float) -> str:
    """The query string with which anybody may send that request for so many seconds. headers: `host` alone is usual."""
    stamp = _stamp(now)
    query = {
        **request.query,
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{keys.id}/{_scope(region, stamp)}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": ";".join(sorted(name.lower() for name in request.headers)),
    }
    if keys.token:
        query["X-Amz-Security-Token"] = keys.token
    signature = _signature(keys, region, request._replace(query=query), UNSIGNED, stamp)
    return f"{query_string(query)}&X-Amz-Signature={signature}"


def _stamp(now: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def _scope(region: str, stamp: str) -> str:
    return f"{stamp[:8]}/{region}/s3/aws4_request"


def _signature(keys: Keys, region: str, request: Request, payload: str, stamp: str) -> str:
    headers = sorted((name.lower(), " ".join(value.split())) for name, value in request.headers.items())
    lines = [
        request.method,
        request.path,
        query_string(request.query),
        *(f"{name}:{value}" for name, value in headers),
        "",
        ";".join(name for name, _ in headers),
        payload,
    ]
    canonical = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    scope = _scope(region, stamp)
    key = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = "\n".join((ALGORITHM, stamp, scope, canonical))
    return hmac.digest(key, text.encode(), "sha256").hex()
