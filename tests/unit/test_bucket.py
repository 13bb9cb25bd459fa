"""The client of an S3 store: its signature by AWS's own examples, its answers, and a store that fails."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator

import pytest

from fabfile.machine.onhost.atomic import RefusedError
from fabfile.store.onhost import answers, sigv4
from fabfile.store.onhost.bucket import PART, Bucket, part_size
from fabfile.store.onhost.wire import HOST, PATH, Place, read_keys

# docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and sigv4-query-string-auth.html
KEYS = sigv4.Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOW = 1369353600.0  # 20130524T000000Z
HOSTNAME = {"host": "examplebucket.s3.amazonaws.com"}
VECTORS = {
    "get": (
        sigv4.Request("GET", "/test.txt", {}, {**HOSTNAME, "range": "bytes=0-9"}), b"",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "put": (
        sigv4.Request("PUT", "/test%24file.text", {}, {
            **HOSTNAME, "date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY",
        }), b"Welcome to Amazon S3.",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    "lifecycle": (
        sigv4.Request("GET", "/", {"lifecycle": ""}, HOSTNAME), b"",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "list": (
        sigv4.Request("GET", "/", {"max-keys": "2", "prefix": "J"}, HOSTNAME), b"",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
def test_a_request_is_signed_as_in_the_examples_of_aws(name: str) -> None:
    request, body, signature = VECTORS[name]
    headers = sigv4.signed(KEYS, "us-east-1", request, hashlib.sha256(body).hexdigest(), NOW)
    assert headers["authorization"].endswith(f"Signature={signature}")
    assert headers["x-amz-date"] == "20130524T000000Z"


def test_an_address_is_signed_as_in_the_example_of_aws() -> None:
    query = sigv4.presigned(KEYS, "us-east-1", sigv4.Request("GET", "/test.txt", {}, HOSTNAME), 86400, NOW)
    assert query.endswith("aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")
    place = Place("https://s3.amazonaws.com", "us-east-1", "examplebucket", addressing=HOST)
    address = Bucket(place, KEYS, clock=lambda: NOW).presign("GET", "test.txt", 86400)
    assert address == f"https://examplebucket.s3.amazonaws.com/test.txt?{query}"


def test_a_token_is_signed_too() -> None:
    keys = KEYS._replace(token="of-a-role")
    headers = sigv4.signed(keys, "us-east-1", VECTORS["get"][0], sigv4.EMPTY, NOW)
    assert headers["x-amz-security-token"] == "of-a-role"
    assert ";x-amz-security-token," in headers["authorization"]


@pytest.mark.parametrize(
    ("addressing", "prefix", "path", "host"),
    [
        (PATH, "", "/images/a%2Bb/c%20d", "s3.example.com:8443"),
        (PATH, "/team/", "/images/team/a%2Bb/c%20d", "s3.example.com:8443"),
        (HOST, "team/one", "/team/one/a%2Bb/c%20d", "images.s3.example.com:8443"),
    ],
)
def test_where_an_object_is(addressing: str, prefix: str, path: str, host: str) -> None:
    bucket = Bucket(Place("https://s3.example.com:8443", "x", "images", prefix, addressing), KEYS)
    assert (bucket.path("a+b/c d"), bucket.host()) == (path, host)
    assert bucket.path("") == ("/" if addressing == HOST else "/images")


@pytest.mark.parametrize("port", ["", ":443"])
def test_a_usual_port_is_not_signed(port: str) -> None:
    assert Bucket(Place(f"https://s3.example.com{port}", "x", "b"), KEYS).host() == "s3.example.com"


def test_keys_are_read_and_never_said() -> None:
    text = "[default]\naws_access_key_id = me\naws_secret_access_key = a%b/c+d=\n"
    assert read_keys(text) == sigv4.Keys("me", "a%b/c+d=")
    for broken in ("", "secret", "[default]\naws_access_key_id = me\nsecret", "[other]\na=secret"):
        with pytest.raises(RefusedError) as caught:
            read_keys(broken)
        assert "secret" not in str(caught.value).replace("aws_secret_access_key", "")


LISTING = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>true</IsTruncated>
<EncodingType>url</EncodingType><NextContinuationToken>on</NextContinuationToken>
<Contents><Key>team/a%2Bb+c</Key><Size>12</Size><LastModified>2026-11-27T23:00:01.500Z</LastModified>
<ETag>&quot;ab-2&quot;</ETag></Contents>
<CommonPrefixes><Prefix>team/docker/</Prefix></CommonPrefixes></ListBucketResult>"""


def test_a_listing_is_read() -> None:
    page = answers.page(LISTING, "team/")
    assert page == answers.Page([answers.Entry("a+b c", 12, 1795820401.5, "ab-2")], ["docker/"], "on")
    with pytest.raises(RefusedError, match="was not asked for"):
        answers.page(LISTING, "other/")


@pytest.mark.parametrize(
    "body",
    [b"", b"<a", b"\xff\xfe<\0a\0/\0>\0", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b"<a>&b;</a>", b"hello"],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError, match="cannot be read"):
        answers.tree(body)


def test_the_rule_for_broken_uploads_is_added_beside_those_that_are_there() -> None:
    theirs = (
        b'<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>theirs</ID>'
        b"<Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>3</Days></Expiration>"
        b"</Rule></LifecycleConfiguration>"
    )
    assert answers.abort_days(b"", "team/") == answers.abort_days(theirs, "team/") == 0
    once = answers.with_abort_rule(theirs, "team/", 8)
    assert answers.abort_days(once, "team/") == 8
    assert answers.abort_days(once, "other/") == 0
    assert b"<ID>theirs</ID>" in once
    assert b"ns0:" not in once
    twice = answers.with_abort_rule(once, "team/", 3)
    assert (answers.abort_days(twice, "team/"), twice.count(b"<Rule>")) == (3, 2)
    assert answers.abort_days(answers.with_abort_rule(b"", "", 8), "anything/") == 8


@pytest.mark.parametrize("size", [1, PART, PART * 10_000, PART * 10_000 + 1, 5 << 40])
def test_parts_are_few_enough_and_not_too_large(size: int) -> None:
    assert -(-size // part_size(size)) <= 10_000
    assert PART <= part_size(size) <= 5 << 30


class Store(http.server.BaseHTTPRequestHandler):
    """Answers what it is told to, and remembers what it was asked."""

    protocol_version = "HTTP/1.1"
    answers: list[tuple[int, bytes]]
    asked: list[str]

    def _do(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.asked.append(f"{self.command} {self.path}")
        status, body = self.answers.pop(0)
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = _do

    def log_message(self, *_: object) -> None:
        pass


Make = Callable[..., tuple[Bucket, list[str]]]


@pytest.fixture
def store() -> Iterator[Make]:
    """Makes a bucket of a store that gives these answers."""
    servers = []

    def make(*given: tuple[int, bytes]) -> tuple[Bucket, list[str]]:
        asked: list[str] = []
        handler = type("Handler", (Store,), {"answers": list(given), "asked": asked})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        place = Place(f"http://127.0.0.1:{server.server_port}", "us-east-1", "b")
        return Bucket(place, KEYS, pauses=(0.001, 0.001)), asked

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def error(code: str, message: str = "") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def test_what_may_work_later_is_asked_again(store: Make) -> None:
    bucket, asked = store((503, error("SlowDown")), (0, b""), (200, b"content"))
    assert bucket.get("k") == b"content"
    assert asked == ["GET /b/k"] * 3
    bucket, asked = store(*[(503, error("SlowDown", "less"))] * 3)
    with pytest.raises(RefusedError, match="SlowDown: less") as caught:
        bucket.get("k")
    assert (caught.value.reason, len(asked)) == ("SlowDown", 3)
    bucket, asked = store((0, b""), (0, b""), (0, b""))
    with pytest.raises(RefusedError, match="does not answer"):
        bucket.get("k")
    assert len(asked) == 3


def test_what_will_not_work_is_asked_once(store: Make) -> None:
    bucket, asked = store((403, error("SignatureDoesNotMatch")))
    with pytest.raises(RefusedError, match="S3_KEY_FILE") as caught:
        bucket.put("k", b"x")
    assert (caught.value.reason, len(asked)) == ("SignatureDoesNotMatch", 1)


def test_an_error_in_an_answer_of_200_is_one(store: Make) -> None:
    found = answers.Entry("a", 1, 0.0, "e")
    copied = b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>"
    bucket, asked = store((200, error("InternalError")), (200, copied))
    bucket.copy("a", "b", found)
    assert asked == ["PUT /b/b"] * 2
    bucket, _ = store((200, error("AccessDenied")))
    with pytest.raises(RefusedError, match="AccessDenied"):
        bucket.copy("a", "b", found)
    # The content of an object is no answer, whatever it says.
    bucket, _ = store((200, error("InternalError")))
    assert bucket.get("k") == error("InternalError")


def test_a_listing_that_does_not_end_is_refused(store: Make) -> None:
    listing = LISTING.replace(b"team/", b"")
    bucket, asked = store((200, listing), (200, listing))
    with pytest.raises(RefusedError, match="does not end"):
        list(bucket.listed())
    assert len(asked) == 2


def test_a_large_object_is_written_by_parts_or_not_at_all(store: Make) -> None:
    begun = (200, b"<R><UploadId>u</UploadId></R>")
    bucket, asked = store(begun, (200, b""), (200, b""), (200, b"<R/>"))
    bucket.write("k", PART + 3, lambda _: [b"x" * PART, b"abc"])
    assert [each.partition("?")[0] for each in asked] == ["POST /b/k", "PUT /b/k", "PUT /b/k", "POST /b/k"]
    bucket, asked = store(begun, (200, b""), (204, b""))
    with pytest.raises(RefusedError, match="bytes where"):
        bucket.write("k", PART + 3, lambda _: [b"x" * PART])
    assert asked[-1] == "DELETE /b/k?uploadId=u"


def test_what_was_not_deleted_is_said(store: Make) -> None:
    bucket, asked = store(
        (200, b"<DeleteResult/>"), (200, b"<DeleteResult><Error><Key>x</Key><Code>No</Code></Error></DeleteResult>")
    )
    with pytest.raises(RefusedError, match="x: No"):
        bucket.delete_many(str(number) for number in range(1001))
    assert len(asked) == 2
