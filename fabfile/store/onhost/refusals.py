"""What an S3 store refuses, in words: its own code, and what to do about it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from ...machine.onhost.atomic import RefusedError
from . import answers

# The reason of a refusal where the store did not answer at all.
NO_ANSWER = "NoAnswer"
KEYS = "are the keys in S3_KEY_FILE right, and are they of this store? then ./fab -H … up"
MAY = "the account of S3_KEY_FILE needs to list, read, write and delete in this bucket, below S3_PREFIX"
CLOCK = "set the clock: on the server, timedatectl set-ntp true"
REMEDIES = {
    "AccessDenied": MAY,
    "AccountProblem": "look at the account at the store's vendor",
    "AllAccessDisabled": "look at the account at the store's vendor",
    "AuthorizationHeaderMalformed": "set S3_REGION to the region of the bucket",
    "BucketAlreadyExists": "",
    "ExpiredToken": KEYS,
    "InvalidAccessKeyId": KEYS,
    "InvalidBucketName": "correct S3_BUCKET",
    "MethodNotAllowed": "the store forbids that: is S3_ENDPOINT its S3 interface?",
    "NoSuchBucket": "make the bucket, or correct S3_BUCKET, S3_ENDPOINT or S3_ADDRESSING",
    "PermanentRedirect": "set S3_ENDPOINT and S3_REGION to those of the bucket",
    "QuotaExceeded": "make room in the store, or have its quota raised",
    "RequestTimeTooSkewed": CLOCK,
    "SignatureDoesNotMatch": KEYS,
    "SlowDown": "wait a little, then run it again",
    "TemporaryRedirect": "the bucket is new: wait an hour, or set S3_ENDPOINT to its region's",
}
AGAIN = "run it again; if it stays so, ask the store's vendor"


def refusal(endpoint: str, status: int, headers: Mapping[str, str], body: bytes, asked: str) -> RefusedError:
    """What the store said, as an error with a remedy. asked: method and key."""
    code, message, region = answers.failure(body)
    region = region or headers.get("x-amz-bucket-region", "")
    # An answer to HEAD has no body.
    code = code or {301: "PermanentRedirect", 403: "AccessDenied", 404: "NoSuchKey", 412: "PreconditionFailed"}.get(
        status, f"HTTP {status}"
    )
    said = f": {message}" if message else ""
    remedy = REMEDIES.get(code, AGAIN)
    if region and code in ("AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"):
        remedy = f"set S3_REGION={region}, and S3_ENDPOINT to that region's"
    return RefusedError(f"{endpoint} refuses {asked}: {code}{said}", remedy, reason=code)


def unanswered(endpoint: str, error: BaseException | None) -> RefusedError:
    """That nobody answers there, or none whom this server trusts."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return RefusedError(
            f"{endpoint} has a certificate that this server does not trust: {error.verify_message}",
            "S3_CA_BUNDLE names a private authority; with S3_ADDRESSING=host the name there begins with the bucket's",
            reason="Untrusted",
        )
    return RefusedError(
        f"{endpoint} does not answer: {error}",
        "is it S3_ENDPOINT, and may the server reach it? on the server: curl -v it",
        reason=NO_ANSWER,
    )
