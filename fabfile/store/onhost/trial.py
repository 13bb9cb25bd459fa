"""Whether a store is one that a registry can rely on: all that it does there is tried, from the server itself."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import TypedDict

from ...machine.onhost.atomic import RefusedError
from . import answers
from .bucket import Bucket
from .wire import HOST, PATH, Place, read_keys

# Where it tries, beside what a registry has; nothing of it stays.
TRIED = ".check"
# A store refuses signatures from a clock that is further away (AWS: 15 minutes).
SKEW, DOUBTFUL = 840.0, 120.0
# How often a listing is asked right after a change: one that is late is late now and then.
TIMES = 10
PATIENCE, PAUSES = 20.0, (0.5,)
# Longer than any push goes on; longer than gc waits, too.
ABORT_DAYS = 8
NO_STORE = "a registry loses pushes there: take another store (docs/s3.md has a list)"


class Line(TypedDict):
    """A line of `check`, see machine.rows.Row."""

    name: str
    mark: str
    found: str
    remedy: str


def tried(place: dict[str, str], keys: str, set_rule: bool) -> list[Line]:
    """Each thing that was tried, and how it went.

    place: see Place; keys: as a shared-credentials file of AWS. set_rule: give the bucket the rule that ends broken
    uploads, where it has none.
    """
    bucket = Bucket(Place(**place), read_keys(keys), PATIENCE, PAUSES)
    try:
        return list(_lines(bucket, set_rule))
    finally:
        bucket.close()


def _lines(bucket: Bucket, set_rule: bool) -> Iterator[Line]:
    try:
        # A refusal has a date, too: so this is told first, as a wrong clock is why all else is refused.
        got = bucket.ask("GET", query={"list-type": "2", "max-keys": "1", "prefix": bucket.prefix})
        yield clock(bucket.skew(got))
        bucket.check(got, "GET", "")
    except RefusedError as error:
        other = _otherwise(bucket)
        yield _failed("store", error) if not other else _line("store", "failed", error.what, other)
        return
    yield _line("store", "ok", f"{bucket.place.endpoint} has the bucket {bucket.place.bucket}")
    name = f"{TRIED}/{os.urandom(8).hex()}"
    for what, look in (("objects", _objects), ("uploads", _uploads), ("copies", _copies), ("addresses", _addresses)):
        yield _of(f"store: {what}", look, bucket, name)
    yield _rule(bucket, set_rule)


def clock(skew: float) -> Line:
    """What it means that the store's clock is so many seconds ahead of the server's."""
    mark = "failed" if abs(skew) > SKEW else "warn" if abs(skew) > DOUBTFUL else "ok"
    if mark == "ok":
        return _line("store: clock", mark, "the server's is as the store's")
    found = f"the server's is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the store's"
    return _line("store: clock", mark, found,
                 "it takes no signature from a wrong clock; on the server: timedatectl set-ntp true")  # fmt: skip


def _otherwise(bucket: Bucket) -> str:
    """The remedy, where the bucket is found when it is named the other way."""
    addressing = HOST if bucket.place.addressing == PATH else PATH
    other = Bucket(bucket.place._replace(addressing=addressing), bucket.keys, PATIENCE, ())
    try:
        other.page(limit=1)
    except (RefusedError, UnicodeError):
        return ""
    finally:
        other.close()
    return f"the store knows it by another address: S3_ADDRESSING={addressing}"


def _of(name: str, look: Callable[[Bucket, str], str], bucket: Bucket, key: str) -> Line:
    """What a look found, and nothing of it is left."""
    try:
        return _line(name, "ok", look(bucket, f"{key}/{name.rpartition(' ')[2]}"))
    except RefusedError as error:
        return _failed(name, error)
    finally:
        for each in ("", "-copy"):
            _quietly(bucket.delete, f"{key}/{name.rpartition(' ')[2]}{each}")


def _quietly(change: Callable[[str], None], key: str) -> None:
    try:
        change(key)
    except RefusedError:
        return


def _objects(bucket: Bucket, key: str) -> str:
    content = os.urandom(5000)
    bucket.put(key, content)
    _require(bucket.get(key) == content, "what was written is read otherwise")
    _require(bucket.get(key, 10, 19) == content[10:20], "a range of an object is not that range")
    head = bucket.head(key)
    _require(bool(head and head.size == len(content)), "the size of an object is told otherwise")
    for number in range(TIMES):
        bucket.put(key, b"%d" % number)
        _require(bucket.get(key) == b"%d" % number, "what was overwritten is still read")
    _require([each.key for each in bucket.listed(key)] == [key], "what was written is not listed at once")
    bucket.delete(key)
    _require(bucket.head(key) is None, "what was deleted is still there")
    _require(not list(bucket.listed(key)), "what was deleted is still listed")
    return "written, read by ranges, listed at once, deleted"


def _uploads(bucket: Bucket, key: str) -> str:
    for _ in range(TIMES):
        upload = bucket.begin(key)
        try:
            found = [each.id for each in bucket.uploads(key)]
            _require(upload in found, "an upload that has begun is not listed at once")
            got = bucket.require("GET", key, {"uploadId": upload})
            _require(answers.says_truncated(got.body), "a list of parts does not say where it ends")
            bucket.put_part(key, upload, 1, b"part")
            _require([part.number for part in bucket.parts(key, upload)] == [1], "a part is not listed at once")
        finally:
            bucket.abort(key, upload)
    _require(not list(bucket.uploads(key)), "an upload that was given up is still listed")
    return f"{TIMES} of {TIMES} listed at once, and gone when they were given up"


def _copies(bucket: Bucket, key: str) -> str:
    content = os.urandom(300_000)
    bucket.put(key, content)
    source = bucket.head(key)
    if not source:
        raise RefusedError("what was written is not there", NO_STORE)
    target = f"{key}-copy"
    upload = bucket.begin(target)
    try:
        part = bucket.copy_part(source, target, upload, 1, (0, len(content) - 1))
        bucket.complete(target, upload, [part])
    except BaseException:
        bucket.abort(target, upload)
        raise
    _require(bucket.get(target) == content, "a copy of a part has other bytes")
    return "a copy of a part has its bytes"


def _addresses(bucket: Bucket, key: str) -> str:
    content = os.urandom(1000)
    bucket.put(key, content)
    # The settings take http:// and https:// alone.
    address = bucket.presign("GET", key, 60)
    request = urllib.request.Request(address, headers={"Range": "bytes=100-199"})  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=bucket.trust()))
    try:
        with opener.open(request, timeout=PATIENCE) as got:
            _require(got.read() == content[100:200], "a range by a signed address is not that range")
    except (urllib.error.URLError, OSError) as error:
        raise RefusedError(f"a signed address does not work: {error}", NO_STORE) from None
    return "a signed address works, with ranges"


def _rule(bucket: Bucket, set_rule: bool) -> Line:
    """Uploads that broke are invisible and are paid for: the registry never ends one."""
    name = "store: broken uploads"
    try:
        rules = bucket.lifecycle()
        days = answers.abort_days(rules, bucket.prefix)
        if not days and set_rule:
            bucket.put_lifecycle(answers.with_abort_rule(rules, bucket.prefix, ABORT_DAYS))
            days = answers.abort_days(bucket.lifecycle(), bucket.prefix)
    except RefusedError as error:
        return _line(name, "warn", f"its rules cannot be read or set: {error.what}",
                     f"in the store's console: end incomplete multipart uploads after {ABORT_DAYS} days")  # fmt: skip
    if not days:
        return _line(name, "warn", "no rule of the bucket ends them", "./fab -H … check --lifecycle sets one")
    return _line(name, "ok", f"the bucket ends them after {days} days")


def _require(good: bool, otherwise: str) -> None:
    if not good:
        raise RefusedError(otherwise, NO_STORE)


def _failed(name: str, error: RefusedError) -> Line:
    return _line(name, "failed", error.what, "; ".join(error.remedies))


def _line(name: str, mark: str, found: str, remedy: str = "") -> Line:
    return {"name": name, "mark": mark, "found": found, "remedy": remedy}
