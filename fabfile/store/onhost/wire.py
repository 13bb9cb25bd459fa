"""Requests to an S3 store, from the server itself: the standard library's HTTP, and a signature of our own.

Names of objects are below the prefix of S3_PREFIX. What the store refuses is raised as RefusedError, its reason is the
store's own code: NoSuchKey, AccessDenied, … What may work a moment later is asked again, a bounded number of times.
"""

from __future__ import annotations

import configparser
import hashlib
import http.client
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ...machine.onhost.atomic import RefusedError
from . import answers, sigv4
from .refusals import refusal, unanswered
from .sigv4 import Keys

PATH, HOST = "path", "host"
# Seconds for a connection, and for each answer: a copy of a large part is silent for a while.
PATIENCE = 120.0
# Seconds before each further try.
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
LATER = frozenset({429, 500, 502, 503, 504})
LATER_CODES = frozenset({"InternalError", "SlowDown", "ServiceUnavailable"})


class Place(NamedTuple):
    """Where the images are. endpoint: https://HOST[:PORT]; prefix: '' or as `a/b`; addressing: PATH or HOST.

    bundle: a file of certificates to trust beside those of the server, or their text; '' for none.
    """

    endpoint: str
    region: str
    bucket: str
    prefix: str = ""
    addressing: str = PATH
    bundle: str = ""


class Answer(NamedTuple):
    """Of the store. headers: their names in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def read_keys(text: str) -> Keys:
    """The keys of an AWS shared-credentials file, of its section `default`. Raises RefusedError."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
        found = parser["default"]
        keys = Keys(found["aws_access_key_id"], found["aws_secret_access_key"], found.get("aws_session_token", ""))
    except (configparser.Error, KeyError):
        # No more of it: it is a secret.
        raise RefusedError(
            "the file with the store's keys cannot be read", "it needs [default], aws_access_key_id and "
            "aws_secret_access_key; see S3_KEY_FILE"
        ) from None  # fmt: skip
    return keys


class Wire:
    """One bucket, and how it is asked. Several threads may use it: each has a connection of its own.

    patience: seconds for each answer. pauses: seconds before each further try. clock: seconds since 1970.
    """

    def __init__(
        self,
        place: Place,
        keys: Keys,
        patience: float = PATIENCE,
        pauses: Iterable[float] = PAUSES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.place, self.keys, self.patience, self.pauses, self.clock = place, keys, patience, tuple(pauses), clock
        self.prefix = f"{place.prefix.strip('/')}/" if place.prefix.strip("/") else ""
        self.end = urlsplit(place.endpoint)
        self._local = threading.local()

    def presign(self, method: str, key: str, seconds: int) -> str:
        """An address with which anybody may do that for so many seconds."""
        path = self.path(key)
        request = sigv4.Request(method, path, {}, {"host": self.host()})
        query = sigv4.presigned(self.keys, self.place.region, request, seconds, self.clock())
        return f"{self.end.scheme}://{self.host()}{path}?{query}"

    def require(
        self,
        method: str,
        key: str = "",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """`ask`, and RefusedError for what is refused, a refusal in an answer of 200 too (copies have that)."""
        got = self.ask(method, key, query, headers, body)
        self.check(got, method, key)
        return got

    def ask(
        self,
        method: str,
        key: str = "",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """One request, to the bucket itself without a key; again where it may work then. Raises where none answers."""
        got, broken = None, None
        for pause in (0.0, *self.pauses):
            if pause:
                time.sleep(pause)
            try:
                got = self._once(method, self.path(key), dict(query or {}), dict(headers or {}), body)
            except ssl.SSLCertVerificationError as error:
                raise unanswered(self.place.endpoint, error) from None
            except (OSError, http.client.HTTPException) as error:
                self.close()
                got, broken = None, error
                continue
            if got.status not in LATER and (method == "GET" or _failed(got) not in LATER_CODES):
                return got
        if got is None:
            raise unanswered(self.place.endpoint, broken)
        return got

    def skew(self, got: Answer) -> float:
        """By how many seconds the store's clock is ahead of ours, by the date of its answer."""
        try:
            return parsedate_to_datetime(got.headers["date"]).timestamp() - self.clock()
        except (KeyError, ValueError, TypeError):
            raise RefusedError("the store's answer has no date", "it is no S3 store to rely on") from None

    def trust(self) -> ssl.SSLContext:
        """Whom a connection to the store trusts."""
        return _trust(self.place.bundle)

    def close(self) -> None:
        """End this thread's connection."""
        if connection := getattr(self._local, "connection", None):
            connection.close()
            self._local.connection = None

    def _once(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Answer:
        headers = {"host": self.host(), **headers}
        request = sigv4.Request(method, path, query, headers)
        payload = hashlib.sha256(body).hexdigest()
        signed = sigv4.signed(self.keys, self.place.region, request, payload, self.clock())
        target = f"{path}?{sigv4.query_string(query)}" if query else path
        connection = self._connection()
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in signed.items():
            connection.putheader(name, value)
        if body or method in ("PUT", "POST"):
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body or None)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())

    def _connection(self) -> http.client.HTTPConnection:
        made: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if made:
            return made
        name, port = self._name(), self.end.port
        if self.end.scheme == "https":
            made = http.client.HTTPSConnection(name, port, timeout=self.patience, context=_trust(self.place.bundle))
        else:
            made = http.client.HTTPConnection(name, port, timeout=self.patience)
        self._local.connection = made
        return made

    def _name(self) -> str:
        host = self.end.hostname or ""
        return f"{self.place.bucket}.{host}" if self.place.addressing == HOST else host

    def host(self) -> str:
        """As it is sent and signed: without the port that is usual."""
        usual = {"https": 443, "http": 80}.get(self.end.scheme)
        return self._name() + (f":{self.end.port}" if self.end.port not in (None, usual) else "")

    def path(self, key: str) -> str:
        """As it is sent and signed; of the bucket itself without a key."""
        top = "/" if self.place.addressing == HOST else f"/{sigv4.encoded(self.place.bucket)}"
        if not key:
            return top
        return f"{top.rstrip('/')}/{sigv4.encoded(self.prefix + key, '/')}"

    def check(self, got: Answer, method: str, key: str) -> None:
        """Raise RefusedError for what was refused, in an answer of 200 too."""
        if got.status >= 300 or (method != "GET" and _failed(got)):
            asked = f"{method} {key or self.place.bucket}"
            raise refusal(self.place.endpoint, got.status, got.headers, got.body, asked)


def _failed(got: Answer) -> str:
    """The code in an answer of 200 that failed after all: documented for copies and completions."""
    return answers.failure(got.body)[0] if got.status == 200 and b"<Error>" in got.body[:400] else ""


def _trust(bundle: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Python 3.13 refuses an authority without keyUsage, as `openssl req -x509` makes it; Docker takes it.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if "-----BEGIN" in bundle:
        context.load_verify_locations(cadata=bundle)
    elif bundle and Path(bundle).is_file():
        context.load_verify_locations(bundle)
    return context
