"""A bucket whose objects are the files of a directory: the models of the registry write there, the client asks it.

As S3 has it: no directories, times in whole seconds, a copy has a time of its own, an answer a page at most.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from fabfile.store.onhost import answers
from fabfile.store.onhost.bucket import Bucket
from fabfile.store.onhost.sigv4 import Keys
from fabfile.store.onhost.wire import Answer, Place

PAGE = 3


class DirectoryBucket(Bucket):
    """top: of the objects. step: is told before each request that changes something. clock: of the store."""

    step: Callable[[str], None]

    def __init__(self, top: Path, prefix: str = "") -> None:
        super().__init__(Place("http://127.0.0.1:9", "r", "b", prefix), Keys("i", "s"), pauses=())
        self.top, self.now, self.step = top, time.time, lambda _: None
        self.page_size = 1000
        self.asked: list[str] = []

    def ask(
        self,
        method: str,
        key: str = "",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        query, headers = query or {}, headers or {}
        self.asked.append(f"{method} {key}")
        if method not in ("GET", "HEAD"):
            self.step(f"{method} {key}")
        if method == "GET" and not key:
            return self._list(query)
        if method == "POST" and "delete" in query:
            for each in answers.tree(body).iterfind("Object"):
                self._delete((each.findtext("Key") or "").removeprefix(self.prefix))
            return Answer(200, {}, b"<DeleteResult/>")
        if method == "DELETE":
            self._delete(key)
            return Answer(204, {}, b"")
        if method == "PUT":
            return self._put(self.top / key, headers, body)
        return self._get(method, self.top / key, headers)

    def _get(self, method: str, path: Path, headers: Mapping[str, str]) -> Answer:
        if not path.is_file():
            return _error(404, "NoSuchKey")
        content = path.read_bytes()
        if headers.get("if-match", self._etag(content)).strip('"') != self._etag(content):
            return _error(412, "PreconditionFailed")
        found = {"etag": f'"{self._etag(content)}"', "content-length": str(len(content))}
        if "range" in headers:
            first, _, last = headers["range"].removeprefix("bytes=").partition("-")
            return Answer(206, found, content[int(first) : int(last) + 1 if last else None])
        return Answer(200, found, b"" if method == "HEAD" else content)

    @staticmethod
    def _etag(content: bytes) -> str:
        return hashlib.md5(content, usedforsecurity=False).hexdigest()

    def _put(self, path: Path, headers: Mapping[str, str], body: bytes) -> Answer:
        if "if-none-match" in headers and path.is_file():
            return _error(412, "PreconditionFailed")
        if source := headers.get("x-amz-copy-source"):
            origin = self.top / unquote(source).removeprefix(f"/b/{self.prefix}")
            if not origin.is_file():
                return _error(404, "NoSuchKey")
            body = origin.read_bytes()
            if headers.get("x-amz-copy-source-if-match", "").strip('"') not in ("", self._etag(body)):
                return _error(412, "PreconditionFailed")
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(".draft")
        draft.write_bytes(body)
        os.utime(draft, (self.now(), self.now()))
        draft.replace(path)
        return Answer(200, {}, f'<R><ETag>"{self._etag(body)}"</ETag></R>'.encode())

    def _delete(self, key: str) -> None:
        path = self.top / key
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for above in path.parents:
                if above == self.top:
                    return
                above.rmdir()

    def _list(self, query: Mapping[str, str]) -> Answer:
        prefix = query["prefix"].removeprefix(self.prefix)
        begin = self.top / prefix.rpartition("/")[0]
        keys = sorted(
            str(each.relative_to(self.top)) for each in begin.rglob("*") if each.is_file() and each.name != ".draft"
        )
        after = query.get("continuation-token", "")
        keys = [key for key in keys if key.startswith(prefix) and key > after]
        page = keys[: min(self.page_size, int(query.get("max-keys", "1000")))]
        texts = []
        for key in page:
            content = (self.top / key).read_bytes()
            when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime((self.top / key).stat().st_mtime))
            texts.append(
                f"<Contents><Key>{escape(quote(self.prefix + key))}</Key><Size>{len(content)}</Size>"
                f'<LastModified>{when}</LastModified><ETag>"{self._etag(content)}"</ETag></Contents>'
            )
        more = len(page) < len(keys)
        texts.append(f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else "")
        head = f"<IsTruncated>{str(more).lower()}</IsTruncated><EncodingType>url</EncodingType>"
        return Answer(200, {}, f"<ListBucketResult>{head}{''.join(texts)}</ListBucketResult>".encode())


def _error(status: int, code: str) -> Answer:
    return Answer(status, {}, f"<Error><Code>{code}</Code></Error>".encode())
