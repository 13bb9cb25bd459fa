"""A bucket of an S3 store: what is in it, what is written, copied and removed there. How it is asked: wire.py."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime

from ...machine.onhost.atomic import RefusedError
from . import answers, sigv4
from .answers import Entry, Page, Part, Upload
from .wire import Answer, Wire

# What one PUT may carry here, and the size of a part; 10,000 parts at most, of 5 GiB at most, of 5 MiB at least.
PART, MOST_PARTS = 16 << 20, 10_000
# A copy of more than that goes by parts (5 GB is the store's limit; below it an answer may take minutes).
COPIED_WHOLE, COPIED_PART = 1 << 30, 256 << 20
MOST_DELETED = 1000


class Bucket(Wire):
    """One bucket. Several threads may use it."""

    # -- what the store has

    def page(self, prefix: str = "", delimiter: str = "", more: str = "", limit: int = 1000, after: str = "") -> Page:
        """A page of what is below prefix, sorted by name. more: of the page before; after: a name to begin behind."""
        query = {"list-type": "2", "encoding-type": "url", "prefix": self.prefix + prefix, "max-keys": str(limit)}
        query |= {"delimiter": delimiter} if delimiter else {}
        query |= {"continuation-token": more} if more else {}
        query |= {"start-after": self.prefix + after} if after else {}
        return answers.page(self.require("GET", query=query).body, self.prefix)

    def listed(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """All objects below prefix, sorted by name, a thousand a request."""
        more, seen = "", ""
        while True:
            found = self.page(prefix, more=more, after=after)
            yield from found.entries
            if not found.more:
                return
            if found.more == seen or not found.entries:
                raise RefusedError("the store's listing does not end", "it is no S3 store to rely on")
            more = seen = found.more

    def folders(self, prefix: str = "") -> list[str]:
        """What is directly below prefix and has something below it, each with a `/` at its end."""
        found: list[str] = []
        more = ""
        while True:
            page = self.page(prefix, "/", more)
            found += page.folders
            if not page.more or page.more == more:
                return found
            more = page.more

    def head(self, key: str) -> Entry | None:
        """An object without its content; None where there is none."""
        got = self.ask("HEAD", key)
        if got.status == 404:
            return None
        self.check(got, "HEAD", key)
        return _entry(key, got)

    def get(self, key: str, first: int = 0, last: int | None = None, etag: str = "") -> bytes:
        """Its content, or bytes first to last of it (both are in). etag: refused where it has another one by now."""
        headers = {"if-match": f'"{etag}"'} if etag else {}
        if first or last is not None:
            headers["range"] = f"bytes={first}-{'' if last is None else last}"
        expected = 206 if "range" in headers else 200
        got = self.require("GET", key, headers=headers)
        if got.status != expected:
            raise RefusedError(f"the store answers a range of {key} with {got.status}", "it is no S3 store to rely on")
        return got.body

    def blocks(self, key: str, size: int, etag: str = "", block: int = PART) -> Iterator[bytes]:
        """The content of an object of that size, block by block: each is asked for again where the line breaks."""
        if not size:
            yield self.get(key, etag=etag)
        for first in range(0, size, block):
            last = min(first + block, size) - 1
            found = self.get(key, first, last, etag)
            _require_size(key, len(found), last - first + 1)
            yield found

    # -- what is changed there

    def put(self, key: str, content: bytes, headers: Mapping[str, str] | None = None) -> str:
        """Write an object whole; its ETag. Readers see the old content or the new."""
        return self.require("PUT", key, headers=headers or {}, body=content).headers.get("etag", "").strip('"')

    def write(self, key: str, size: int, blocks: Callable[[int], Iterable[bytes]]) -> None:
        """Write an object of any size, by parts where it is large: it is there when this returns, and not before.

        blocks: called with the size of a part, gives the content in pieces of that size, the last one smaller.
        """
        if size <= PART:
            content = b"".join(blocks(PART))
            _require_size(key, len(content), size)
            self.put(key, content)
            return
        upload = self.begin(key)
        try:
            parts = [
                self.put_part(key, upload, number, block)
                for number, block in enumerate(blocks(part_size(size)), 1)
            ]  # fmt: skip
            _require_size(key, sum(part.size for part in parts), size)
            self.complete(key, upload, parts)
        except BaseException:
            with contextlib.suppress(RefusedError):
                self.abort(key, upload)
            raise

    def delete(self, key: str) -> None:
        """Remove an object; that there is none is no error."""
        self.require("DELETE", key)

    def delete_many(self, keys: Iterable[str]) -> None:
        """The same for many, a thousand a request."""
        todo = list(keys)
        for at in range(0, len(todo), MOST_DELETED):
            body = answers.deletion([self.prefix + key for key in todo[at : at + MOST_DELETED]])
            got = self.require("POST", query={"delete": ""}, headers=_sum(body), body=body)
            if failed := answers.not_deleted(got.body) if got.body else []:
                raise RefusedError(
                    f"{len(failed)} objects could not be deleted: {failed[0][0]}: {failed[0][1]}",
                    "may the keys of S3_KEY_FILE delete there?", reason=failed[0][1]
                )  # fmt: skip

    def copy(self, source: str, target: str, found: Entry | None = None) -> None:
        """Copy an object inside the store, by parts where it is large. found: the source, where it is known.

        Raises RefusedError with the reason NoSuchKey where there is none, and PreconditionFailed where it is another
        one by now.
        """
        found = found or self.head(source)
        if found is None:
            raise RefusedError(f"there is no {source} in the store", reason="NoSuchKey")
        if found.size <= COPIED_WHOLE:
            got = self.require("PUT", target, headers=self._source(found))
            answers.etag(got.body)
            return
        upload = self.begin(target)
        try:
            size = part_size(found.size, COPIED_PART)
            ranges = [(first, min(first + size, found.size) - 1) for first in range(0, found.size, size)]
            parts = [self.copy_part(found, target, upload, number, span) for number, span in enumerate(ranges, 1)]
            self.complete(target, upload, parts)
        except BaseException:
            with contextlib.suppress(RefusedError):
                self.abort(target, upload)
            raise

    # -- uploads by parts

    def begin(self, key: str) -> str:
        """Begin an upload; its name."""
        return answers.upload_id(self.require("POST", key, {"uploads": ""}).body)

    def put_part(self, key: str, upload: str, number: int, content: bytes) -> Part:
        """Bring a part, from 1 on. All but the last have at least 5 MiB, and for some stores the same size."""
        query = {"partNumber": str(number), "uploadId": upload}
        got = self.require("PUT", key, query, body=content)
        return Part(number, len(content), got.headers.get("etag", "").strip('"'))

    def copy_part(self, source: Entry, target: str, upload: str, number: int, span: tuple[int, int]) -> Part:
        """A part that is bytes of another object. span: the first and the last of them, both are in."""
        query = {"partNumber": str(number), "uploadId": upload}
        first, last = span
        headers = {**self._source(source), "x-amz-copy-source-range": f"bytes={first}-{last}"}
        return Part(number, last - first + 1, answers.etag(self.require("PUT", target, query, headers).body))

    def complete(self, key: str, upload: str, parts: list[Part]) -> None:
        """Make an object of the parts."""
        try:
            self.require("POST", key, {"uploadId": upload}, body=answers.completion(parts))
        except RefusedError as error:
            # Asked twice, as the first answer was lost on its way.
            found = self.head(key) if error.reason == "NoSuchUpload" else None
            if not found or found.size != sum(part.size for part in parts):
                raise

    def abort(self, key: str, upload: str) -> None:
        """Forget an upload; that there is none is no error."""
        got = self.ask("DELETE", key, {"uploadId": upload})
        if got.status != 404:
            self.check(got, "DELETE", key)

    def uploads(self, prefix: str = "") -> Iterator[Upload]:
        """The uploads that are not complete."""
        markers = ("", "")
        while True:
            query = {"uploads": "", "prefix": self.prefix + prefix}
            query |= {"key-marker": markers[0], "upload-id-marker": markers[1]} if any(markers) else {}
            found, following = answers.uploads(self.require("GET", query=query).body, self.prefix)
            yield from found
            if not any(following) or following == markers:
                return
            markers = following

    def parts(self, key: str, upload: str) -> list[Part]:
        """The parts that an upload has."""
        found: list[Part] = []
        more = ""
        while True:
            query = {"uploadId": upload} | ({"part-number-marker": more} if more else {})
            some, following = answers.parts(self.require("GET", key, query).body)
            found += some
            if not following or following == more:
                return found
            more = following

    # -- the bucket's own rules

    def lifecycle(self) -> bytes:
        """The rules of the bucket, in XML; b'' for none."""
        got = self.ask("GET", query={"lifecycle": ""})
        if got.status == 404 and answers.failure(got.body)[0] != "NoSuchBucket":
            return b""
        self.check(got, "GET", "?lifecycle")
        return got.body

    def put_lifecycle(self, rules: bytes) -> None:
        """Give the bucket these rules in place of all that it has: see answers.with_abort_rule."""
        self.require("PUT", query={"lifecycle": ""}, headers=_sum(rules), body=rules)

    def _source(self, found: Entry) -> dict[str, str]:
        named = {"x-amz-copy-source": sigv4.encoded(f"/{self.place.bucket}/{self.prefix}{found.key}", "/")}
        return {**named, "x-amz-copy-source-if-match": f'"{found.etag}"'} if found.etag else named


def part_size(size: int, least: int = PART) -> int:
    """Of an upload of so many bytes: all parts but the last have that."""
    return max(least, -(-size // MOST_PARTS))


def _require_size(key: str, found: int, said: int) -> None:
    if found != said:
        raise RefusedError(f"{key} has {found} bytes where {said} were said", "run it again", reason="Short")


def _sum(body: bytes) -> dict[str, str]:
    """What AWS wants with a deletion of many and with rules."""
    found = hashlib.md5(body, usedforsecurity=False).digest()
    return {"content-md5": base64.b64encode(found).decode(), "content-type": "application/xml"}


def _entry(key: str, got: Answer) -> Entry:
    size = got.headers.get("content-length", "")
    try:
        when = parsedate_to_datetime(got.headers.get("last-modified", "")).timestamp()
    except (ValueError, TypeError):
        when = 0.0
    return Entry(key, int(size) if size.isdigit() else 0, when, got.headers.get("etag", "").strip('"'))
