"""What an S3 store answers, read from its XML: listings, parts, rules, and what it refuses.

docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html and its neighbours.
"""

from __future__ import annotations

import calendar
import re
import time
from typing import NamedTuple
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element, ParseError, fromstring, register_namespace, tostring

from ...machine.onhost.atomic import RefusedError

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
# A page of 1000 names of 1024 bytes each, every byte encoded, is below this.
LARGEST = 16 << 20
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z")
# What we write into a bucket's rules.
RULE = "private-docker-registry-uploads"


class Entry(NamedTuple):
    """An object. key: below our prefix; size: bytes; when: seconds since 1970, of its last write; etag: without `"`."""

    key: str
    size: int
    when: float
    etag: str


class Page(NamedTuple):
    """Of a listing. folders: common prefixes; more: how to go on, '' at the end."""

    entries: list[Entry]
    folders: list[str]
    more: str


class Upload(NamedTuple):
    """One by parts that is not complete. begun: seconds since 1970."""

    key: str
    id: str
    begun: float


class Part(NamedTuple):
    """Of such an upload."""

    number: int
    size: int
    etag: str


def tree(body: bytes) -> Element:
    """The XML of an answer, without its namespaces. Raises RefusedError for what is none, or names entities."""
    try:
        # What is declared there may be anything, and is nothing that a store says.
        found = fromstring(body.decode("utf-8") if len(body) <= LARGEST and b"<!" not in body else "")  # noqa: S314
    except (UnicodeDecodeError, ParseError, ValueError) as error:
        raise RefusedError(
            f"the store's answer cannot be read: {str(error)[:100]}: {body[:80]!r}",
            "is S3_ENDPOINT the address of its S3 interface?",
        ) from None
    for each in found.iter():
        each.tag = each.tag.rpartition("}")[2]
    return found


def failure(body: bytes) -> tuple[str, str, str]:
    """Code, message and region of an error; '' for what it does not say."""
    try:
        found = tree(body)
    except RefusedError:
        return "", "", ""
    if found.tag != "Error":
        return "", "", ""
    return _text(found, "Code"), _text(found, "Message")[:200], _text(found, "Region")


def page(body: bytes, prefix: str) -> Page:
    """A page of ListObjectsV2 with `encoding-type=url`. prefix: of ours, which comes off each name."""
    found = tree(body)
    encoded = _text(found, "EncodingType") == "url"

    def name(text: str) -> str:
        whole = unquote_plus(text) if encoded else text
        if not whole.startswith(prefix):
            raise RefusedError(f"the store lists what was not asked for: {whole[:80]}", "it is no S3 store to rely on")
        return whole[len(prefix) :]

    entries = [
        Entry(name(_text(each, "Key")), _number(each, "Size"), when(_text(each, "LastModified")), _etag(each))
        for each in found.iterfind("Contents")
    ]
    folders = [name(_text(each, "Prefix")) for each in found.iterfind("CommonPrefixes")]
    more = _text(found, "NextContinuationToken") if _truncated(found) else ""
    return Page(entries, folders, more)


def uploads(body: bytes, prefix: str) -> tuple[list[Upload], tuple[str, str]]:
    """A page of ListMultipartUploads, and the markers of the next one: '' and '' at the end."""
    found = tree(body)
    listed = [
        Upload(_text(each, "Key").removeprefix(prefix), _text(each, "UploadId"), when(_text(each, "Initiated")))
        for each in found.iterfind("Upload")
    ]
    markers = (_text(found, "NextKeyMarker"), _text(found, "NextUploadIdMarker"))
    return listed, markers if _truncated(found) else ("", "")


def parts(body: bytes) -> tuple[list[Part], str]:
    """A page of ListParts, and the marker of the next one: '' at the end."""
    found = tree(body)
    listed = [Part(_number(each, "PartNumber"), _number(each, "Size"), _etag(each)) for each in found.iterfind("Part")]
    return listed, _text(found, "NextPartNumberMarker") if _truncated(found) else ""


def says_truncated(body: bytes) -> bool:
    """Whether a listing says if it goes on: without that registry 2.8 breaks, or asks for ever."""
    return tree(body).find("IsTruncated") is not None


def upload_id(body: bytes) -> str:
    """Of CreateMultipartUpload."""
    if not (found := _text(tree(body), "UploadId")):
        raise RefusedError("the store began an upload and gave it no name", "it is no S3 store to rely on")
    return found


def etag(body: bytes) -> str:
    """Of CopyObject and UploadPartCopy."""
    return _etag(tree(body))


def not_deleted(body: bytes) -> list[tuple[str, str]]:
    """Key and code of what DeleteObjects could not delete. The key is whole, with our prefix."""
    return [(_text(each, "Key"), _text(each, "Code")) for each in tree(body).iterfind("Error")]


def deletion(keys: list[str]) -> bytes:
    """The body of DeleteObjects. keys: whole."""
    top = Element("Delete", xmlns=NAMESPACE)
    _add(top, "Quiet", "true")
    for key in keys:
        _add(_add(top, "Object"), "Key", key)
    return _bytes(top)


def completion(found: list[Part]) -> bytes:
    """The body of CompleteMultipartUpload."""
    top = Element("CompleteMultipartUpload", xmlns=NAMESPACE)
    for part in sorted(found):
        each = _add(top, "Part")
        _add(each, "PartNumber", str(part.number))
        _add(each, "ETag", f'"{part.etag}"')
    return _bytes(top)


def abort_days(rules: bytes, prefix: str) -> int:
    """After how many days a bucket's rules end broken uploads below prefix; 0 for never. rules: XML, b'' for none."""
    found = []
    for rule in tree(rules).iterfind("Rule") if rules else ():
        scope = _text(rule, "Filter/Prefix") or _text(rule, "Prefix")
        narrow = rule.find("Filter/And") is not None or rule.find("Filter/Tag") is not None
        days = _number(rule, "AbortIncompleteMultipartUpload/DaysAfterInitiation")
        if _text(rule, "Status") == "Enabled" and days and not narrow and prefix.startswith(scope):
            found.append(days)
    return min(found, default=0)


def with_abort_rule(rules: bytes, prefix: str, days: int) -> bytes:
    """The rules of a bucket, and one more that ends broken uploads below prefix. Another one of ours goes."""
    top = tree(rules) if rules else Element("LifecycleConfiguration")
    for rule in top.findall("Rule"):
        if _text(rule, "ID") == RULE:
            top.remove(rule)
    rule = _add(top, "Rule")
    _add(rule, "ID", RULE)
    _add(_add(rule, "Filter"), "Prefix", prefix)
    _add(rule, "Status", "Enabled")
    _add(_add(rule, "AbortIncompleteMultipartUpload"), "DaysAfterInitiation", str(days))
    for each in top.iter():
        each.tag = f"{{{NAMESPACE}}}{each.tag}"
    register_namespace("", NAMESPACE)
    return _bytes(top)


def when(text: str) -> float:
    """2026-11-27T23:00:00.000Z as seconds since 1970. Raises RefusedError for another text."""
    if not (found := TIME.fullmatch(text)):
        raise RefusedError(f"the store names a time that cannot be read: {text[:40]!r}", "it is no S3 store to rely on")
    return calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S")) + float(found[2] or 0)


def _bytes(top: Element) -> bytes:
    found: bytes = tostring(top, encoding="utf-8")
    return found


def _add(above: Element, tag: str, text: str = "") -> Element:
    below = Element(tag)
    below.text = text or None
    above.append(below)
    return below


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _number(element: Element, path: str) -> int:
    text = _text(element, path)
    return int(text) if text.isascii() and text.isdigit() else 0


def _etag(element: Element) -> str:
    return _text(element, "ETag").strip('"')


def _truncated(element: Element) -> bool:
    return _text(element, "IsTruncated") == "true"
